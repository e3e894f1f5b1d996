from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from networks import BackwardOnly, Bent, OnceOnly, made, possible, tsvd_basis
from small_problem import make_problem, relative_difference
from wind_problem import make_wind

from da.analysis import analyse
from da.background.biased_transform import BiasedTransform
from da.minimisation.cost import CostFunction
from da.minimisation.gauss_newton import CONVERGED, STOPPED, gauss_newton
from da.minimisation.minimise import MinimisationError, minimise
from da.observation.bias import BiasedOperator
from da.outer_loops import outer_loops

COMM = MPI.COMM_SELF


@pytest.mark.parametrize("network", [Bent, BackwardOnly, OnceOnly])
@pytest.mark.parametrize("centred, truncation", [(False, None), (True, None), (False, 6), (True, 3)])
def test_same_minimum_with_fewer_decodes(network, centred, truncation):
    problem = made(network(tsvd_basis()), centred, truncation)
    cost = CostFunction(*possible(problem), COMM)
    decodes = []
    for search in (minimise, gauss_newton):
        before = problem.decoder.passes()
        found = search(cost, COMM, gradient_tolerance=1e-8)
        after = problem.decoder.passes()
        decodes.append(after.decodes - before.decodes)
        assert found.trace[-1].gradient_norm <= 1e-8 * found.trace[0].gradient_norm
    expected = minimise(cost, COMM)
    assert relative_difference(found.control, expected.control) < 1e-6
    assert found.trace[-1].cost == pytest.approx(expected.trace[-1].cost, rel=1e-12)
    assert decodes[1] < decodes[0]
    # a value, and the gradient where it was accepted, are one decode
    assert decodes[1] == found.evaluations and found.products == after.tangents - before.tangents > 0


def test_j_never_rises():
    # readings that cannot be met, of errors far too small: the hardest case, with steps that are too long
    problem = made(BackwardOnly(tsvd_basis()), True)
    found = gauss_newton(CostFunction(problem.transform, *problem.arguments, COMM), COMM, max_iterations=200)
    costs = [step.cost for step in found.trace]
    assert found.evaluations > len(costs) + 5
    # on to where J's values no longer tell its fall, and only gradients do
    assert found.reason == CONVERGED and found.trace[-1].gradient_norm <= 1e-10 * found.trace[0].gradient_norm
    assert (np.diff(costs) <= 1e-12 * costs[0]).all() and costs[-1] < costs[0]
    assert all(s.cost == pytest.approx(s.background + s.observation) for s in found.trace)


@pytest.mark.parametrize("weight", [1.0, 0.1, 1e4])
def test_linear_cost(weight):
    problem = make_problem(COMM, "tsvd", 12)
    expected = analyse(*problem.arguments, COMM, background_weight=weight)
    found = gauss_newton(CostFunction(*problem.arguments, COMM, weight), COMM)
    assert relative_difference(found.control, expected.control) < 1e-9
    # the Hessian is J's own, so that only CG's tolerance costs iterations
    assert found.iterations <= 7 and found.evaluations == found.iterations + 1


def test_speeds_as_by_outer_loops():
    wind = make_wind(COMM)
    arguments = wind.transform, wind.operator, wind.error, wind.innovation, COMM
    found = gauss_newton(CostFunction(*arguments), COMM)
    expected = outer_loops(*arguments, loops=60)
    assert relative_difference(found.control, expected.control) < 1e-6
    assert found.iterations <= 2 * len(expected.changes)


def test_speeds_through_a_decoder():
    wind, problem = make_wind(COMM), made(Bent(tsvd_basis()), True)
    cost = CostFunction(problem.transform, wind.operator, wind.error, wind.innovation, COMM)
    expected, found = minimise(cost, COMM), gauss_newton(cost, COMM)
    assert relative_difference(found.control, expected.control) < 1e-6


def test_start_at_the_minimum_ends_there():
    problem = made(Bent(tsvd_basis()), False)
    cost = CostFunction(*possible(problem), COMM)
    least = gauss_newton(cost, COMM)
    again = gauss_newton(cost, COMM, start=least.control)
    assert again.iterations == 0 and np.array_equal(again.control, least.control)


def test_iterations_used_up():
    problem = made(Bent(tsvd_basis()), False)
    cost = CostFunction(*possible(problem), COMM)
    with pytest.raises(MinimisationError, match="used up its iterations after 2 iterations"):
        gauss_newton(cost, COMM, max_iterations=2)
    found = gauss_newton(cost, COMM, max_iterations=2, rounding_tolerance=1.0)
    assert found.reason == STOPPED and found.iterations == 2
    # and products: CG cut short still goes downhill
    short = gauss_newton(cost, COMM, max_iterations=5, rounding_tolerance=1.0, max_products=1)
    assert short.products == 5 and (np.diff([step.cost for step in short.trace]) < 0.0).all()


def test_options_of_petsc_win():
    from petsc4py import PETSc

    problem = made(Bent(tsvd_basis()), False)
    cost, options = CostFunction(*possible(problem), COMM), PETSc.Options()
    options.setValue("mine_ksp_max_it", 1)
    try:
        found = gauss_newton(cost, COMM, max_iterations=3, rounding_tolerance=1.0, options_prefix="mine_")
    finally:
        options.delValue("mine_ksp_max_it")
    assert found.products == 3


def test_biases_beside_a_nonlinear_transform_are_estimated_with_it():
    u, h, r, d = possible(made(Bent(tsvd_basis()), False))
    stations = BiasedOperator(h, np.zeros(40, int), 1, COMM)
    cost = CostFunction(BiasedTransform(u, np.ones(1), COMM), stations, r, d, COMM)
    minimum = gauss_newton(cost, COMM, gradient_tolerance=1e-8)
    assert minimum.trace[-1].gradient_norm <= 1e-8 * minimum.trace[0].gradient_norm
    assert minimum.trace[-1].cost <= cost.value(np.append(minimum.control[:-1], 0.0))


def test_what_is_wrong_is_told():
    problem = make_problem(COMM, "tsvd", 8)
    cost = CostFunction(*problem.arguments, COMM)
    with pytest.raises(ValueError, match=r"start of shape \(3,\), expected \(8,\)"):
        gauss_newton(cost, COMM, start=np.zeros(3))
    bent = made(Bent(tsvd_basis()), False)
    u, h, r, d = possible(bent)
    broken = replace(u, offset=np.full(300, np.nan))
    with pytest.raises(MinimisationError, match="J = nan"):
        gauss_newton(CostFunction(broken, h, r, d, COMM), COMM)
