import numpy as np
import pytest
from mpi4py import MPI
from petsc4py import PETSc
from small_problem import dense_control, make_problem, relative_difference

from da.minimisation.cost import CostFunction
from da.minimisation.minimise import AT_ROUNDING, Iteration, MinimisationError, _lost_in_rounding, minimise
from da.minimisation.tao import METHODS

COMM = MPI.COMM_SELF


class Quadratic:
    """½ wᵀw + ½ ‖G w − d‖², with what a test wants to go wrong."""

    def __init__(self, n=20, noise=0.0, linear=True, slope=1.0, nan_after=None, amplitude=30.0):
        rng = np.random.default_rng(0)
        self.matrix = amplitude * rng.normal(size=(60, n)) * np.logspace(0, -1.5, n)
        self.target = self.matrix @ rng.normal(size=n) + rng.normal(size=60)
        self.n_control, self.noise, self.linear = n, noise, linear
        self.slope, self.nan_after, self.asked = slope, nan_after, 0

    def background(self, control):
        return 0.5 * float(control @ control)

    def value_and_gradient(self, control):
        self.asked += 1
        if self.nan_after is not None and self.asked > self.nan_after:
            return np.nan, np.full(self.n_control, np.nan)
        misfit = self.matrix @ control - self.target
        value = self.background(control) + 0.5 * float(misfit @ misfit)
        # rounding, made large enough to be seen: it jumps with the slightest change of the control
        value *= 1.0 + self.noise * np.sin(1e12 * control.sum())
        return value, self.slope * (control + self.matrix.T @ misfit)

    def hessian_product(self, direction):
        return direction + self.matrix.T @ (self.matrix @ direction)

    def solution(self):
        hessian = np.eye(self.n_control) + self.matrix.T @ self.matrix
        return np.linalg.solve(hessian, self.matrix.T @ self.target)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["reduced", "tsvd"])
def test_all_methods_reach_the_direct_solution(method, kind):
    problem = make_problem(COMM, kind, 12)
    found = minimise(CostFunction(*problem.arguments, COMM), COMM, method=method)
    assert relative_difference(found.control, dense_control(problem)) < 1e-10
    assert found.reason == "CONVERGED_GATOL"


@pytest.mark.parametrize("method", METHODS)
def test_a_wide_tolerance_is_of_the_gradient_by_the_control(method):
    # where the Hessian is the identity the gradient is a fifth of that by the control: the background would seem to do
    cost = CostFunction(*make_problem(COMM, "tsvd", 12).arguments, COMM)
    found = minimise(cost, COMM, method=method, root=cost.hessian_root, gradient_tolerance=0.3)
    assert found.iterations > 0 and found.trace[-1].gradient_norm <= 0.3 * found.trace[0].gradient_norm


@pytest.mark.parametrize("method", METHODS)
def test_ill_conditioned_quadratic(method):
    # condition 1500: with TAO's own scaling, lmvm ends in a line-search failure at 1e-9
    cost = Quadratic()
    found = minimise(cost, COMM, method=method)
    assert relative_difference(found.control, cost.solution()) < 1e-9
    assert found.evaluations < 400


@pytest.mark.parametrize("method", METHODS)
def test_rounding_of_the_cost_does_not_hide_a_quadratics_minimum(method):
    cost = Quadratic(noise=1e-9)
    found = minimise(cost, COMM, method=method)
    assert relative_difference(found.control, cost.solution()) < 1e-9


class Rough(Quadratic):
    """Its gradients are rounded by more than the tolerance asks for."""

    def _rounding(self, control):
        return 1e-11 * np.linalg.norm(self.matrix.T @ self.target) * np.sin(1e12 * control)

    def value_and_gradient(self, control):
        value, gradient = super().value_and_gradient(control)
        return value, gradient + self._rounding(control)

    def hessian_product(self, direction):
        return super().hessian_product(direction) + self._rounding(direction)


@pytest.mark.parametrize("method", METHODS)
def test_a_search_with_a_root_ends_where_rounding_does(method):
    cost = Rough()
    root = np.linalg.cholesky(np.eye(cost.n_control) + cost.matrix.T @ cost.matrix)
    found = minimise(cost, COMM, method=method, root=root, gradient_tolerance=1e-15)
    assert found.reason == AT_ROUNDING and found.iterations < 50
    assert relative_difference(found.control, cost.solution()) < 1e-6


