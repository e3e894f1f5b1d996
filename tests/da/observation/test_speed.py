import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N
from wind_problem import N_SPEED, make_wind

from da.observation.speed import CALM, SpeedOperator, speed_of

COMM = MPI.COMM_SELF
RNG = np.random.default_rng(5)


def test_equals_dense():
    wind = make_wind(COMM)
    for increment in (np.zeros(N), RNG.normal(size=N), 100.0 * RNG.normal(size=N)):
        np.testing.assert_allclose(wind.operator.observe(increment), wind.observe(increment), rtol=1e-12, atol=1e-12)
    speed = np.linalg.norm(wind.background[: 3 * N_SPEED].reshape(-1, 3), axis=1)
    np.testing.assert_allclose(wind.operator.background_value()[:N_SPEED], speed, rtol=1e-12)
    np.testing.assert_array_equal(wind.operator.background_value()[N_SPEED:], wind.background[3 * N_SPEED :])
    assert wind.operator.rows == slice(0, 15) and wind.operator.n_observations == 15 and wind.operator.n_state == N


def test_still_air_has_a_speed_and_a_derivative():
    wind = make_wind(COMM)
    calm = SpeedOperator(wind.operator.components, np.zeros(33), wind.operator.reading, wind.operator.is_speed)
    assert np.isfinite(calm.adjoint(np.ones(15), at=np.zeros(N))).all()
    assert not calm.linearised(np.zeros(N)).observe(RNG.normal(size=N))[:N_SPEED].any()
    assert (calm.background_value()[:N_SPEED] == CALM).all()
    assert speed_of([3.0, 4.0]) == pytest.approx(5.0, rel=1e-12)
    # within the calm it is as smooth as anywhere
    tiny = 1e-7 * RNG.normal(size=(2, N))
    h = 1e-4
    change = (calm.observe(tiny[0] + h * tiny[1]) - calm.observe(tiny[0] - h * tiny[1])) / (2 * h)
    np.testing.assert_allclose(calm.linearised(tiny[0]).observe(tiny[1]), change, rtol=1e-5)


def test_rows_must_fit():
    of = make_wind(COMM).operator
    with pytest.raises(ValueError, match="32 backgrounds .* for 33 rows"):
        SpeedOperator(of.components, of.background[1:], of.reading, of.is_speed)
    with pytest.raises(ValueError, match="observation 0 has 3 rows of L"):
        SpeedOperator(of.components, of.background, of.reading, np.zeros(15, bool))
