"""The promises of `da.observation.operator.ObservationOperator`, for every observation operator there is."""

import numpy as np
import pytest
from every import OPERATORS, increment_of, observed_of
from every_results import of_operators
from mpi4py import MPI
from ranks import assert_close, results_on
from small_problem import N

from da.diagnostics.checks import adjoint_gap, whole_dot
from da.observation.operator import ModesOperator, modes_operator

COMM = MPI.COMM_SELF


@pytest.fixture(params=OPERATORS)
def case(request):
    return OPERATORS[request.param](COMM)


def test_sizes(case):
    operator = case.operator
    assert operator.rows == slice(0, operator.n_observations)
    assert operator.n_state == N + case.n_biases
    assert operator.observe(increment_of(case, COMM, seed=1)).shape == (operator.n_observations,)
    assert operator.adjoint(np.zeros(operator.n_observations)).shape == (operator.n_state,)


def test_a_zero_increment_is_observed_as_zero(case):
    assert not case.operator.observe(np.zeros(case.operator.n_state)).any()


def test_derivative_and_adjoint_are_transposes(case):
    operator = case.operator
    x, p = (increment_of(case, COMM, seed) for seed in (1, 2))
    y = observed_of(operator, seed=3)
    for at in (x, np.zeros_like(x)):
        linear = operator.linearised(at)
        gap = adjoint_gap(
            linear.observe, lambda v, at=at: operator.adjoint(v, at=at), p, y, whole_dot, whole_dot
        )  # fmt: skip
        assert gap < 1e-13
        assert adjoint_gap(linear.observe, linear.adjoint, p, y, whole_dot, whole_dot) < 1e-13
    np.testing.assert_array_equal(operator.adjoint(y), operator.adjoint(y, at=np.zeros_like(x)))


def test_taylor(case):
    operator = case.operator
    x, p = (increment_of(case, COMM, seed) for seed in (1, 2))
    base, slope = operator.observe(x), operator.linearised(x).observe(p)
    remainder = [np.linalg.norm(operator.observe(x + h * p) - base - h * slope) for h in (1e-3, 1e-4)]
    if operator.linear:
        assert max(remainder) < 1e-12 * np.linalg.norm(base)
    else:
        assert 90.0 < remainder[0] / remainder[1] < 110.0


def test_a_linear_operator_is_linear_and_its_own_derivative(case):
    operator = case.operator
    x, p = (increment_of(case, COMM, seed) for seed in (1, 2))
    whole, parts = operator.observe(x - 2.0 * p), operator.observe(x) - 2.0 * operator.observe(p)
    assert (np.linalg.norm(whole - parts) < 1e-12 * np.linalg.norm(parts)) == operator.linear
    assert operator.linearised(x).linear
    if operator.linear:
        y = observed_of(operator, seed=3)
        np.testing.assert_array_equal(operator.linearised(x).observe(p), operator.observe(p))
        np.testing.assert_array_equal(operator.adjoint(y, at=x), operator.adjoint(y))


def test_many_vectors_at_once_are_each_by_itself(case):
    operator = case.operator
    if not isinstance(operator, ModesOperator):
        with pytest.raises(ValueError, match="no product with modes; linearise"):
            modes_operator(operator)
        return
    rng = np.random.default_rng(4)
    vectors, scale = rng.normal(size=(N, 5)), rng.random(N)
    columns = np.stack([operator.observe(scale * column) for column in vectors.T], axis=1)
    product = operator.observe_modes(vectors, scale)
    np.testing.assert_allclose(product, columns, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(operator.observe_modes(scale[:, None] * vectors), columns, rtol=1e-12, atol=1e-13)
    found = np.full_like(product, np.nan)
    for rows, block in operator.observe_modes_in_blocks(vectors, scale):
        found[rows] = block
    np.testing.assert_array_equal(found, product)


def test_content_determines_it(case):
    content = case.operator.content
    assert isinstance(content, tuple) and all(isinstance(part, np.ndarray) for part in content)


def test_results_are_the_callers_own(case):
    operator = case.operator
    first = operator.observe(increment_of(case, COMM, seed=1))
    kept = first.copy()
    operator.observe(increment_of(case, COMM, seed=2))
    np.testing.assert_array_equal(first, kept)


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    expected = of_operators(COMM)
    for n in (2, 3):
        assert_close(results_on(mpirun, n, tmp_path, "tests/da/parallel_every.py", "operators"), expected, n)
