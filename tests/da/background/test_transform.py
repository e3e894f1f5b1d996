import numpy as np
import pytest
from mpi4py import MPI
from small_problem import dense, make_problem

from da.background.linear_transform import LinearTransform

COMM = MPI.COMM_SELF


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