def test_any_other_cost_may_stop_at_rounding():
    cost = Quadratic(noise=1e-9, linear=False)
    found = minimise(cost, COMM, rounding_tolerance=1e-3)
    assert found.reason == AT_ROUNDING
    assert found.trace[-1].gradient_norm < 1e-3 * found.trace[0].gradient_norm
    with pytest.raises(MinimisationError, match="DIVERGED_LS_FAILURE"):
        minimise(cost, COMM, rounding_tolerance=1e-14)


@pytest.mark.parametrize(
    ("costs", "norm", "lost"),
    [
        ((14.1, 11.282003820536712), 1e-8, True),  # small enough by itself
        ((11.282003820536717, 11.282003820536712), 2e-7, True),  # PETSc 3.22 on a J of third order
        ((11.282003820636712, 11.282003820536712), 2e-7, False),  # the last step gained something
        ((11.282003820536717, 11.282003820536712), 2e-5, False),  # a wrong gradient may do that far from the minimum
        ((11.282003820536712,), 2e-7, False),
    ],
)
def test_a_search_is_lost_in_rounding_where_j_stands_still(costs, norm, lost):
    trace = [Iteration(i, cost, 0.0, cost, norm) for i, cost in enumerate(costs)]
    assert _lost_in_rounding(trace, 1e-8) is lost


class Steep:
    """½ wᵀw + ½ ‖exp(9 w) − d‖², which a step as long as its gradient takes beyond all numbers."""

    n_control, linear = 4, False
    target = np.exp(9.0 * np.array([0.1, 0.3, -0.2, 0.5]))

    def background(self, control):
        return 0.5 * float(control @ control)

    def value_and_gradient(self, control):
        with np.errstate(over="ignore", invalid="ignore"):
            value = np.exp(9.0 * control)
            misfit = value - self.target
            return self.background(control) + 0.5 * float(misfit @ misfit), control + 9.0 * value * misfit


@pytest.mark.parametrize("method", METHODS)
def test_the_first_step_is_not_as_long_as_the_gradient(method):
    found = minimise(Steep(), COMM, method=method, gradient_tolerance=1e-8)
    np.testing.assert_allclose(found.control, [0.1, 0.3, -0.2, 0.5], atol=0.05)
    assert found.trace[-1].gradient_norm <= 1e-8 * found.trace[0].gradient_norm
    assert found.trace[0].cost == pytest.approx(Steep().value_and_gradient(np.zeros(4))[0])


def test_trace_tells_of_each_iteration():
    problem = make_problem(COMM)
    cost = CostFunction(*problem.arguments, COMM)
    found = minimise(cost, COMM)
    costs = [step.cost for step in found.trace]
    assert [step.iteration for step in found.trace] == list(range(found.iterations + 1))
    assert costs[0] == cost.value(np.zeros(cost.n_control))
    assert np.all(np.diff(costs) <= 1e-12 * costs[0])
    last = found.trace[-1]
    assert (last.background, last.observation) == pytest.approx(cost.parts(found.control), rel=1e-10)
    assert last.gradient_norm == pytest.approx(np.linalg.norm(cost.gradient(found.control)), rel=1e-2)


def test_a_stopped_search_starts_anew_where_it_was():
    class Interrupted(Quadratic):
        """No step is accepted after the 40th product, until a new search asks for the cost itself."""

        products = 0

        def value_and_gradient(self, control):
            self.products = 0 if self.asked == 0 else -1000
            return super().value_and_gradient(control)

        def hessian_product(self, direction):
            self.products += 1
            return super().hessian_product(direction) * (np.nan if self.products > 40 else 1.0)

    cost = Interrupted()
    found = minimise(cost, COMM)
    assert cost.asked == 2
    assert [step.iteration for step in found.trace] == list(range(found.iterations + 1))
    assert np.all(np.diff([step.cost for step in found.trace]) <= 0.0)
    assert relative_difference(found.control, cost.solution()) < 1e-9


