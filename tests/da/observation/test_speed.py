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


def test_taylor_remainder_is_of_second_order():
    operator = make_wind(COMM).operator
    x, p = RNG.normal(size=(2, N))
    steps = 10.0 ** -np.arange(1.0, 5.0)
    slope = operator.linearised(x).observe(p)
    remainder = [np.linalg.norm(operator.observe(x + h * p) - operator.observe(x) - h * slope) for h in steps]
    orders = np.diff(np.log10(remainder)) / np.diff(np.log10(steps))
    np.testing.assert_allclose(orders[1:], 2.0, atol=0.02)


def test_adjoint():
    operator = make_wind(COMM).operator
    x, p, y = RNG.normal(size=N), RNG.normal(size=N), RNG.normal(size=15)
    linear = operator.linearised(x)
    assert linear.observe(p) @ y == pytest.approx(p @ operator.adjoint(y, at=x), rel=1e-12)
    np.testing.assert_allclose(linear.adjoint(y), operator.adjoint(y, at=x), atol=1e-13)
    assert not operator.linear and linear.linear


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
