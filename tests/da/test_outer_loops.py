import numpy as np
import pytest
from mpi4py import MPI
from ranks import assert_same_on_ranks
from scipy.optimize import minimize
from small_problem import make_problem, relative_difference
from wind_problem import make_wind

from da.analysis import analyse
from da.background.biased_transform import BiasedTransform
from da.minimisation.huber import Huber
from da.observation.bias import BiasedOperator
from da.outer_loops import CONVERGED, STOPPED, analyse_outer, outer_loops

COMM = MPI.COMM_SELF


def arguments(wind):
    return wind.transform, wind.operator, wind.error, wind.innovation, COMM


def dense_minimum(wind, weight=1.0, huber=None):
    """w by scipy, on the dense twin; BFGS on finite differences, then Newton-like polish by its own restarts."""
    u = wind.transform.scale[:, None] * wind.transform.modes.vectors

    def cost(w):
        z = (wind.innovation - wind.observe(u @ w)) / wind.std
        observed = 0.5 * z**2
        if huber is not None:
            observed = np.where(np.abs(z) <= huber, observed, huber * np.abs(z) - 0.5 * huber**2)
        return 0.5 * weight * w @ w + observed.sum()

    w = np.zeros(u.shape[1])
    for _ in range(4):
        w = minimize(cost, w, method="BFGS", options={"gtol": 1e-9}).x
    return w, cost(w)


@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_converges_to_the_minimum_of_the_nonlinear_cost(weight):
    wind = make_wind(COMM)
    expected, least = dense_minimum(wind, weight)
    found = outer_loops(*arguments(wind), background_weight=weight, loops=40)
    assert found.reason == CONVERGED and found.changes[-1] <= 1e-8
    assert relative_difference(found.control, expected) < 1e-5
    assert found.trace[-1].cost == pytest.approx(least, rel=1e-10)
    assert found.trace[-1].gradient_norm < 1e-6 * found.trace[0].gradient_norm
    # one loop is not enough: H matters
    once = outer_loops(*arguments(wind), background_weight=weight, loops=1)
    assert once.reason == STOPPED and relative_difference(once.control, expected) > 1e-3


def test_no_loop_raises_the_cost():
    found = outer_loops(*arguments(make_wind(COMM)), loops=40)
    costs = [step.cost for step in found.trace]
    assert len(costs) == len(found.changes) + 1 > 3
    assert (np.diff(costs) <= 1e-12 * costs[0]).all() and costs[-1] < 0.9 * costs[0]
    assert all(s.cost == pytest.approx(s.background + s.observation) for s in found.trace)


def test_a_linear_operator_needs_no_outer_loop():
    problem = make_problem(COMM)
    expected = analyse(*problem.arguments, COMM)
    found = analyse_outer(*problem.arguments, COMM)
    assert relative_difference(found.increment, expected.increment) < 1e-12
    assert found.chi_squared == pytest.approx(expected.chi_squared) and found.reason == expected.reason
    assert found.summary().keys() == expected.summary().keys()


def test_huber_in_the_outer_loops():
    wind = make_wind(COMM)
    expected, least = dense_minimum(wind, huber=1.0)
    found = outer_loops(*arguments(wind), huber=Huber(1.0), loops=60)
    assert found.reason == CONVERGED
    assert found.trace[-1].cost == pytest.approx(least, rel=1e-9)
    assert relative_difference(found.control, expected) < 1e-4


def test_analysis_tells_of_h_itself():
    wind = make_wind(COMM)
    found = analyse_outer(*arguments(wind), loops=40)
    residual = wind.innovation - wind.observe(found.increment)
    assert found.residual.rms == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-9)
    assert found.chi_squared == pytest.approx(2.0 * found.trace[-1].observation / 15, rel=1e-9)
    assert found.iterations >= len(found.trace) - 1


def test_speeds_and_biases_together():
    wind = make_wind(COMM)
    transform = BiasedTransform(wind.transform, np.full(3, 1.5), COMM)
    operator = BiasedOperator(wind.operator, wind.station, 3, COMM)
    found = outer_loops(transform, operator, wind.error, wind.innovation, COMM, loops=60)
    u = wind.transform.scale[:, None] * wind.transform.modes.vectors

    def cost(w):
        seen = wind.observe(u @ w[:6]) + np.append(1.5 * w[6:], 0.0)[wind.station]
        return 0.5 * w @ w + 0.5 * np.sum(((wind.innovation - seen) / wind.std) ** 2)

    assert found.reason == CONVERGED
    assert found.trace[-1].cost == pytest.approx(cost(found.control), rel=1e-11)
    least = minimize(cost, found.control + 0.1, method="BFGS", options={"gtol": 1e-9})
    assert found.trace[-1].cost == pytest.approx(least.fun, rel=1e-9)


def test_loops_must_be_some():
    with pytest.raises(ValueError, match="0 outer loops"):
        outer_loops(*arguments(make_wind(COMM)), loops=0)


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    assert_same_on_ranks(mpirun, tmp_path, "tests/da/parallel_outer_loops.py", timeout=100)
