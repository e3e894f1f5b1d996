"""The minimum of a cost by TAO's limited-memory quasi-Newton methods.

The control is a PETSc vector over the ranks, so that all of them take TAO's decisions together.

A line search compares values of J. Near the minimum they differ by ½‖∇J‖²/curvature only, which is lost in J's own
rounding once the gradient has fallen by some 1e-8, and sooner where J's minimum is far from zero: TAO then reports a
failure (reason −6) where nothing is wrong. So for a quadratic J TAO minimises the difference to the value at a centre,
gᵀv + ½ vᵀHv with w = centre + v, whose rounding is relative to that difference and not to J; where the search stops
early all the same, it is started again from where it stopped, as in iterative refinement. For any other J, a search
that stops at that level counts as converged.

Where the Hessian of a quadratic J has a known Cholesky factor, L Lᵀ = H, the search begins at the solution of
H v = −g. TAO then only confirms it, or removes what rounding has left where H is ill-conditioned.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeGuard

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.linalg import cho_solve

from da.minimisation.tao import METHODS, REASONS, solver, whole

AT_ROUNDING = "STOPPED_AT_ROUNDING"
_REFINEMENTS = 4
_PROGRESS = 0.1  # a search that lowered the gradient by less will not do better in a second try
_FAILED_SEARCH = PETSc.TAO.Reason.DIVERGED_LS_FAILURE
_STALLED = PETSc.TAO.Reason.CONVERGED_USER
_STANDING = 4.0  # units of J's rounding: what a step gains where nothing is left to gain
_NEAR = 100.0  # times the gradient at which rounding is expected, in a J that is more curved than others
_PATIENCE = 30  # iterations that may gain less than J's rounding before a search has stalled
_ADVICE = {
    PETSc.TAO.Reason.DIVERGED_MAXITS: "allow more iterations or a larger gradient tolerance",
    _FAILED_SEARCH: "check that the gradient belongs to the cost, and that no network or operator returns NaN",
}
_OTHERWISE = "PETSc's option tao_monitor, under the solver's prefix, shows each iteration"


class MinimisationError(RuntimeError):
    """No minimum was reached; the message names TAO's reason, J and its gradient."""


class Cost(Protocol):
    """What the minimiser asks of a cost; controls are (n_control,) and whole on every rank.

    n_control : length of a control
    linear : whether its gradient is linear in the control; then it is a QuadraticCost
    """

    @property
    def n_control(self) -> int: ...

    @property
    def linear(self) -> bool: ...

    def background(self, control: np.ndarray) -> float:
        """J_b, the part of J that the control alone makes."""

    def value_and_gradient(self, control: np.ndarray) -> tuple[float, np.ndarray]:
        """J(w) and ∇J(w). Collective."""


class QuadraticCost(Cost, Protocol):
    """A cost whose Hessian is the same for every control."""

    def hessian_product(self, direction: np.ndarray) -> np.ndarray:
        """H p. Collective."""


def _is_quadratic(cost: Cost) -> TypeGuard[QuadraticCost]:
    return cost.linear


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
    def iterations(self) -> int:
        """Iterations, over all starts."""
        return self.trace[-1].iteration


