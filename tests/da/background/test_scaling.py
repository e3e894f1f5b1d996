import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N_POINTS, VARIABLES, whole_snapshots

from da.background.scaling import point_scaling, variable_scaling

COMM = MPI.COMM_SELF
SNAPSHOTS = whole_snapshots()
SPREAD = SNAPSHOTS.std(axis=1, ddof=1).reshape(N_POINTS, 2)


def test_variable_spread_is_the_mean_over_points():
    scaling = variable_scaling(SNAPSHOTS, VARIABLES, COMM)
    np.testing.assert_allclose(scaling.scale.reshape(-1, 2)[3], np.sqrt(np.mean(SPREAD**2, axis=0)))
    assert scaling.scale.shape == (2 * N_POINTS,)


def test_masked_points_do_not_count_and_do_not_move():
    mask = np.arange(N_POINTS) % 3 > 0
    broken = SNAPSHOTS.copy()
    broken[np.repeat(~mask, 2)] *= 1e6
    scaling = variable_scaling(broken, VARIABLES, COMM, mask)
    np.testing.assert_allclose(scaling.scale.reshape(-1, 2)[1], np.sqrt(np.mean(SPREAD[mask] ** 2, axis=0)))
    assert not scaling.scale.reshape(-1, 2)[~mask].any()
    assert not scaling.divide(broken)[np.repeat(~mask, 2)].any()


def test_point_spread_leaves_out_what_hardly_varies():
    still = SNAPSHOTS.copy()
    still[10] = 5.0
    still[12] = 5.0 + 1e-9 * SNAPSHOTS[12]
    scaling = point_scaling(still, VARIABLES, COMM)
    out = scaling.scale == 0.0
    assert list(np.flatnonzero(out)) == [10, 12]
    np.testing.assert_allclose(scaling.scale[~out], SPREAD.ravel()[~out])
    assert np.count_nonzero(point_scaling(still, VARIABLES, COMM, floor=0.9).scale) < np.count_nonzero(scaling.scale)


@pytest.mark.parametrize("make", [variable_scaling, point_scaling])
def test_anomalies_in_units_of_the_scale(make):
    scaling = make(SNAPSHOTS, VARIABLES, COMM)
    np.testing.assert_allclose(scaling.scale[:, None] * scaling.divide(SNAPSHOTS), SNAPSHOTS)
    np.testing.assert_allclose(scaling.divide(SNAPSHOTS)[:, 4], scaling.divide(SNAPSHOTS[:, 4]))


@pytest.mark.parametrize("make", [variable_scaling, point_scaling])
def test_what_cannot_be_scaled(make):
    constant = SNAPSHOTS.copy()
    constant[1::2] = 3.0
    with pytest.raises(ValueError, match="'tracer' does not vary"):
        make(constant, VARIABLES, COMM)
    with pytest.raises(ValueError, match="do not divide into points of 2 variables"):
        make(SNAPSHOTS[:-1], VARIABLES, COMM)
    with pytest.raises(ValueError, match="two or more snapshots"):
        make(SNAPSHOTS[:, :1], VARIABLES, COMM)
    with pytest.raises(ValueError, match="mask of shape"):
        make(SNAPSHOTS, VARIABLES, COMM, np.ones(4, bool))


def test_mask_without_points():
    with pytest.raises(ValueError, match="no grid point"):
        variable_scaling(SNAPSHOTS, VARIABLES, COMM, np.zeros(N_POINTS, bool))
