"""Huber's norm: a reading far from the analysis pulls with constant force instead of ever more.

Quality control by a threshold throws a reading away or believes it whole; with this norm its weight
falls smoothly, so that a front which the background has at the wrong place is not left out.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpi4py import MPI
from scipy.sparse.linalg import LinearOperator, cg

from da.collective import raise_together
from da.cost import CostFunction
from da.observation_error import DiagonalError

_NEWTON_STEPS = 20


@dataclass(frozen=True)
class Huber:
    """ρ(z) = ½z² where −left ≤ z ≤ right, and c|z| − ½c² beyond, c being the limit of that side.

    z is y − H x over the reading's standard deviation (Tavolato & Isaksen 2015, Q. J. R. Meteorol. Soc. 141,
    1514, eq. 2), so this is a norm for readings whose errors are independent.

    left, right : limits in standard deviations; None for the right takes the left one's

    ValueError if a limit is not positive
    """

    left: float
    right: float | None = None

    def __post_init__(self):
        if self.right is None:
            object.__setattr__(self, "right", self.left)
        if not (self.left > 0.0 and self.right > 0.0):
            raise ValueError(f"limits {self.left!r} and {self.right!r} of Huber's norm, expected positive numbers")

    def root(self, z):
        """e with ρ(z) = ½e²: z itself inside the limits, so that wide ones change no bit of the cost."""
        limit = np.where(z < 0.0, self.left, self.right)
        # an infinite limit has no outside
        beyond = np.where(self._inside(z), 0.0, limit)
        return np.where(self._inside(z), z, np.sign(z) * np.sqrt(beyond * np.maximum(2.0 * np.abs(z) - beyond, 0.0)))

    def influence(self, z):
        """ρ'(z): z cut off at the limits."""
        return np.clip(z, -self.left, self.right)

    def weight(self, z):
        """ρ'(z) / z, what the reading counts: one inside the limits, then falling."""
        inside = self._inside(z)
        return np.where(inside, 1.0, self.influence(z) / np.where(inside, 1.0, z))

    def curvature(self, z):
        """ρ''(z): one inside the limits, zero beyond."""
        return self._inside(z).astype(np.float64)

    def _inside(self, z):
        return (z >= -self.left) & (z <= self.right)


@dataclass(frozen=True)
class HuberCost:
    """J(w) = ½ a wᵀw + Σ ρ(z_i), z = R^{-1/2} (d − H U(w)): a cost with Huber's norm. All methods are collective.

    quadratic : the cost whose U, H, R, d and a it takes; R is diagonal
    norm : Huber

    Where U and H are linear, G = R^{-1/2} H U is made once and kept, 8 M s bytes over the ranks. J is no quadratic
    form even then.

    ValueError if R is not diagonal: its root would mix the readings, and none had a limit of its own.
    """

    quadratic: CostFunction
    norm: Huber

    linear = False

    def __post_init__(self):
        found = type(self.quadratic.error).__name__
        problem = f"Huber's norm needs errors that are independent, found {found}; use one or the other"
        raise_together(None if isinstance(self.quadratic.error, DiagonalError) else problem, self.quadratic.comm)

    @property
    def n_control(self):
        """Length of a control."""
        return self.quadratic.n_control

    @cached_property
    def _whitened_modes(self):
        of = self.quadratic
        return of.error.whiten(of.transform.observed_by(of.operator))

    @cached_property
    def _whitened_innovation(self):
        return self.quadratic.error.whiten(self.quadratic.innovation)

    def prepare(self):
        """Do now what the first evaluation would otherwise do: G, where U and H are linear."""
        if self.quadratic.linear:
            self._whitened_modes, self._whitened_innovation

    def background(self, control):
        """J_b = ½ a wᵀw."""
        return self.quadratic.background(control)

    def departure(self, control):
        """z at w, (M_local,)."""
        if self.quadratic.linear:
            return self._whitened_innovation - self._whitened_modes @ control
        return self.quadratic.error.whiten(self._misfit(control)[0])

    def parts(self, control):
        """(J_b, J_o) at w, (n_control,)."""
        root = self.norm.root(self.departure(control))
        return self.background(control), 0.5 * self.quadratic.comm.allreduce(float(root @ root))

    def value(self, control):
        """J(w)."""
        return sum(self.parts(control))

    def gradient(self, control):
        """∇J(w), (n_control,), the same on every rank."""
        return self.value_and_gradient(control)[1]

    def value_and_gradient(self, control):
        """J(w) and ∇J(w) = a w − U'ᵀ H'ᵀ R^{-1/2} ρ'(z)."""
        of = self.quadratic
        slope = of.background_weight * control
        if of.linear:
            z = self.departure(control)
            root = self.norm.root(z)
            summed = np.append(self._whitened_modes.T @ self.norm.influence(z), root @ root)
            of.comm.Allreduce(MPI.IN_PLACE, summed)
            return self.background(control) + 0.5 * float(summed[-1]), slope - summed[:-1]
        misfit, increment = self._misfit(control)
        z = of.error.whiten(misfit)
        root = self.norm.root(z)
        pulled = of.operator.adjoint(of.error.solve(self.norm.weight(z) * misfit), at=increment)
        observed = 0.5 * of.comm.allreduce(float(root @ root))
        return self.background(control) + observed, slope - of.transform.adjoint(pulled, at=control)

    def hessian_product(self, direction, at):
        """(a I + Gᵀ ρ''(z) G) p at a control, (n_control,), for linear U and H."""
        of = self.quadratic
        seen = self.norm.curvature(self.departure(at)) * (self._whitened_modes @ direction)
        product = self._whitened_modes.T @ seen
        of.comm.Allreduce(MPI.IN_PLACE, product)
        return of.background_weight * direction + product

    def _misfit(self, control):
        """d − H U(w), (M_local,), and U(w)."""
        increment = self.quadratic.transform.apply(control)
        return self.quadratic.innovation - self.quadratic.operator.observe(increment), increment


def polished(cost, control):
    """Newton's steps from near the minimum of a HuberCost of linear U and H. Collective.

    J is made of quadratics that meet smoothly. A quasi-Newton search stops where J's rounding hides its slope;
    Newton's method needs the gradient only and, once the readings beyond the limits are known, is there in
    one step.

    Parameters
    ----------
    cost : HuberCost of linear U and H
    control : (n_control,), the same on every rank

    Returns
    -------
    (n_control,) with the smallest gradient found, the same on every rank
    """
    gradient, n = cost.gradient(control), len(control)
    for _ in range(_NEWTON_STEPS):
        hessian = LinearOperator((n, n), matvec=lambda p, at=control: cost.hessian_product(p, at), dtype=np.float64)
        step, _ = cg(hessian, -gradient, rtol=1e-12, maxiter=10 * n)
        nearer = control + step
        slope = cost.gradient(nearer)
        if not np.linalg.norm(slope) < np.linalg.norm(gradient):
            break
        control, gradient = nearer, slope
    return control
