"""The cost of a control with Huber's norm, J(w) = ½ a wᵀw + ρ(D⁻¹ (d − H U(w))), and its minimum."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.sparse.linalg import LinearOperator, cg

from da.minimisation.cost import CostFunction
from da.minimisation.huber import Huber, block_precisions

_NEWTON_STEPS = 20


@dataclass(frozen=True)
class HuberCost:
    """J with ρ of `da.minimisation.huber`, D being the standard deviations in R. All methods are collective.

    J is no quadratic form, even where U and H are linear. Made by `huber_cost`.

    quadratic : the cost whose U, H, R, d and a it takes
    norm : Huber
    precisions : `block_precisions` of R
    innovation : (M_local,) D⁻¹ d
    whitened : (M_local, s) G = D⁻¹ H U for linear U and H, else None
    """

    quadratic: CostFunction
    norm: Huber
    precisions: tuple[np.ndarray, ...]
    innovation: np.ndarray
    whitened: np.ndarray | None

    linear = False

    @property
    def n_control(self) -> int:
        """Length of a control."""
        return self.quadratic.n_control

    def background(self, control: np.ndarray) -> float:
        """J_b = ½ a wᵀw."""
        return self.quadratic.background(control)

    def parts(self, control: np.ndarray) -> tuple[float, float]:
        """(J_b, J_o) at w, (n_control,)."""
        z, _ = self._departure(control)
        force, gross = self.norm.split(z, self.quadratic.error, self.precisions)
        return self.background(control), self.quadratic.comm.allreduce(_norm(z, force, gross))

    def value(self, control: np.ndarray) -> float:
        """J(w)."""
        return sum(self.parts(control))

    def gradient(self, control: np.ndarray) -> np.ndarray:
        """∇J(w), (n_control,), the same on every rank."""
        return self.value_and_gradient(control)[1]

    def value_and_gradient(self, control: np.ndarray) -> tuple[float, np.ndarray]:
        """J(w) and ∇J(w) = a w − U'ᵀ H'ᵀ D⁻¹ q."""
        of = self.quadratic
        z, increment = self._departure(control)
        force, gross = self.norm.split(z, of.error, self.precisions)
        observation = _norm(z, force, gross)
        if self.whitened is not None:
            summed = np.append(self.whitened.T @ force, observation)
            of.comm.Allreduce(MPI.IN_PLACE, summed)
            observation, pulled = float(summed[-1]), summed[:-1]
        else:
            observation = of.comm.allreduce(observation)
            state = of.operator.adjoint(force / of.error.std_local, at=increment)
            pulled = of.transform.adjoint(state, at=control)
        return self.background(control) + observation, of.background_weight * control - pulled

    def hessian_at(self, control: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """p ↦ (a I + Gᵀ q'(z) G) p at a control, (n_control,) → (n_control,). Collective.

        ValueError if U or H is not linear
        """
        of, whitened = self.quadratic, self.whitened
        if whitened is None:
            raise ValueError("Huber's cost has a Hessian for linear U and H only; linearise H first")
        _, gross = self.norm.split(self._departure(control)[0], of.error, self.precisions)
        derivative = self.norm.derivative(gross, of.error, self.precisions)

        def product(direction: np.ndarray) -> np.ndarray:
            pulled = whitened.T @ derivative(whitened @ direction)
            of.comm.Allreduce(MPI.IN_PLACE, pulled)
            return of.background_weight * direction + pulled

        return product

    def _departure(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """z at w, (M_local,), and U(w), which is None where U and H are linear and need not be made."""
        of = self.quadratic
        if self.whitened is not None:
            return self.innovation - self.whitened @ control, None
        increment = of.transform.apply(control)
        return (of.innovation - of.operator.observe(increment)) / of.error.std_local, increment


def huber_cost(quadratic: CostFunction, norm: Huber) -> HuberCost:
    """A cost with Huber's norm in place of the quadratic one. Collective.

    Where U and H are linear, G is made here and kept: 8 M s bytes over the ranks.
    """
    std = quadratic.error.std_local
    whitened = None
    if quadratic.linear:
        whitened = quadratic.transform.operator_product(quadratic.operator) / std[:, None]
    return HuberCost(quadratic, norm, block_precisions(quadratic.error), quadratic.innovation / std, whitened)


def _norm(z: np.ndarray, force: np.ndarray, gross: np.ndarray) -> float:
    """This rank's part of ρ = ½ qᵀ C q + Σ c|e|; where there is an e, q is at its limit."""
    return 0.5 * float(force @ (z + gross))


def polished(cost: HuberCost, control: np.ndarray) -> np.ndarray:
    """Newton's method from near the minimum of a HuberCost of linear U and H. Collective.

    J consists of quadratics that join smoothly. A quasi-Newton search stops where the slope is lost in J's rounding;
    Newton's method needs the gradient only and, once the observations beyond their limits are known, takes one step.

    Parameters
    ----------
    cost : HuberCost of linear U and H
    control : (n_control,), the same on every rank

    Returns
    -------
    (n_control,) with the smallest gradient of all steps, the same on every rank
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
