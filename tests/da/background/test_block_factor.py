"""Products with the factors of modes of blocks are those with the modes themselves."""

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import VARIABLES, N, make_problem, places, relative_difference, whole_snapshots

from da.analysis import analyse
from da.background.block_factor import BlockFactor, of_csr, row_groups
from da.background.blocks import cover
from da.background.linear_transform import LinearTransform
from da.background.local_modes import CodeLengths, local_modes
from da.background.scaling import variable_scaling

COMM = MPI.COMM_SELF
POSITION = places(np.arange(N))[0]


def made(overlap=True, truncation: float = 20, length=4.0, **settings):
    """(modes, scale), of blocks along one direction."""
    snapshots = whole_snapshots()
    scale = variable_scaling(snapshots, VARIABLES, COMM).scale
    blocks = cover(POSITION.min(0) - 0.05, POSITION.max(0) + 0.05, np.array([3.0, 1.0, 1.0]), overlap)
    lengths = CodeLengths(length)
    return local_modes(snapshots, POSITION, blocks, COMM, truncation, lengths, scale=scale, **settings), scale


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("truncation", [3, 20, 0.99])
def test_products_are_those_of_the_modes(overlap, truncation):
    modes, scale = made(overlap, truncation)
    factor, rng = modes.factor, np.random.default_rng(0)
    assert factor.root.shape[1] == modes.n_modes
    np.testing.assert_allclose(factor.vectors(), modes.vectors, atol=1e-13)
    u, plain = (LinearTransform(of, scale, COMM) for of in (modes, replace(modes, factor=None)))
    w, dx = rng.normal(size=modes.n_modes), rng.normal(size=N)
    np.testing.assert_allclose(u.apply(w), plain.apply(w), atol=1e-12 * np.abs(plain.apply(w)).max())
    np.testing.assert_allclose(u.adjoint(dx), plain.adjoint(dx), atol=1e-12 * np.abs(plain.adjoint(dx)).max())
    assert u.apply(w) @ dx == pytest.approx(w @ u.adjoint(dx), rel=1e-12)


def test_the_analysis_is_the_same():
    problem, (modes, scale) = make_problem(COMM, "tsvd", 10), made()
    found, expected = (
        analyse(LinearTransform(of, scale, COMM), *problem.arguments[1:], COMM).increment
        for of in (modes, replace(modes, factor=None))
    )
    assert relative_difference(found, expected) < 1e-10


def test_a_row_has_the_components_of_its_blocks_alone():
    plain, overlapping = made(False)[0].factor, made(True)[0].factor
    entries = [sum(of.entries.size for of in factor.groups) / (N * len(factor.root)) for factor in (plain, overlapping)]
    assert entries[0] < 0.7 * entries[1] < 0.7  # of a dense matrix
    rows = np.concatenate([of.rows for of in plain.groups])
    assert len(np.unique(rows)) == len(rows)


def test_rounded_modes_have_no_exact_factors():
    assert made(precision="float32")[0].factor is None


def test_groups_have_rows_of_the_same_blocks():
    weights = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    groups = row_groups(weights, np.array([0, 0, 1]))
    assert sorted((rows.tolist(), columns.tolist()) for rows, columns in groups) == [
        ([0, 4], [0, 1]),
        ([1, 2], [0, 1, 2]),
    ]


def test_rows_come_back_from_their_entries():
    factor = made()[0].factor
    again = of_csr(*factor.csr(), factor.root)
    np.testing.assert_array_equal(again.vectors(), factor.vectors())
    empty = of_csr(*BlockFactor((), factor.root, 4).csr(), factor.root)
    np.testing.assert_array_equal(empty.vectors(), np.zeros((4, factor.root.shape[1])))


@pytest.mark.parametrize(
    ("counts", "column", "sentence"),
    [([2, 1], [0, 1], "rows of 3 entries, but 2 columns"), ([1, 1], [0, 9], "column 9, expected 0 to 4")],
)
def test_what_does_not_fit_is_refused(counts, column, sentence):
    with pytest.raises(ValueError, match=sentence):
        of_csr(np.array(counts), np.array(column), np.ones(len(column)), np.ones((5, 3)))