def test_start_at_the_minimum_and_no_innovation_need_no_step():
    problem = make_problem(COMM)
    cost = CostFunction(*problem.arguments[:3], np.zeros(40), COMM)
    found = minimise(cost, COMM)
    assert found.iterations == 0 and not found.control.any() and found.trace[0].cost == 0.0
    cost = Quadratic()
    assert minimise(cost, COMM, start=cost.solution()).iterations <= 1


def test_start_does_not_matter_to_the_minimum():
    cost = Quadratic(amplitude=1.0)
    start = np.random.default_rng(1).normal(size=20)
    kept = start.copy()
    found = minimise(cost, COMM, start=start)
    assert relative_difference(found.control, cost.solution()) < 1e-9
    assert np.array_equal(start, kept)


def test_too_few_iterations():
    with pytest.raises(MinimisationError, match="DIVERGED_MAXITS after 3 iterations: J = .*allow more iterations"):
        minimise(Quadratic(), COMM, max_iterations=3)


def test_gradient_that_is_not_the_costs():
    with pytest.raises(MinimisationError, match="DIVERGED_LS_FAILURE .* check that the gradient"):
        minimise(Quadratic(linear=False, slope=-1.0), COMM)


def test_cost_that_is_no_number():
    with pytest.raises(MinimisationError, match="J = nan .* at the start"):
        minimise(Quadratic(nan_after=0), COMM)
    with pytest.raises(MinimisationError, match="DIVERGED_LS_FAILURE"):
        minimise(Quadratic(linear=False, nan_after=3), COMM)


def test_exception_in_the_cost_comes_through():
    class Broken(Quadratic):
        def hessian_product(self, direction):
            raise ZeroDivisionError("from the cost")

    with pytest.raises(ZeroDivisionError, match="from the cost"):
        minimise(Broken(), COMM)


def test_bad_arguments():
    with pytest.raises(ValueError, match="method 'newton', expected one of lmvm, blmvm, bqnls"):
        minimise(Quadratic(), COMM, method="newton")
    with pytest.raises(ValueError, match=r"start of shape \(3,\), expected \(20,\)"):
        minimise(Quadratic(), COMM, start=np.zeros(3))


@pytest.fixture
def database():
    """PETSc's options, as they were before afterwards."""
    options = PETSc.Options()
    before = options.getAll()
    yield options
    for name in options.getAll():
        if name not in before:
            options.delValue(name)


@pytest.mark.parametrize("method", METHODS)
def test_options_of_the_user_win_and_none_is_left(database, method):
    before = database.getAll()
    usual = minimise(Quadratic(), COMM, method=method).iterations
    assert database.getAll() == before

    database["da_tao_gttol"] = 1e-2
    assert minimise(Quadratic(), COMM, method=method).iterations < usual / 2
    database.delValue("da_tao_gttol")

    for prefix in ("", "da_"):
        name = f"{prefix}tao_{method}_mat_lmvm_hist_size"
        database[name] = 3
        with_user = database.getAll()
        assert minimise(Quadratic(), COMM, method=method).iterations != usual
        assert database.getAll() == with_user
        database.delValue(name)


def test_prefixes_keep_solvers_apart(database):
    database["inner_tao_max_it"] = 2
    assert minimise(Quadratic(), COMM).iterations > 2
    with pytest.raises(MinimisationError, match="DIVERGED_MAXITS after 2 "):
        minimise(Quadratic(), COMM, options_prefix="inner_")


@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_wanders_in_rounding_is_stopped(method):
    class Noisy:
        """A quadratic form whose values and slopes have the rounding of a float."""

        n_control, linear = 6, False
        curvature = np.logspace(0, 4, 6)

        def background(self, control):
            return 0.0

        def value_and_gradient(self, control):
            value = 50.0 + 0.5 * float(control @ (self.curvature * control)) - float(control.sum())
            return float(np.float32(value)), np.float32(self.curvature * control - 1.0).astype(float)

    minimum = minimise(
        Noisy(), COMM, method=method, gradient_tolerance=1e-12, rounding_tolerance=np.inf, rounding=1e-7,
        max_iterations=100_000,
    )  # fmt: skip
    assert minimum.iterations < 200
    assert minimum.trace[-1].cost == pytest.approx(50.0 - 0.5 * np.sum(1.0 / Noisy.curvature), rel=1e-6)
