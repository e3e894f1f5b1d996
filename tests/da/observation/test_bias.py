import numpy as np
import pytest
from mpi4py import MPI
from small_problem import dense, make_problem, relative_difference
from wind_problem import make_wind

from da.analysis import analyse
from da.background.biased_transform import BiasedTransform
from da.minimisation.cost import CostFunction
from da.observation.bias import BiasedOperator
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF
STATION = np.arange(40) % 4 - 1  # −1 has no bias
STD = np.array([0.5, 2.0, 30.0])


def biased(kind="tsvd"):
    problem = make_problem(COMM, kind, 8 if kind == "tsvd" else None)
    return problem, BiasedTransform(problem.transform, STD, COMM), BiasedOperator(problem.operator, STATION, 3, COMM)


def test_equals_the_dense_augmented_problem():
    problem, transform, operator = biased()
    u, h = dense(problem)
    seen = np.hstack([h @ u, (STATION[:, None] == np.arange(3)) * STD])
    found = analyse(transform, operator, problem.error, problem.innovation, COMM)
    g = seen / problem.std[:, None]
    expected = np.linalg.solve(np.eye(11) + g.T @ g, g.T @ (problem.innovation / problem.std))
    assert relative_difference(found.control, expected) < 1e-10
    np.testing.assert_allclose(transform.bias(found.control), STD * expected[8:], rtol=1e-9)
    np.testing.assert_allclose(transform.state_increment(found.increment), u @ expected[:8], atol=1e-9)
    np.testing.assert_allclose(transform.operator_product(operator), seen, rtol=1e-12)
    # the residual is against the reading without its bias
    residual = problem.innovation - seen @ expected
    assert found.residual.rms == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-9)


def test_equals_errors_that_a_station_shares():
    # eliminating β leaves R + S Sᵀ: a bias is an error all readings of a station have in common
    problem, transform, operator = biased()
    u, h = dense(problem)
    shared = (STATION[:, None] == np.arange(3)) * STD
    r = np.diag(problem.std**2) + shared @ shared.T
    hu = h @ u
    expected = u @ hu.T @ np.linalg.solve(hu @ hu.T + r, problem.innovation)
    found = analyse(transform, operator, problem.error, problem.innovation, COMM)
    assert relative_difference(transform.state_increment(found.increment), expected) < 1e-9


@pytest.mark.parametrize("kind", ["linear", "speed"])
def test_taylor_remainder_is_of_second_order(kind):
    if kind == "linear":
        problem, transform, operator = biased()
        cost = CostFunction(transform, operator, problem.error, problem.innovation, COMM)
    else:
        wind = make_wind(COMM)
        transform = BiasedTransform(wind.transform, STD, COMM)
        operator = BiasedOperator(wind.operator, wind.station, 3, COMM)
        cost = CostFunction(transform, operator, wind.error, wind.innovation, COMM)
    assert cost.linear == (kind == "linear")
    rng = np.random.default_rng(2)
    w, p = rng.normal(size=(2, cost.n_control))
    value, slope = cost.value_and_gradient(w)
    steps = 10.0 ** -np.arange(1.0, 5.0)
    remainder = [abs(cost.value(w + h * p) - value - h * slope @ p) for h in steps]
    np.testing.assert_allclose((np.diff(np.log10(remainder)) / np.diff(np.log10(steps)))[1:], 2.0, atol=0.02)


def test_a_biased_station_is_found_and_does_not_pull():
    problem = make_problem(COMM, "tsvd", 4)
    rng = np.random.default_rng(3)
    truth = problem.transform.apply(rng.normal(size=4))
    std = 1e-3 * problem.std
    offset = np.where(STATION == 1, 20.0 * problem.std, 0.0).max()
    innovation = problem.operator.observe(truth) + std * rng.normal(size=40) + np.where(STATION == 1, offset, 0.0)
    error = diagonal_error(std, slice(None))
    spread = np.full(3, offset)
    transform = BiasedTransform(problem.transform, spread, COMM)
    found = analyse(transform, BiasedOperator(problem.operator, STATION, 3, COMM), error, innovation, COMM)
    assert transform.bias(found.control) == pytest.approx([0.0, offset, 0.0], abs=0.01 * offset)
    assert relative_difference(transform.state_increment(found.increment), truth) < 0.01
    without = analyse(problem.transform, problem.operator, error, innovation, COMM)
    assert relative_difference(without.increment, truth) > 0.1


def test_what_is_refused():
    problem, _, _ = biased()
    with pytest.raises(ValueError, match="standard deviation 0.0 of bias 1"):
        BiasedTransform(problem.transform, np.array([1.0, 0.0]), COMM)
    with pytest.raises(ValueError, match="station 3, expected −1 to 2"):
        BiasedOperator(problem.operator, STATION + 2, 3, COMM)
    with pytest.raises(ValueError, match=r"stations of shape \(39,\), expected \(40,\)"):
        BiasedOperator(problem.operator, STATION[1:], 3, COMM)
