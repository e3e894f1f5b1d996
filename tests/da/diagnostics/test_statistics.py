import json

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import make_problem

from da.analysis import analyse
from da.diagnostics.influence import influence
from da.diagnostics.posterior import posterior
from da.diagnostics.statistics import describe, group_statistics
from da.minimisation.hessian import ObservationHessian

COMM = MPI.COMM_SELF


def test_groups_equal_their_textbook_statistics():
    rng = np.random.default_rng(1)
    d, r, std = rng.normal(3.0, 2.0, 50), rng.normal(size=50), 0.5 + rng.random(50)
    group = np.array(["b", "a", "c", "b", "b"] * 10)
    told = group_statistics(d, r, r / std**2, group, 0.25 * std)
    assert list(told) == ["a", "b", "c"]
    for name, of in told.items():
        mine = group == name
        assert of.innovation.count == of.residual.count == mine.sum()
        assert (of.innovation.mean, of.innovation.std) == pytest.approx((d[mine].mean(), d[mine].std()), rel=1e-13)
        assert of.residual.rms == pytest.approx(np.sqrt(np.mean(r[mine] ** 2)), rel=1e-13)
        assert of.chi_squared == pytest.approx(np.mean((r[mine] / std[mine]) ** 2), rel=1e-13)
        assert of.expected == pytest.approx(1.0 - 0.25 * std[mine].mean(), rel=1e-13)
        json.dumps(of.summary(), allow_nan=False)


def test_groups_add_up_to_the_analysis():
    problem = make_problem(COMM, "tsvd", 12)
    found = analyse(*problem.arguments, COMM)
    residual = problem.innovation - found.increment[problem.index]
    told = group_statistics(problem.innovation, residual, residual / problem.std**2, problem.index % 2)
    assert {name: of.expected for name, of in told.items()} == {"0": None, "1": None}
    total = sum(of.chi_squared * of.residual.count for of in told.values())
    assert total == pytest.approx(40 * found.chi_squared, rel=1e-9)
    whole = group_statistics(problem.innovation, residual, residual / problem.std**2, ["all"] * 40)["all"]
    for one, other in ((whole.innovation, found.innovation), (whole.residual, found.residual)):
        assert one.count == other.count
        assert (one.mean, one.std, one.rms) == pytest.approx((other.mean, other.std, other.rms), rel=1e-9)


def test_chi_squared_of_consistent_errors_is_what_is_expected():
    problem = make_problem(COMM, "tsvd", 12)
    transform, operator, error, _ = problem.arguments
    hessian = ObservationHessian(transform, operator, error, COMM)
    of = posterior(hessian.information)
    hu = transform.operator_product(operator)
    rng = np.random.default_rng(4)
    group, found, expected = problem.index % 2, {"0": [], "1": []}, {}
    for _ in range(400):
        d = hu @ rng.normal(size=12) + problem.std * rng.normal(size=40)
        residual = d - hu @ (of.covariance @ (hu.T @ (d / problem.std**2)))
        told = influence(of, transform, operator, error, residual)
        for name, one in group_statistics(d, residual, residual / problem.std**2, group, told.influence).items():
            found[name].append(one.chi_squared)
            expected[name] = one.expected
    for name, values in found.items():
        assert np.mean(values) == pytest.approx(expected[name], abs=4.0 * np.std(values) / 20.0)
        assert expected[name] < 0.9


def test_a_small_spread_about_a_large_mean_and_nothing_at_all():
    assert describe(1e8 + np.array([-1e-3, 1e-3])).std == pytest.approx(1e-3, rel=1e-4)
    assert describe([]).count == 0 and np.isnan(describe([]).mean)
    assert group_statistics([], [], [], []) == {}


def test_lengths_must_fit():
    with pytest.raises(ValueError, match=r"residual of shape \(2,\) for 3 readings"):
        group_statistics(np.ones(3), np.ones(2), np.ones(3), ["a"] * 3)
    with pytest.raises(ValueError, match=r"influence of shape \(1,\) for 3 readings"):
        group_statistics(np.ones(3), np.ones(3), np.ones(3), ["a"] * 3, np.ones(1))
