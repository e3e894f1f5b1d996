"""The minimum of a cost by TAO's limited-memory quasi-Newton methods.

The control is a PETSc vector over the ranks, so that all of them take TAO's decisions together.

A line search compares values of J. Near the minimum they differ by ½‖∇J‖²/curvature only, which is
lost in J's own rounding once the gradient has fallen by some 1e-8, and sooner where J's minimum is
far from zero: TAO then reports a failure (reason −6) where nothing is wrong. So for a quadratic J
TAO sees the difference to a centre, gᵀv + ½ vᵀHv with w = centre + v, whose rounding is that of what
there is to gain and not of J; where the search stops early all the same, it starts anew with what it
found as the centre, as in iterative refinement. For any other J, a search that stops at that level
counts as converged.

Where the Hessian of a quadratic J has a known root, L Lᵀ = H, the search is made in u = Lᵀ v: there
the Hessian is the identity but for rounding, and one or two steps do, however ill-conditioned H is.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from petsc4py import PETSc
from scipy.linalg import solve_triangular

from da.minimisation.tao import METHODS, REASONS, solver, whole

AT_ROUNDING = "STOPPED_AT_ROUNDING"
_REFINEMENTS = 4
_PROGRESS = 0.1  # a search that lowered the gradient by less will not do better in a second try
_FAILED_SEARCH = PETSc.TAO.Reason.DIVERGED_LS_FAILURE
_AT_CENTRE = PETSc.TAO.Reason.CONVERGED_USER
_ADVICE = {
    PETSc.TAO.Reason.DIVERGED_MAXITS: "allow more iterations or a larger gradient tolerance",
    _FAILED_SEARCH: "check that the gradient belongs to the cost, and that no network or operator returns NaN",
}
_OTHERWISE = "PETSc's option tao_monitor, under the solver's prefix, shows each iteration"


class MinimisationError(RuntimeError):
    """The minimum was not found; the message names TAO's reason, J and its gradient."""


class Cost(Protocol):
    """What the minimiser asks of a cost; controls are (n_control,) and whole on every rank."""

    n_control: int
    linear: bool

    def background(self, control):
        """J_b, the part of J that the control alone makes."""

    def value_and_gradient(self, control):
        """J(w) and ∇J(w). Collective."""

    def hessian_product(self, direction):
        """H p, asked only if `linear`. Collective."""


@dataclass(frozen=True)
class Iteration:
    """An iteration's end: J, its parts J_b and J_o, and ‖∇J‖."""

    iteration: int
    cost: float
    background: float
    observation: float
    gradient_norm: float


@dataclass(frozen=True)
class Minimum:
    """Where J is least.

    control : (s,) w, the same on every rank
    trace : the start and each iteration
    reason : TAO's name for why it stopped, or STOPPED_AT_ROUNDING
    evaluations : of J and its gradient
    """

    control: np.ndarray
    trace: tuple[Iteration, ...]
    reason: str
    evaluations: int

    @property
    def iterations(self):
        """Iterations, over all starts."""
        return self.trace[-1].iteration


