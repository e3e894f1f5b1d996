"""The numbers of every implementation in `every`, whole, for the comparison of one rank with several."""

import numpy as np
from every import ERRORS, OPERATORS, TRANSFORMS, M, gathered, increment_of, observed_of

from da.diagnostics.checks import adjoint_gap, dot_over, whole_dot

ROUNDING = 1e-11  # of an adjoint over the ranks


def of_transforms(comm):
    """{name: array} of U, its tangent, its adjoint and H U."""
    kept = {}
    for name, make in TRANSFORMS.items():
        case = make(comm)
        transform = case.transform
        w, p = np.random.default_rng(1).normal(size=(2, transform.n_control))
        y = increment_of(case, comm, seed=2)
        kept[f"{name}: U"] = gathered(case, transform.apply(w), comm)
        kept[f"{name}: U'"] = gathered(case, transform.tangent(p, at=w), comm)
        kept[f"{name}: adjoint"] = transform.adjoint(y, at=w)
        assert all(
            np.array_equal(kept[f"{name}: adjoint"], other) for other in comm.allgather(kept[f"{name}: adjoint"])
        )
        gap = adjoint_gap(
            lambda v, u=transform, at=w: u.tangent(v, at=at), lambda v, u=transform, at=w: u.adjoint(v, at=at),
            p, y, whole_dot, dot_over(comm),
        )  # fmt: skip
        assert gap < ROUNDING, name
        if transform.linear:
            kept[f"{name}: H U"] = np.concatenate(comm.allgather(transform.operator_product(case.operator)))
    return kept


def of_operators(comm):
    """{name: array} of H, its derivative and the derivative's adjoint."""
    kept = {}
    for name, make in OPERATORS.items():
        case = make(comm)
        operator = case.operator
        x, p = (increment_of(case, comm, seed) for seed in (3, 4))
        y, linear = observed_of(operator, seed=5), operator.linearised(x)
        kept[f"{name}: H"] = np.concatenate(comm.allgather(operator.observe(x)))
        kept[f"{name}: H'"] = np.concatenate(comm.allgather(linear.observe(p)))
        kept[f"{name}: adjoint"] = gathered(case, operator.adjoint(y, at=x), comm)
        dot = dot_over(comm)
        gap = adjoint_gap(linear.observe, lambda v, h=operator, at=x: h.adjoint(v, at=at), p, y, dot, dot)
        assert gap < ROUNDING, name
    return kept


def of_errors(comm):
    """{name: array} of R⁻¹ and R^{-1/2} v, of one column and of many, and of R with more variance."""
    kept = {}
    many, more = np.random.default_rng(6).normal(size=(M, 3)), np.random.default_rng(7).random(M)
    for name, make in ERRORS.items():
        case = make(comm)
        error, mine, inflated = case.error, case.rows, case.error.inflated(more[case.rows])
        for what, values in (
            ("solve", error.solve(many[mine])),
            ("solve one", error.solve(many[mine, 0])),
            ("whiten", error.whiten(many[mine])),
            ("inflated", inflated.solve(many[mine])),
            ("std", error.std_local),
        ):
            kept[f"{name}: {what}"] = np.concatenate(comm.allgather(values))
    return kept


RESULTS = {"transforms": of_transforms, "operators": of_operators, "errors": of_errors}
