"""Modes of blocks against what they stand for, written out."""

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N_SAMPLES, VARIABLES, N, places, relative_difference, whole_snapshots

from da.background.blocks import Blocks, cover
from da.background.local_modes import CodeLengths, local_modes
from da.background.modes import truncated_modes
from da.background.scaling import variable_scaling
from da.observation.correlation import gaspari_cohn

COMM = MPI.COMM_SELF
POSITION = places(np.arange(N))[0]  # 0 to 15 m along x
LOW, HIGH = POSITION.min(0) - 0.05, POSITION.max(0) + 0.05


def blocks(size, overlap):
    return cover(LOW, HIGH, np.array([size, 1.0, 1.0]), overlap)


def snapshots():
    """(N, S) scaled, and the scale."""
    whole = whole_snapshots()
    scale = variable_scaling(whole, VARIABLES, COMM).scale
    return whole, scale, (whole - whole.mean(axis=1, keepdims=True)) / scale[:, None] / np.sqrt(N_SAMPLES - 1)


def covariance(modes):
    return modes.vectors @ modes.vectors.T


@pytest.mark.parametrize("overlap", [False, True])
def test_weights_sum_to_one_and_are_the_blocks_own(overlap):
    of = Blocks((0.0, -1.0, 2.0), (2.0, 3.0, 1.5), (4, 2, 3), overlap)
    places_in = np.random.default_rng(0).uniform([-1, -2, 1], [9, 6, 8], (400, 3))
    weights = of.weights(places_in)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, rtol=1e-14)
    assert weights.shape == (400, of.n_blocks) and weights.min() >= 0.0
    np.testing.assert_allclose(of.weights(of.centres), np.eye(of.n_blocks), atol=1e-14)
    assert (np.count_nonzero(weights, axis=1) == 1).all() != overlap


def test_a_cover_fills_the_box():
    of = cover(np.zeros(3), np.array([10.0, 9.0, 4.0]), np.array([3.0, 3.0, 30.0]))
    assert of.counts == (3, 3, 1) and np.allclose(np.multiply(of.counts, of.size), [10.0, 9.0, 4.0])


def test_one_block_is_tsvd():
    whole, scale, _ = snapshots()
    found = local_modes(whole, POSITION, blocks(100.0, False), COMM, 7, scale=scale)
    expected = truncated_modes(whole, COMM, 7, scale=scale)
    assert found.n_modes == 7 and found.name == "local"
    assert relative_difference(covariance(found), covariance(expected)) < 1e-10
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("length", [np.inf, 3.0])
def test_equals_dense(overlap, length):
    whole, scale, v = snapshots()
    of, kept = blocks(4.0, overlap), 18
    found = local_modes(whole, POSITION, of, COMM, kept, CodeLengths(length, np.inf), scale=scale)
    weights, parts = of.weights(POSITION), []
    for b in range(of.n_blocks):
        u, sigma, _ = np.linalg.svd(np.where(weights[:, b, None] > 0.0, v, 0.0), full_matrices=False)
        parts += [(sigma[k], b, u[:, k]) for k in range(len(sigma))]
    parts = sorted(sorted(parts, key=lambda part: -part[0])[:kept], key=lambda part: part[1])
    number = np.array([b for _, b, _ in parts])
    basis = np.column_stack([u for _, _, u in parts])
    codes = basis.T @ v
    apart = np.abs(of.centres[number, None, 0] - of.centres[None, number, 0])
    c = gaspari_cohn(apart / length) * (codes @ codes.T)
    synthesis = weights[:, number] * basis
    assert relative_difference(covariance(found), synthesis @ c @ synthesis.T) < 1e-10


def test_far_blocks_share_nothing_and_near_ones_join_without_a_seam():
    whole, scale, _ = snapshots()
    lengths = CodeLengths(2.0, np.inf)
    plain, smooth = (
        local_modes(whole, POSITION, blocks(3.0, o), COMM, 20, lengths, scale=scale) for o in (False, True)
    )
    b = covariance(plain)
    far = np.abs(POSITION[:, None, 0] - POSITION[None, :, 0]) > 8.0
    assert np.abs(b[far]).max() < 1e-12 * np.abs(b).max()
    # at faces of plain blocks modes jump; overlapping ones do not
    jumps = [np.abs(np.diff(of.vectors[::2], axis=0)).max() / np.abs(of.vectors[::2]).max() for of in (plain, smooth)]
    assert jumps[1] < 0.6 * jumps[0]


def test_values_that_take_no_part_stay_zero():
    whole, scale, _ = snapshots()
    scale[10:14] = 0.0
    found = local_modes(whole, POSITION, blocks(4.0, True), COMM, 12, scale=scale)
    assert not found.vectors[10:14].any() and found.vectors[14:].any(axis=1).all()


def test_part_of_the_variance_and_precision():
    whole, scale, v = snapshots()
    of = blocks(4.0, False)
    found = local_modes(whole, POSITION, of, COMM, 0.999, scale=scale, precision="float32")
    assert found.vectors.dtype == np.float32
    # plain blocks: what is left is what the components leave
    assert 0.999 <= np.sum(found.vectors.astype(float) ** 2) / np.sum(v**2) <= 1.0 + 1e-6


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_on_several_ranks(tmp_path, mpirun, ranks):
    program, results = Path(__file__).with_name("parallel_local_modes.py"), []
    for n in (1, ranks):
        mpirun(n, program, tmp_path / f"{n}.npz")
        results.append(np.load(tmp_path / f"{n}.npz"))
    alone, together = results
    assert len(alone.files) == 4
    for name in alone:
        assert relative_difference(together[name], alone[name]) < 1e-10, name


def test_what_cannot_be_is_refused():
    whole, scale, _ = snapshots()
    of = blocks(4.0, True)
    with pytest.raises(ValueError, match=r"positions of shape \(3, 3\), expected \(300, 3\)"):
        local_modes(whole, POSITION[:3], of, COMM, 5)
    with pytest.raises(ValueError, match="truncation τ = 1000, expected 1 to"):
        local_modes(whole, POSITION, of, COMM, 1000)
    with pytest.raises(ValueError, match="all 24 snapshots are the same"):
        local_modes(np.ones((N, 24)), POSITION, of, COMM, 5)
    whole[7, 3] = np.nan
    with pytest.raises(ValueError, match="number 3"):
        local_modes(whole, POSITION, of, COMM, 5)
    with pytest.raises(ValueError, match="expected positive numbers"):
        Blocks((0.0, 0.0, 0.0), (1.0, 0.0, 1.0), (1, 1, 1))