def minimise(
    cost,
    comm,
    *,
    start=None,
    method="lmvm",
    gradient_tolerance=1e-13,
    rounding_tolerance=1e-8,
    max_iterations=1000,
    memory=20,
    root=None,
    options_prefix="da_",
):
    """Find the control of least cost. Collective.

    Parameters
    ----------
    cost : Cost
    comm : MPI communicator
    start : (s,) first control, the same on every rank; None starts at zero, the background
    method : "lmvm", "blmvm" or "bqnls"
    gradient_tolerance : stop when ‖∇J‖ has fallen to this part of its value at zero control; the default
        lets analyses on different numbers of ranks agree to 1e-10
    rounding_tolerance : a search that cannot go on below this part is no failure
    max_iterations : of all starts together
    memory : pairs of steps and gradients that stand for the Hessian
    root : (s, s) lower triangle L of the Hessian, L Lᵀ = H, of a linear cost; the same on every rank. None
        searches without
    options_prefix : of PETSc options, which win over the arguments: `PETSC_OPTIONS="-da_tao_gttol 1e-6"`

    Returns
    -------
    Minimum

    Raises
    ------
    MinimisationError
        if TAO stops for another reason than a tolerance, or J is not finite; on every rank
    ValueError
        if the method is not one of the three, or the start does not fit
    """
    if method not in METHODS:
        raise ValueError(f"minimisation method {method!r}, expected one of {', '.join(METHODS)}")
    centre = np.zeros(cost.n_control) if start is None else np.array(start, dtype=np.float64)
    if centre.shape != (cost.n_control,):
        raise ValueError(f"start of shape {centre.shape}, expected ({cost.n_control},), the length of a control")
    tao, vector = solver(cost.n_control, comm, method, gradient_tolerance, max_iterations, memory, options_prefix)
    try:
        space = _Space(root if cost.linear else None)
        control, trace, reason, evaluations, first = _searches(
            cost, comm, centre, tao, vector, space, rounding_tolerance, method
        )
    finally:
        tao.destroy()
        vector.destroy()
    stopped = reason in (_FAILED_SEARCH, _AT_CENTRE)
    at_rounding = stopped and trace[-1].gradient_norm <= rounding_tolerance * first
    if reason < 0 and not at_rounding:
        raise MinimisationError(_failure(method, reason, trace))
    return Minimum(control, tuple(trace), AT_ROUNDING if at_rounding else REASONS[reason], evaluations)


@dataclass(frozen=True)
class _Space:
    """Where the search is made: u = Lᵀ v, or v itself where there is no L."""

    root: np.ndarray | None

    def step(self, u):
        """v of u."""
        return u if self.root is None else solve_triangular(self.root, u, lower=True, trans=1, check_finite=False)

    def slope(self, gradient):
        """The gradient by u, of that by v."""
        return gradient if self.root is None else solve_triangular(self.root, gradient, lower=True, check_finite=False)


def _searches(cost, comm, centre, tao, vector, space, rounding_tolerance, method):
    """Search from a centre, and from what was found as long as rounding stops a search that gets on."""
    trace, evaluations, first = [], 0, 0.0
    if centre.any():
        # the background's gradient is the measure: a start near the minimum has none worth the name
        first = float(np.linalg.norm(cost.value_and_gradient(np.zeros_like(centre))[1]))
    seen = []
    # set once and for all searches: TAO can only forget all monitors, those of the user's options too
    tao.setMonitor(lambda tao: seen.append((*tao.getSolutionStatus()[:3], whole(tao.getSolution(), comm))))
    absolute, _, relative = tao.getTolerances()
    limit = tao.getMaximumIterations()
    for _ in range(1 + _REFINEMENTS):
        value, gradient = cost.value_and_gradient(centre)
        norm = float(np.linalg.norm(gradient))
        if not np.isfinite(value + norm):
            raise MinimisationError(f"J = {value} and ‖∇J‖ = {norm} at the start; check innovation and transform")
        if not trace:
            trace.append(_step(cost, 0, value, centre, norm))
            first = max(first, norm)
            absolute = max(absolute, relative * first)
        unit = _unit(value, norm) if method == "lmvm" and not cost.linear else 1.0
        # petsc4py asks TAO's own test before ours, which would compare the gradient by u with a tolerance of the other
        tao.setTolerances(gatol=absolute / unit if space.root is None else 0.0, gttol=0.0)
        tao.setMaximumIterations(limit - trace[-1].iteration)
        slope_at = _slope_at(cost, gradient, space)
        if slope_at is not None:
            left = limit - trace[-1].iteration
            tao.setConvergenceTest(_test(slope_at, absolute, rounding_tolerance * first, left, comm))
        function, constant = _shifted(cost, centre, value, gradient, space)
        reason, moved, n = _search(function, unit, comm, tao, vector)
        base = trace[-1].iteration
        for i, f, slope, u in seen:
            if i > 0:
                slope = unit * slope if slope_at is None else slope_at(u)
                trace.append(_step(cost, base + i, unit * f + constant, centre + space.step(u), slope))
        seen.clear()
        centre, evaluations = centre + space.step(moved), evaluations + n + 1
        got_on = trace[-1].gradient_norm <= _PROGRESS * norm
        if not (cost.linear and reason in (_FAILED_SEARCH, _AT_CENTRE) and got_on):
            break
    return centre, trace, reason, evaluations, first


