"""The nearest field within bounds that keeps the total: optimal, exact, the same on any ranks."""

import numpy as np
import pytest
from mpi4py import MPI
from scipy.optimize import minimize

from da.bounds import nearest_within

COMM = MPI.COMM_SELF
BOUNDS = [(0.0, np.inf), (-np.inf, 0.5), (-0.2, 0.6)]


def some_field(n=2000, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(0.2, 0.5, n), rng.uniform(0.1, 3.0, n)


@pytest.mark.parametrize(("low", "high"), BOUNDS)
@pytest.mark.parametrize("seed", range(5))
def test_it_is_within_the_bounds_optimal_and_keeps_the_total(low, high, seed):
    y, m = some_field(seed=seed)
    found = nearest_within(y, m, low, high, COMM)
    x = found.values
    assert found.feasible and (x >= low).all() and (x <= high).all()
    assert abs(m @ x - m @ y) <= 1e-12 * (m @ np.abs(y)) and found.total == pytest.approx(m @ y, rel=1e-13)
    # Karush, Kuhn, Tucker: the gradient m (x − y) is m λ where x is free, and points outwards at the bounds
    free, pull = (x > low) & (x < high), x - y - found.shift
    assert np.abs(pull[free]).max() <= 1e-15
    assert (pull[x == low] >= 0).all() and (pull[x == high] <= 0).all()
    assert (found.below, found.above) == ((y < low).sum(), (y > high).sum())
    assert found.moved == pytest.approx(m @ np.maximum(x - y, 0), rel=1e-9) and found.moved > 0


@pytest.mark.parametrize(("low", "high"), BOUNDS)
def test_it_is_what_a_general_solver_finds(low, high):
    y, m = some_field(10, seed=3)
    of = minimize(
        lambda x: 0.5 * m @ (x - y) ** 2, np.clip(y, low, high), jac=lambda x: m * (x - y), method="SLSQP",
        bounds=[(low, high)] * 10, constraints={"type": "eq", "fun": lambda x: m @ (x - y), "jac": lambda x: m},
        options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    np.testing.assert_allclose(nearest_within(y, m, low, high, COMM).values, of.x, atol=1e-7)


def test_a_field_within_its_bounds_stays_as_it_is():
    y, m = some_field()
    found = nearest_within(y, m, y.min(), y.max(), COMM)
    assert found.values is y and (found.shift, found.moved, found.below, found.above) == (0.0, 0.0, 0, 0)
    again = nearest_within(nearest_within(y, m, 0.0, np.inf, COMM).values, m, 0.0, np.inf, COMM)
    assert again.moved == 0.0


@pytest.mark.parametrize(("low", "high"), [(0.0, np.inf), (-np.inf, -0.5), (0.3, 0.31)])
def test_a_total_that_no_field_has_is_told_and_values_are_cut_off(low, high):
    y, m = some_field()
    y -= 0.4 if high > 0 else 0.0
    found = nearest_within(y, m, low, high, COMM)
    assert not found.feasible and found.shift == 0.0
    np.testing.assert_array_equal(found.values, np.clip(y, low, high))
    assert found.moved == pytest.approx(m @ np.abs(found.values - y))


def test_a_total_at_a_bound_leaves_one_field():
    y, m = np.array([-1.0, 0.5, 0.5]), np.array([1.0, 1.0, 1.0])
    np.testing.assert_allclose(nearest_within(y, m, 0.0, np.inf, COMM).values, np.zeros(3), atol=1e-15)
    y, m = np.array([2.0, 0.0, 1.0]), np.ones(3)
    np.testing.assert_allclose(nearest_within(y, m, 0.0, 1.0, COMM).values, np.ones(3), atol=1e-15)


def test_plumes_over_many_decades_keep_their_total():
    rng = np.random.default_rng(1)
    y, m = 10.0 ** rng.uniform(-12, 3, 5000) * rng.choice([1.0, -0.3], 5000), 10.0 ** rng.uniform(-3, 3, 5000)
    for low, high in ((0.0, np.inf), (0.0, 100.0)):
        x = nearest_within(y, m, low, high, COMM).values
        assert abs(m @ x - m @ y) <= 1e-12 * (m @ np.abs(y))


def test_copies_without_weight_follow_and_are_not_counted():
    y, m = some_field(50)
    alone = nearest_within(y, m, 0.0, np.inf, COMM)
    copied = nearest_within(np.append(y, y[:9]), np.append(m, np.zeros(9)), 0.0, np.inf, COMM)
    np.testing.assert_allclose(copied.values[:50], alone.values, atol=1e-14)
    np.testing.assert_array_equal(copied.values[50:], copied.values[:9])
    assert copied.below == alone.below and copied.shift == pytest.approx(alone.shift, rel=1e-12)


RATIOS = {"triangles": (0.0, 19 / 16), "tetrahedra": (-9 / 5, 27 / 20)}  # of the corners and middles of quadratic cells


@pytest.mark.parametrize(("low", "high"), BOUNDS)
@pytest.mark.parametrize("cells", RATIOS)
def test_parts_of_a_total_that_are_no_weights_are_kept_too(low, high, cells):
    """Karush, Kuhn, Tucker with parts that are zero or negative; and a general solver on a small one."""
    y, m = some_field(seed=4)
    r = np.random.default_rng(5).choice(RATIOS[cells], len(y), p=(0.25, 0.75))
    found = nearest_within(y, m, low, high, COMM, r)
    x, total = found.values, (m * r) @ y
    assert found.feasible and (x >= low).all() and (x <= high).all()
    assert abs((m * r) @ x - total) <= 1e-12 * (m @ np.abs(r * y)) and found.total == pytest.approx(total, rel=1e-12)
    free, pull = (x > low) & (x < high), x - y - found.shift * r
    assert np.abs(pull[free]).max() <= 1e-14
    assert (pull[x == low] >= 0).all() and (pull[x == high] <= 0).all()
    (y, m), r = some_field(12, seed=3), np.resize(RATIOS[cells], 12)
    assert nearest_within(y, m, low, high, COMM, r).feasible
    of = minimize(
        lambda x: 0.5 * m @ (x - y) ** 2, np.clip(y, low, high), jac=lambda x: m * (x - y), method="SLSQP",
        bounds=[(low, high)] * 12, options={"ftol": 1e-15, "maxiter": 500},
        constraints={"type": "eq", "fun": lambda x: (m * r) @ (x - y), "jac": lambda x: m * r},
    )  # fmt: skip
    np.testing.assert_allclose(nearest_within(y, m, low, high, COMM, r).values, of.x, atol=1e-6)


def test_a_total_of_such_parts_that_no_field_has_is_told():
    y, m, r = np.full(4, -1.0), np.ones(4), np.array([0.0, 1.0, 1.0, 1.0])
    found = nearest_within(y, m, 0.0, np.inf, COMM, r)
    assert not found.feasible and found.moved == pytest.approx(3.0) and (found.values == 0.0).all()
