import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, dense, make_problem

from da.diagnostics.posterior import metric, posterior
from da.diagnostics.sensor_placement import next_sensors
from da.minimisation.hessian import ObservationHessian

COMM = MPI.COMM_SELF


def made(weight=1.0):
    problem = make_problem(COMM, "tsvd", 12)
    information = ObservationHessian(*problem.arguments[:3], COMM).information
    u, _ = dense(problem)
    std = 0.3 * problem.transform.scale * (1.0 + np.arange(N) % 5)
    return problem, information, u / std[:, None]


def brute_force(information, rows, n, m, weight=1.0):
    """Try every candidate by inverting the Hessian with it, and take the best; again for the next."""
    chosen, totals, gains = [], [np.trace(m @ np.linalg.inv(weight * np.eye(12) + information))], None
    for _ in range(n):
        tried = np.array(
            [np.trace(m @ np.linalg.inv(weight * np.eye(12) + information + np.outer(g, g))) for g in rows]
        )
        gains = totals[0] - tried if gains is None else gains
        tried[chosen] = np.inf
        chosen.append(int(np.argmin(tried)))
        totals.append(tried[chosen[-1]])
        information = information + np.outer(rows[chosen[-1]], rows[chosen[-1]])
    return chosen, totals, gains


@pytest.mark.parametrize("weight", [1.0, 0.2])
@pytest.mark.parametrize("of", ["control", "state", "part"])
def test_equals_brute_force(of, weight):
    problem, information, rows = made()
    m = np.eye(12)
    if of != "control":
        part = np.where(np.arange(N) < 100, problem.transform.scale**-2.0, 0.0)
        m = metric(problem.transform, part if of == "part" else None)
    before = posterior(information, weight)
    found = next_sensors(before, rows, 5, COMM, None if of == "control" else m)
    chosen, totals, gains = brute_force(information, rows, 5, m, weight)
    assert found.chosen.tolist() == chosen
    np.testing.assert_allclose(found.total, totals, rtol=1e-9)
    np.testing.assert_allclose(found.first_gain, gains, rtol=1e-6, atol=1e-10 * totals[0])


def test_placing_a_sensor_does_what_was_promised():
    problem, information, rows = made()
    before = posterior(information)
    found = next_sensors(before, rows, 3, COMM, metric(problem.transform))
    placed = rows[found.chosen]
    after = posterior(information + placed.T @ placed)
    m = metric(problem.transform)
    assert np.sum(m * before.covariance) == pytest.approx(found.total[0], rel=1e-10)
    assert np.sum(m * after.covariance) == pytest.approx(found.total[-1], rel=1e-10)
    assert (np.diff(found.total) < 0.0).all()


def test_of_equals_the_first_and_each_place_once():
    of = posterior(np.zeros((2, 2)))
    rows = np.array([[0.0, 0.5], [1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    found = next_sensors(of, rows, 4, COMM)
    assert found.chosen.tolist() == [1, 2, 3, 0]


def test_none_to_be_chosen_tells_the_gains():
    of = posterior(np.zeros((2, 2)))
    found = next_sensors(of, np.array([[1.0, 0.0], [0.0, 3.0]]), 0, COMM)
    assert len(found.chosen) == 0 and found.total.tolist() == [2.0]
    np.testing.assert_allclose(found.first_gain, [0.5, 0.9], rtol=1e-14)


def test_what_cannot_be_placed():
    of = posterior(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="3 sensors to be chosen of 2 candidates"):
        next_sensors(of, np.ones((2, 2)), 3, COMM)
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        next_sensors(of, np.ones((2, 3)), 1, COMM)
    with pytest.raises(ValueError, match="no number"):
        next_sensors(of, np.full((2, 2), np.nan), 1, COMM)
