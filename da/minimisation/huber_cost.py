"""The cost of a control with Huber's norm, J(w) = ½ a wᵀw + ρ(D⁻¹ (d − H U(w))), and its least."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpi4py import MPI
from scipy.sparse.linalg import LinearOperator, cg

from da.minimisation.cost import CostFunction
from da.minimisation.huber import Huber

_NEWTON_STEPS = 20


@dataclass(frozen=True)
class HuberCost:
    """J with ρ of `da.minimisation.huber`, D being the standard deviations in R. All methods are collective.

    quadratic : the cost whose U, H, R, d and a it takes
    norm : Huber

    Where U and H are linear, G = D⁻¹ H U is made once and kept, 8 M s bytes over the ranks. J is no quadratic
    form even then.
    """

    quadratic: CostFunction
    norm: Huber

    linear = False

    @property
    def n_control(self):
        """Length of a control."""
        return self.quadratic.n_control

    @cached_property
    def _whitened(self):
        of = self.quadratic
        return of.transform.operator_product(of.operator) / of.error.std_local[:, None]

    @cached_property
    def _innovation(self):
        return self.quadratic.innovation / self.quadratic.error.std_local

    def prepare(self):
        """Do now what the first evaluation would otherwise do: G, where U and H are linear."""
        if self.quadratic.linear:
            self._whitened, self._innovation

    def background(self, control):
        """J_b = ½ a wᵀw."""
        return self.quadratic.background(control)

    def parts(self, control):
        """(J_b, J_o) at w, (n_control,)."""
        z, _ = self._departure(control)
        force, gross = self.norm.split(z, self.quadratic.error)
        return self.background(control), self.quadratic.comm.allreduce(_norm(z, force, gross))

    def value(self, control):
        """J(w)."""
        return sum(self.parts(control))

    def gradient(self, control):
        """∇J(w), (n_control,), the same on every rank."""
        return self.value_and_gradient(control)[1]

    def value_and_gradient(self, control):
        """J(w) and ∇J(w) = a w − U'ᵀ H'ᵀ D⁻¹ q."""
        of = self.quadratic
        z, increment = self._departure(control)
        force, gross = self.norm.split(z, of.error)
        observation = _norm(z, force, gross)
        if of.linear:
            summed = np.append(self._whitened.T @ force, observation)
            of.comm.Allreduce(MPI.IN_PLACE, summed)
            observation, pulled = float(summed[-1]), summed[:-1]
        else:
            observation = of.comm.allreduce(observation)
            state = of.operator.adjoint(force / of.error.std_local, at=increment)
            pulled = of.transform.adjoint(state, at=control)
        return self.background(control) + observation, of.background_weight * control - pulled

    def hessian_at(self, control):
        """p ↦ (a I + Gᵀ q'(z) G) p at a control, (n_control,) → (n_control,), for linear U and H. Collective."""
        of = self.quadratic
        _, gross = self.norm.split(self._departure(control)[0], of.error)
        derivative = self.norm.derivative(gross, of.error)

        def product(direction):
            pulled = self._whitened.T @ derivative(self._whitened @ direction)
            of.comm.Allreduce(MPI.IN_PLACE, pulled)
            return of.background_weight * direction + pulled

        return product

    def _departure(self, control):
        """z at w, (M_local,), and U(w), which is None where U and H are linear and need not be made."""
        of = self.quadratic
        if of.linear:
            return self._innovation - self._whitened @ control, None
        increment = of.transform.apply(control)
        return (of.innovation - of.operator.observe(increment)) / of.error.std_local, increment


def _norm(z, force, gross):
    """This rank's part of ρ = ½ qᵀ C q + Σ c|e|; where there is an e, q is at its limit."""
    return 0.5 * float(force @ (z + gross))


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
        hessian = LinearOperator((n, n), matvec=cost.hessian_at(control), dtype=np.float64)
        step, _ = cg(hessian, -gradient, rtol=1e-12, maxiter=10 * n)
        nearer = control + step
        slope = cost.gradient(nearer)
        if not np.linalg.norm(slope) < np.linalg.norm(gradient):
            break
        control, gradient = nearer, slope
    return control
