"""The minimum of a cost by Gauss–Newton, the second minimiser for transforms that are not linear.

About a control w the misfit is taken as linear, and the step p solves

    (a I + U'ᵀ H'ᵀ R⁻¹ H' U') p = −∇J(w)

by PETSc's conjugate gradients, which need products only: each is one tangent and one adjoint, for a decoder one JVP and
one VJP. No Jacobian is made. CG is stopped early while the linearisation is the larger error (inexact Newton, Dembo,
Eisenstat & Steihaug 1982); started at zero, its iterates are directions of descent. A step is shortened until J has
fallen enough (Armijo), so J never rises. Compared with L-BFGS, decodes are few and products are many. It converges
quickly where the observations can be fitted; where a large misfit remains and U is strongly nonlinear, the terms
missing from its Hessian make it slow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from da.minimisation.minimise import AT_ROUNDING, Cost, Iteration, MinimisationError, Minimum
from da.minimisation.tao import whole

CONVERGED, STOPPED = "CONVERGED_GAUSS_NEWTON", "STOPPED_AFTER_ITERATIONS"
_ENOUGH = 1e-4  # Armijo: part of the decrease that the slope predicts
_SHORTENINGS = 15
_ROUNDING = float(np.finfo(np.float64).eps)
_HIDDEN = 1e2  # roundings of J that a decrease must exceed to show in its values
_TIGHTEST, _LOOSEST = 1e-3, 0.1  # relative residuals of CG


class LeastSquares(Cost, Protocol):
    """A cost that is a sum of squares, such as `da.minimisation.cost.CostFunction`. All methods are collective."""

    def value(self, control: np.ndarray) -> float:
        """J(w)."""

    def gradient(self, control: np.ndarray) -> np.ndarray:
        """∇J(w)."""

    def gauss_newton_hessian(self, control: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """The Hessian of the squares of the misfit that is linear about w, as products with a direction."""


@dataclass(frozen=True)
class GaussNewtonMinimum(Minimum):
    """Where J is least; `evaluations` counts those of J, each with a decode unless only the gradient was still missing.

    products : of the Gauss–Newton Hessian with a direction, over all iterations
    """

    products: int


def gauss_newton(
    cost: LeastSquares,
    comm: MPI.Comm,
    *,
    start: np.ndarray | None = None,
    gradient_tolerance: float = 1e-10,
    rounding_tolerance: float = 1e-7,
    rounding: float = _ROUNDING,
    max_iterations: int = 100,
    max_products: int = 200,
    options_prefix: str = "da_gn_",
) -> GaussNewtonMinimum:
    """Find the control of least cost. Collective.

    Parameters
    ----------
    cost : LeastSquares
    comm : MPI communicator
    start : (s,) first control, the same on every rank; None starts at zero
    gradient_tolerance : stop when ‖∇J‖ has fallen to this part of its value at zero control
    rounding_tolerance : to stop below this part is not a failure, whether no step lowers J any more or the iterations
        are used up
    rounding : of J, relative; that of a network in float32 is some 1e-7
    max_iterations : linearisations
    max_products : within each
    options_prefix : of the options of PETSc's KSP, which win over the arguments

    Returns
    -------
    GaussNewtonMinimum

    Raises
    ------
    MinimisationError
        if J or its gradient is not finite at the start, no shorter step lowers J, or the iterations are used up, above
        `rounding_tolerance`; on every rank
    ValueError
        if the start does not fit
    """
    control = np.zeros(cost.n_control) if start is None else np.array(start, dtype=np.float64)
    if control.shape != (cost.n_control,):
        raise ValueError(f"start of shape {control.shape}, expected ({cost.n_control},), the length of a control")
    first, evaluations = 0.0, 1
    if control.any():
        # the background's gradient is the measure, as in `minimise`
        first, evaluations = float(np.linalg.norm(cost.gradient(np.zeros_like(control)))), 2
    value, gradient = cost.value_and_gradient(control)
    norm = float(np.linalg.norm(gradient))
    if not np.isfinite(value + norm):
        raise MinimisationError(f"J = {value} and ‖∇J‖ = {norm} at the start; check innovation and transform")
    first = max(first, norm)
    trace = [_step(cost, 0, value, control, norm)]
    with _Inner(cost, comm, max_products, options_prefix) as inner:
        reason = CONVERGED
        while norm > gradient_tolerance * first:
            if len(trace) > max_iterations:
                if norm > rounding_tolerance * first:
                    advice = "; allow more, or a larger tolerance"
                    raise MinimisationError(_failure("used up its iterations", trace) + advice)
                reason = STOPPED
                break
            step = inner.step(control, gradient, np.clip(np.sqrt(norm / first), _TIGHTEST, _LOOSEST))
            reached, n = _shortened(cost, control, value, gradient, step, rounding)
            evaluations += n
            if reached is None:
                if norm > rounding_tolerance * first:
                    advice = "; check that the tangent belongs to the transform, and that no network returns NaN"
                    raise MinimisationError(_failure("has no step that lowers J", trace) + advice)
                reason = AT_ROUNDING
                break
            control, value, gradient = reached
            norm = float(np.linalg.norm(gradient))
            trace.append(_step(cost, len(trace), value, control, norm))
    return GaussNewtonMinimum(control, tuple(trace), reason, evaluations, inner.products)


def _shortened(
    cost: LeastSquares, control: np.ndarray, value: float, gradient: np.ndarray, step: np.ndarray, rounding: float
) -> tuple[tuple[np.ndarray, float, np.ndarray] | None, int]:
    """((control, J, ∇J), evaluations) of the longest of ever shorter steps that lowers J enough; None if none does.

    Where the decrease is below J's rounding it is taken from the gradients at both ends, by the trapezium rule (Hager &
    Zhang 2005).
    """
    slope, length = float(gradient @ step), 1.0
    hidden = -slope <= _HIDDEN * rounding * abs(value)
    for n in range(1, _SHORTENINGS + 1):
        there = control + length * step
        reached = cost.value(there)
        if hidden:
            _, turned = cost.value_and_gradient(there)
            if np.isfinite(reached) and 0.5 * float((gradient + turned) @ step) <= _ENOUGH * slope:
                return (there, reached, turned), n
        elif reached <= value + _ENOUGH * length * slope:
            return (there, *cost.value_and_gradient(there)), n
        bend = reached - value - length * slope
        # the parabola's minimum; there is none where J is not finite or below its rounding
        best = -0.5 * slope * length**2 / bend if not hidden and np.isfinite(bend) and bend > 0.0 else 0.5 * length
        length = min(max(best, 0.1 * length), 0.5 * length)
    return None, _SHORTENINGS


class _Inner:
    """The linear problem of a step, and PETSc's solver of it; used as a context, which frees the solver."""

    def __init__(self, cost: LeastSquares, comm: MPI.Comm, max_products: int, prefix: str) -> None:
        self.cost, self.comm, self.products = cost, comm, 0
        self._hessian: Callable[[np.ndarray], np.ndarray] | None = None
        self._right = PETSc.Vec().createMPI(cost.n_control, comm=comm)
        self._solution = self._right.duplicate()
        sizes = (self._right.getSizes(), self._right.getSizes())
        self._matrix = PETSc.Mat().createPython(sizes, self, comm=comm)
        self._matrix.setUp()
        self._ksp = PETSc.KSP().create(comm)
        self._ksp.setType("cg")
        self._ksp.getPC().setType("none")
        self._ksp.setOptionsPrefix(prefix)
        self._ksp.setOperators(self._matrix)
        self._ksp.setTolerances(max_it=max_products)

    def __enter__(self) -> "_Inner":
        return self

    def __exit__(self, *_: object) -> None:
        for of in (self._ksp, self._matrix, self._solution, self._right):
            of.destroy()

    def step(self, control: np.ndarray, gradient: np.ndarray, tolerance: float) -> np.ndarray:
        """p at a control, (s,), the same on every rank."""
        self._hessian = self.cost.gauss_newton_hessian(control)
        self._right.array[:] = -gradient[slice(*self._right.getOwnershipRange())]
        self._ksp.setTolerances(rtol=tolerance, atol=0.0)
        self._ksp.setFromOptions()
        # to run out of products is not a failure: CG's last iterate is a direction of descent
        self._ksp.solve(self._right, self._solution)
        return whole(self._solution, self.comm)

    def mult(self, _: PETSc.Mat, vector: PETSc.Vec, into: PETSc.Vec) -> None:
        """PETSc's product: (a I + U'ᵀ H'ᵀ R⁻¹ H' U') p."""
        assert self._hessian is not None
        self.products += 1
        product = self._hessian(whole(vector, self.comm))
        into.array[:] = product[slice(*into.getOwnershipRange())]


def _step(cost: LeastSquares, number: int, value: float, control: np.ndarray, norm: float) -> Iteration:
    background = cost.background(control)
    return Iteration(number, value, background, value - background, norm)


def _failure(what: str, trace: Sequence[Iteration]) -> str:
    last, first = trace[-1], trace[0]
    return (
        f"minimisation by Gauss–Newton {what} after {last.iteration} iterations: J = {last.cost:.6g}, "
        f"‖∇J‖ = {last.gradient_norm:.3g}, at the start {first.cost:.6g} and {first.gradient_norm:.3g}"
    )