def minimise(
    cost: Cost,
    comm: MPI.Comm,
    *,
    start: np.ndarray | None = None,
    method: str = "lmvm",
    gradient_tolerance: float = 1e-13,
    rounding_tolerance: float = 1e-8,
    rounding: float = 0.0,
    max_iterations: int = 1000,
    memory: int = 20,
    root: np.ndarray | None = None,
    options_prefix: str = "da_",
) -> Minimum:
    """Find the control of least cost. Collective.

    Parameters
    ----------
    cost : Cost
    comm : MPI communicator
    start : (s,) first control, the same on every rank; None starts at zero, the background
    method : "lmvm", "blmvm" or "bqnls"
    gradient_tolerance : stop when ‖∇J‖ has fallen to this part of its value at zero control; the default
        lets analyses on different numbers of ranks agree to 1e-10
    rounding_tolerance : a search that cannot go on below this part is not a failure; up to a hundred times that,
        neither is one whose last step changed J by its rounding only
    rounding : of J, relative; that of a network in float32 is some 1e-7. A search that gains no more than this in
        thirty iterations wanders in rounding, and is stopped. 0 lets it go on
    max_iterations : of all starts together
    memory : pairs of steps and gradients that stand for the Hessian
    root : (s, s) lower triangle L of the Hessian, L Lᵀ = H, of a linear cost; the same on every rank. None
        searches without it
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
        factor = root if cost.linear else None
        control, trace, reason, evaluations, at_rounding = _searches(
            cost, comm, centre, tao, vector, factor, rounding_tolerance, rounding, method
        )
    finally:
        tao.destroy()
        vector.destroy()
    if reason < 0 and not at_rounding:
        raise MinimisationError(_failure(method, reason, trace))
    return Minimum(control, tuple(trace), AT_ROUNDING if at_rounding else REASONS[reason], evaluations)


def _searches(
    cost: Cost,
    comm: MPI.Comm,
    centre: np.ndarray,
    tao: PETSc.TAO,
    vector: PETSc.Vec,
    factor: np.ndarray | None,
    rounding_tolerance: float,
    rounding: float,
    method: str,
) -> tuple[np.ndarray, list[Iteration], int, int, bool]:
    """Search from a centre, and again from where rounding stopped a search that had made progress."""
    trace: list[Iteration] = []
    evaluations, first = 0, 0.0
    if centre.any():
        # the background's gradient is the measure: a start near the minimum has none worth the name
        first = float(np.linalg.norm(cost.value_and_gradient(np.zeros_like(centre))[1]))
    steps = []
    # set once and for all searches: TAO can only forget all monitors, those of the user's options too
    tao.setMonitor(lambda tao: steps.append((*tao.getSolutionStatus()[:3], whole(tao.getSolution(), comm))))
    if rounding > 0.0:
        tao.setConvergenceTest(_stall_test(rounding))
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
        start, tolerance = np.zeros_like(centre), absolute
        if factor is not None and _is_quadratic(cost):
            start = -cho_solve((factor, True), gradient, check_finite=False)
            reached = float(np.linalg.norm(gradient + cost.hessian_product(start)))
            # digits that rounding has taken come back from a new centre; a line search would look for them in vain
            tolerance = max(absolute, reached if reached <= rounding_tolerance * first else 0.0)
        tao.setTolerances(gatol=tolerance / unit, gttol=0.0)
        base = trace[-1].iteration
        tao.setMaximumIterations(limit - base)
        function, constant = _shifted(cost, centre, value, gradient)
        reason, moved, n = _search(function, unit, start, comm, tao, vector)
        # the solution by the factor counts as an iteration of its own
        by_factor = int(start.any())
        for i, f, slope, v in steps:
            if i + by_factor > 0:
                trace.append(_step(cost, base + i + by_factor, unit * f + constant, centre + v, unit * slope))
        steps.clear()
        centre, evaluations = centre + moved, evaluations + n + 1
        progress = trace[-1].gradient_norm <= _PROGRESS * norm
        short = trace[-1].gradient_norm > absolute and (reason == _FAILED_SEARCH or tolerance > absolute)
        if not (cost.linear and short and progress):
            break
    stopped = short or reason in (_FAILED_SEARCH, _STALLED)
    at_rounding = stopped and _lost_in_rounding(trace, rounding_tolerance * first)
    return centre, trace, reason, evaluations, at_rounding


def _lost_in_rounding(trace: Sequence[Iteration], gradient: float) -> bool:
    """Whether a search that stopped could not go on: ‖∇J‖ is small, or nearly so and J stands still to its bits."""
    norm = trace[-1].gradient_norm
    if norm <= gradient or len(trace) < 2:
        return norm <= gradient
    value = trace[-1].cost
    standing = abs(value - trace[-2].cost) <= _STANDING * np.finfo(np.float64).eps * abs(value)
    return bool(standing and norm <= _NEAR * gradient)


def _stall_test(rounding: float) -> Callable[[PETSc.TAO], None]:
    """A convergence test beside TAO's own, which petsc4py asks first."""
    lowest, since = np.inf, 0

    def test(tao: PETSc.TAO) -> None:
        nonlocal lowest, since
        iteration, value = tao.getSolutionStatus()[:2]
        if iteration == 0 or value < lowest - rounding * abs(lowest):
            lowest, since = value, iteration
        elif iteration - since >= _PATIENCE:
            tao.setConvergedReason(_STALLED)

    return test


def _unit(value: float, slope: float) -> float:
    """What J is measured in for lmvm, whose first step is as long as the gradient: it becomes 2 J / ‖∇J‖.

    A network may leave the numbers of a float behind before a line search comes back from a longer one.
    """
    return slope**2 / (2.0 * value) if value > 0.0 and slope > 0.0 else 1.0


def _search(
    function: Callable[[np.ndarray], tuple[float, np.ndarray]],
    unit: float,
    start: np.ndarray,
    comm: MPI.Comm,
    tao: PETSc.TAO,
    vector: PETSc.Vec,
) -> tuple[int, np.ndarray, int]:
    """One run of TAO from a start: its reason, v, and how often it asked for the function, which it gets in a unit."""
    asked = 0

    def evaluate(_: PETSc.TAO, v: PETSc.Vec, into: PETSc.Vec) -> float:
        nonlocal asked
        asked += 1
        f, slope = function(whole(v, comm))
        into.array[:] = slope[slice(*into.getOwnershipRange())] / unit
        return f / unit

    vector.array[:] = start[slice(*vector.getOwnershipRange())]
    tao.setObjectiveGradient(evaluate, None)
    tao.solve(vector)
    return tao.getConvergedReason(), whole(vector, comm), asked


def _shifted(
    cost: Cost, centre: np.ndarray, value: float, gradient: np.ndarray
) -> tuple[Callable[[np.ndarray], tuple[float, np.ndarray]], float]:
    """J around a centre as TAO gets it, v ↦ (f, ∇f), and the constant J − f."""
    if not _is_quadratic(cost):
        # TAO begins with the centre, which is known
        return lambda v: cost.value_and_gradient(centre + v) if v.any() else (value, gradient), 0.0
    # TAO's first step is 2f/‖∇f‖² long: with this f it ends where J is least along the gradient
    curvature = gradient @ cost.hessian_product(gradient)
    first = 0.5 * (gradient @ gradient) ** 2 / curvature if curvature > 0.0 else 0.0

    def function(v: np.ndarray) -> tuple[float, np.ndarray]:
        bent = cost.hessian_product(v)
        return first + float(v @ (gradient + 0.5 * bent)), gradient + bent

    return function, value - first


def _step(cost: Cost, iteration: int, value: float, control: np.ndarray, norm: float) -> Iteration:
    background = cost.background(control)
    return Iteration(iteration, value, background, value - background, norm)


def _failure(method: str, reason: int, trace: Sequence[Iteration]) -> str:
    last, first = trace[-1], trace[0]
    return (
        f"minimisation by {method} ended with {REASONS[reason]} after {last.iteration} iterations: "
        f"J = {last.cost:.6g}, ‖∇J‖ = {last.gradient_norm:.3g}, at the start {first.cost:.6g} and "
        f"{first.gradient_norm:.3g}; {_ADVICE.get(reason, _OTHERWISE)}"
    )
