"""The minimum of a cost by TAO's limited-memory quasi-Newton methods.

The control is a PETSc vector over the ranks, so that all of them take TAO's decisions together.

What TAO minimises is J less a constant. A line search compares values of J, and near the minimum J
differs by ½‖∇J‖²/curvature only, which is lost in J's rounding when the gradient has fallen by some
1e-8: it then reports a failure (reason −6) where nothing is wrong. For a quadratic J the difference to
a centre is therefore computed directly, gᵀv + ½ vᵀHv with w = centre + v, and where the search
stops early all the same, it starts again from there with what it found as the centre (iterative
refinement). For any other J, a search that stops at that level counts as converged.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from petsc4py import PETSc

from da.tao_options import default_options, quasi_newton_defaults

METHODS = ("lmvm", "blmvm", "bqnls")
_REFINEMENTS = 4
_PROGRESS = 0.1  # a new start must lower the gradient to this part, or the end is reached
_REASONS = {number: name for name, number in vars(PETSc.TAO.Reason).items() if not name.startswith("_")}
# the search could not go on: at rounding level this is the end, above it a failure
_STUCK = (PETSc.TAO.Reason.DIVERGED_LS_FAILURE, PETSc.TAO.Reason.CONVERGED_STEPTOL)
AT_ROUNDING = "STOPPED_AT_ROUNDING"


class MinimisationError(RuntimeError):
    """The minimum was not found; the message names TAO's reason, J and its gradient."""


class Cost(Protocol):
    """What the minimiser asks of a cost; controls are (n_control,) and whole on every rank."""

    n_control: int
    linear: bool

    def background(self, control):
        """The part of J that the control alone makes, J_b."""

    def value_and_gradient(self, control):
        """J(w) and ∇J(w). Collective."""

    def hessian_product(self, direction):
        """H p, asked only if `linear`. Collective."""


@dataclass(frozen=True)
class Step:
    """One iteration: J = J_b + J_o and the norm of ∇J at its end."""

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
    trace: tuple[Step, ...]
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
    options_prefix="da_",
):
    """Find the control of least cost. Collective.

    Parameters
    ----------
    cost : Cost
    comm : MPI communicator
    start : (s,) first control, the same on every rank; None starts at zero, the background
    method : "lmvm", "blmvm" or "bqnls"
    gradient_tolerance : stop when ‖∇J‖ has fallen to this part of its first value; the default
        lets analyses on different numbers of ranks agree to 1e-10
    rounding_tolerance : a line search that can go no further is no failure below this part
    max_iterations : of all starts together
    memory : pairs of steps and gradients that stand for the Hessian
    options_prefix : PETSc options of this name win over the arguments, as in `-da_tao_gttol 1e-6`

    Returns
    -------
    Minimum

    Raises
    ------
    MinimisationError
        if TAO stops for another reason than a tolerance; on every rank
    ValueError
        if the method is not one of the three, or the start does not fit
    """
    if method not in METHODS:
        raise ValueError(f"minimisation method {method!r}, expected one of {', '.join(METHODS)}")
    centre = np.zeros(cost.n_control) if start is None else np.array(start, dtype=np.float64)
    if centre.shape != (cost.n_control,):
        raise ValueError(f"start of shape {centre.shape}, expected ({cost.n_control},), the cost's control")
    trace, evaluations, gradient_goal = [], 0, 0.0
    while True:
        solved = _solve(
            cost, comm, centre, method, gradient_tolerance, gradient_goal, max_iterations, memory, options_prefix, trace
        )
        before = solved.trace[len(trace) - 1 if trace else 0].gradient_norm
        trace, centre, evaluations = solved.trace, solved.control, evaluations + solved.evaluations
        break
    return Minimum(centre, tuple(trace), "", evaluations)
