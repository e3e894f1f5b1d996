"""The promises of `da.background.transform.Transform`, for every transform there is."""

import numpy as np
import pytest
from every import TRANSFORMS, increment_of
from every_results import of_transforms
from mpi4py import MPI
from ranks import assert_close, results_on

from da.diagnostics.checks import adjoint_gap, whole_dot

COMM = MPI.COMM_SELF


@pytest.fixture(params=TRANSFORMS)
def case(request):
    return TRANSFORMS[request.param](COMM)


def controls(transform, n):
    return np.random.default_rng(1).normal(size=(n, transform.n_control))


def test_tangent_and_adjoint_are_transposes(case):
    transform = case.transform
    w, p = controls(transform, 2)
    for at in (w, None):
        gap = adjoint_gap(
            lambda v, at=at: transform.tangent(v, at=at), lambda v, at=at: transform.adjoint(v, at=at),
            p, increment_of(case, COMM, seed=2), whole_dot, whole_dot,
        )  # fmt: skip
        assert gap < 1e-12


def test_derivatives_without_a_control_are_those_at_zero(case):
    transform, zero = case.transform, np.zeros(case.transform.n_control)
    (p,), y = controls(transform, 1), increment_of(case, COMM, seed=2)
    np.testing.assert_array_equal(transform.tangent(p), transform.tangent(p, at=zero))
    np.testing.assert_array_equal(transform.adjoint(y), transform.adjoint(y, at=zero))


def test_taylor(case):
    transform = case.transform
    w, p = controls(transform, 2)
    base, slope = transform.apply(w), transform.tangent(p, at=w)
    steps = np.array([1e-3, 1e-4])
    remainder = [np.linalg.norm(transform.apply(w + h * p) - base - h * slope) for h in steps]
    if transform.linear:
        assert max(remainder) < 1e-12 * np.linalg.norm(base)
    elif case.smooth:
        assert 90.0 < remainder[0] / remainder[1] < 110.0
    else:
        assert remainder[1] < 1e-2 * steps[1] * np.linalg.norm(slope)


def test_a_linear_transform_is_linear(case):
    transform = case.transform
    w, v = controls(transform, 2)
    whole, parts = transform.apply(w - 2.0 * v), transform.apply(w) - 2.0 * transform.apply(v)
    assert (np.linalg.norm(whole - parts) < 1e-12 * np.linalg.norm(parts)) == transform.linear
    if transform.linear:
        y = increment_of(case, COMM, seed=2)
        assert not transform.apply(np.zeros_like(w)).any()
        np.testing.assert_array_equal(transform.tangent(v, at=w), transform.apply(v))
        np.testing.assert_array_equal(transform.adjoint(y, at=w), transform.adjoint(y))


def test_operator_product_is_h_after_u(case):
    transform, operator = case.transform, case.operator
    if not transform.linear:
        for product in (transform.operator_product, transform.operator_product_in_blocks):
            with pytest.raises(ValueError, match="not linear"):
                product(operator)
        return
    product = transform.operator_product(operator)
    columns = np.stack([operator.observe(transform.apply(column)) for column in np.eye(transform.n_control)], axis=1)
    np.testing.assert_allclose(product, columns, rtol=1e-11, atol=1e-12 * np.abs(columns).max())
    found = np.full_like(product, np.nan)
    for rows, block in transform.operator_product_in_blocks(operator):
        found[rows] = block
    np.testing.assert_array_equal(found, product)


def test_content_determines_it(case):
    content = case.transform.content
    assert isinstance(content, tuple) and all(isinstance(part, np.ndarray) for part in content)
    again = case.transform.content
    assert all(np.array_equal(one, other) for one, other in zip(content, again, strict=True))


def test_results_are_the_callers_own(case):
    transform = case.transform
    w, v = controls(transform, 2)
    first = transform.apply(w)
    kept = first.copy()
    transform.apply(v)
    np.testing.assert_array_equal(first, kept)


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    expected = of_transforms(COMM)
    for n in (2, 3):
        assert_close(results_on(mpirun, n, tmp_path, "tests/da/parallel_every.py", "transforms"), expected, n)
