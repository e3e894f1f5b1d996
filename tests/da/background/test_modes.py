import numpy as np
import pytest
from mpi4py import MPI
from small_problem import whole_snapshots

from da.background.modes import n_kept, reduced_modes, truncated_modes

COMM = MPI.COMM_SELF
SNAPSHOTS = whole_snapshots()
S = SNAPSHOTS.shape[1]


def covariance(modes):
    return modes.vectors @ modes.vectors.T


def test_reduced_modes_are_the_root_of_the_sample_covariance():
    modes = reduced_modes(SNAPSHOTS, COMM)
    np.testing.assert_allclose(covariance(modes), np.cov(SNAPSHOTS), rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(modes.mean, SNAPSHOTS.mean(axis=1))
    assert (modes.name, modes.n_samples, modes.n_modes) == ("reduced", S, S)


@pytest.mark.parametrize("make", [reduced_modes, truncated_modes])
def test_biased_modes_lack_the_root_of_the_number_of_samples(make):
    scaled, unscaled = make(SNAPSHOTS, COMM), make(SNAPSHOTS, COMM, unbiased=False)
    k = scaled.n_modes
    np.testing.assert_allclose(unscaled.vectors[:, :k], np.sqrt(S - 1) * scaled.vectors, rtol=1e-8, atol=1e-9)


def test_truncated_modes_are_left_vectors_times_singular_values():
    reduced, modes = reduced_modes(SNAPSHOTS, COMM), truncated_modes(SNAPSHOTS, COMM, 10)
    left, sigma, _ = np.linalg.svd(reduced.vectors, full_matrices=False)
    np.testing.assert_allclose(modes.singular_values, sigma, atol=1e-11 * sigma[0])
    np.testing.assert_allclose(np.abs(modes.vectors), np.abs(left[:, :10] * sigma[:10]), atol=1e-10 * sigma[0])
    np.testing.assert_allclose(modes.vectors.T @ modes.vectors, np.diag(sigma[:10] ** 2), atol=1e-11 * sigma[0] ** 2)
    assert np.all(np.diff(modes.singular_values) <= 0.0)


def test_all_nonzero_modes_give_the_same_covariance():
    modes = truncated_modes(SNAPSHOTS, COMM, S - 1)
    np.testing.assert_allclose(covariance(modes), np.cov(SNAPSHOTS), rtol=1e-10, atol=1e-9)


def test_input_is_left_as_it_is():
    before = SNAPSHOTS.copy()
    truncated_modes(SNAPSHOTS, COMM, 3)
    reduced_modes(SNAPSHOTS, COMM)
    assert np.array_equal(SNAPSHOTS, before)


def test_rules_of_truncation():
    sigma = np.array([100.0, 50.0, 10.0, 9.9, 1.0])
    assert n_kept(sigma) == 3
    assert n_kept(sigma, 4) == n_kept(sigma, np.int64(4)) == 4
    variance = np.cumsum(sigma**2) / np.sum(sigma**2)
    assert n_kept(sigma, variance[0] - 1e-9) == 1
    assert n_kept(sigma, variance[0] + 1e-9) == 2
    assert n_kept(sigma, 1.0) == 5


@pytest.mark.parametrize("wrong", [0, -1, 6, 0.0, 1.5, np.nan, True, "all"])
def test_truncations_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="truncation"):
        n_kept(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), wrong)


def test_too_many_modes_says_how_many_there_are():
    with pytest.raises(ValueError, match=rf"τ = {S}, expected 1 to {S - 1}"):
        truncated_modes(SNAPSHOTS, COMM, S)
    doubled = np.hstack([SNAPSHOTS[:, :5]] * 2)
    with pytest.raises(ValueError, match="expected 1 to 4"):
        truncated_modes(doubled, COMM, 5)


def test_rule_that_keeps_nothing_says_why():
    with pytest.raises(ValueError, match="σ₁ = .* is below 1"):
        truncated_modes(1e-6 * SNAPSHOTS, COMM)


@pytest.mark.parametrize("make", [reduced_modes, truncated_modes])
def test_bad_snapshots(make):
    with pytest.raises(ValueError, match="1 snapshots, expected two or more"):
        make(SNAPSHOTS[:, :1], COMM)
    with pytest.raises(ValueError, match="expected \\(rows of this rank, snapshots\\)"):
        make(SNAPSHOTS[:, 0], COMM)
    holed = SNAPSHOTS.copy()
    holed[5, 3], holed[0, 8] = np.nan, np.inf
    with pytest.raises(ValueError, match="2 of 24 snapshots .* number 3, 8 "):
        make(holed, COMM)
    # 0.1 is no binary fraction: the mean of equal snapshots is rounded
    with pytest.raises(ValueError, match="all 7 snapshots are the same"):
        make(np.full((30, 7), 0.1), COMM)


@pytest.mark.parametrize("n", [2, 3])
def test_bad_snapshots_are_told_to_all_ranks(mpirun, n):
    mpirun(n, "tests/da/background/parallel_errors.py")
