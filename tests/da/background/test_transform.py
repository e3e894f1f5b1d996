import numpy as np
import pytest
from mpi4py import MPI
from small_problem import N, dense, make_problem

from da.background.linear_transform import LinearTransform

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("kind", ["reduced", "tsvd"])
@pytest.mark.parametrize("scaled", [True, False])
def test_adjoint(kind, scaled):
    transform = make_problem(COMM, kind, 6).transform
    if not scaled:
        transform = LinearTransform(transform.modes, None, COMM)
    rng = np.random.default_rng(2)
    w, dx = rng.normal(size=transform.n_control), rng.normal(size=N)
    assert transform.apply(w) @ dx == pytest.approx(w @ transform.adjoint(dx), rel=1e-12)
    # the place of linearisation does not matter to a linear transform
    assert np.array_equal(transform.adjoint(dx, at=w), transform.adjoint(dx))


def test_equals_dense():
    problem = make_problem(COMM, "tsvd", 6)
    u, h = dense(problem)
    w = np.random.default_rng(3).normal(size=6)
    np.testing.assert_allclose(problem.transform.apply(w), u @ w, rtol=1e-12)
    np.testing.assert_allclose(problem.transform.operator_product(problem.operator), h @ u, rtol=1e-12)
    assert problem.transform.linear and problem.transform.n_control == 6


def test_scale_must_fit():
    with pytest.raises(ValueError, match=r"scale of shape \(3,\), expected \(300,\)"):
        LinearTransform(make_problem(COMM).transform.modes, np.ones(3), COMM)