def _slope_at(cost, gradient, space):
    """u ↦ ‖∇J‖ by the control; None where that is what TAO sees."""
    if space.root is None:
        return None
    return lambda u: float(np.linalg.norm(gradient + cost.hessian_product(space.step(u))))


def _test(slope_at, absolute, rounding, limit, comm):
    """TAO's own tests, with the gradient by the control: the other has a rounding of its own, and another size.

    And one more: with a known Hessian a step leaves little but rounding, and the digits that are missing come from
    a new centre; a line search would look for them in vain.
    """

    def test(tao):
        slope = slope_at(whole(tao.getSolution(), comm))
        if not np.isfinite(slope):
            tao.setConvergedReason(PETSc.TAO.Reason.DIVERGED_NAN)
        elif slope <= absolute:
            tao.setConvergedReason(PETSc.TAO.Reason.CONVERGED_GATOL)
        elif slope <= rounding and tao.getIterationNumber() > 0:
            tao.setConvergedReason(_AT_CENTRE)
        elif tao.getIterationNumber() >= limit:
            tao.setConvergedReason(PETSc.TAO.Reason.DIVERGED_MAXITS)

    return test


def _unit(value, slope):
    """What J is measured in for lmvm, whose first step is as long as the gradient: it becomes 2 J / ‖∇J‖.

    A network may leave the numbers of a float behind before a line search comes back from a longer one.
    """
    return slope**2 / (2.0 * value) if value > 0.0 and slope > 0.0 else 1.0


def _search(function, unit, comm, tao, vector):
    """One run of TAO from v = 0: its reason, v, and how often it asked for the function, which it gets in a unit."""
    asked = 0

    def evaluate(_, v, into):
        nonlocal asked
        asked += 1
        f, slope = function(whole(v, comm))
        into.array[:] = slope[slice(*into.getOwnershipRange())] / unit
        return f / unit

    vector.set(0.0)
    tao.setObjectiveGradient(evaluate, None)
    tao.solve(vector)
    return tao.getConvergedReason(), whole(vector, comm), asked


def _shifted(cost, centre, value, gradient, space):
    """J around a centre as TAO gets it, u ↦ (f, ∇f), and the constant J − f."""
    if not cost.linear:
        # TAO begins with the centre, which is known
        return lambda v: cost.value_and_gradient(centre + v) if v.any() else (value, gradient), 0.0

    def product(u):
        return space.slope(cost.hessian_product(space.step(u)))

    slope = space.slope(gradient)
    # TAO's first step is 2f/‖∇f‖² long: with this f it ends where J is least along the gradient
    curvature = slope @ product(slope)
    first = 0.5 * (slope @ slope) ** 2 / curvature if curvature > 0.0 else 0.0

    def function(u):
        bent = product(u)
        return first + float(u @ (slope + 0.5 * bent)), slope + bent

    return function, value - first


def _step(cost, iteration, value, control, norm):
    background = cost.background(control)
    return Iteration(iteration, value, background, value - background, norm)


def _failure(method, reason, trace):
    last, first = trace[-1], trace[0]
    return (
        f"minimisation by {method} ended with {REASONS[reason]} after {last.iteration} iterations: "
        f"J = {last.cost:.6g}, ‖∇J‖ = {last.gradient_norm:.3g}, at the start {first.cost:.6g} and "
        f"{first.gradient_norm:.3g}; {_ADVICE.get(reason, _OTHERWISE)}"
    )
