"""The cost of a control, J(w) = ½ a wᵀw + ½ ‖d − H U(w)‖²_{R⁻¹}, and its derivatives.

Where U and H are linear, A = (HU)ᵀ R⁻¹ (HU) is made once (:mod:`da.minimisation.hessian`): the Hessian a I + A is a
small matrix that every rank holds, and a search that starts from J and ∇J at one control needs neither the state nor
the observations again. Otherwise each evaluation applies U, H and their adjoints once each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.background.transform import Transform
from da.minimisation.hessian import ObservationHessian
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator


@dataclass(frozen=True)
class CostFunction:
    """J of a control that every rank holds complete. All methods are collective.

    transform : U
    operator : H
    error : R
    innovation : (M_local,) d = y − H x_b, in the variables' units
    comm : MPI communicator
    background_weight : a; 1 by Bayes' theorem, 0.1 in Mack et al. 2020
    hessian : ObservationHessian of the same U, H and R, as an earlier analysis left it; where U and H are linear and
        none is given, the cost has a new one, which makes A when it is needed

    ValueError if `innovation` does not fit the operator's rows or is not finite, or a is not positive.
    """

    transform: Transform
    operator: ObservationOperator
    error: ObservationError
    innovation: np.ndarray
    comm: MPI.Comm
    background_weight: float = 1.0
    hessian: ObservationHessian | None = None

    def __post_init__(self) -> None:
        refuse_together(self._problem(), self.comm)
        if self.hessian is None and self.linear:
            own = ObservationHessian(self.transform, self.operator, self.error, self.comm)
            object.__setattr__(self, "hessian", own)

    def _problem(self) -> str | None:
        rows, shape = self.operator.rows, np.shape(self.innovation)
        if shape != (rows.stop - rows.start,):
            return f"innovation of shape {shape}, expected ({rows.stop - rows.start},) like H's rows"
        bad = np.flatnonzero(~np.isfinite(self.innovation))
        if len(bad):
            value = self.innovation[bad[0]]
            return f"innovation of observation {rows.start + bad[0]} is {value}, expected a number; leave it out"
        if not (np.isfinite(self.background_weight) and self.background_weight > 0.0):
            return f"background weight {self.background_weight!r}, expected a positive number; 1 is the usual one"
        if self.hessian is not None:
            for name in ("transform", "operator", "error"):
                if getattr(self.hessian, name) is not getattr(self, name):
                    return f"what was prepared is of another {name}; prepare anew when the sensors change"
        return None

    @property
    def n_control(self) -> int:
        """Length of a control."""
        return self.transform.n_control

    @property
    def linear(self) -> bool:
        """Whether U and H are linear, so that J is a quadratic form."""
        return self.transform.linear and self.operator.linear

    def prepare(self) -> None:
        """Do now what the first evaluation would otherwise do: A, where U and H are linear."""
        if self.hessian is not None:
            self.hessian.prepare(self.background_weight)

    @property
    def hessian_root(self) -> np.ndarray | None:
        """Lower triangle L of a I + A = L Lᵀ, (n_control, n_control); None where there is none."""
        return None if self.hessian is None else self.hessian.root(self.background_weight)

    def background(self, control: np.ndarray) -> float:
        """J_b = ½ a wᵀw."""
        return 0.5 * self.background_weight * float(control @ control)

    def parts(self, control: np.ndarray) -> tuple[float, float]:
        """(J_b, J_o) at w, (n_control,)."""
        if self.hessian is not None:
            misfit = self.hessian.misfit(self.innovation, control)
        else:
            misfit = self.error.whiten(self._misfit(control)[0])
        return self.background(control), 0.5 * self.comm.allreduce(float(misfit @ misfit))

    def value(self, control: np.ndarray) -> float:
        """J(w)."""
        return sum(self.parts(control))

    def gradient(self, control: np.ndarray) -> np.ndarray:
        """∇J(w), (n_control,), the same on every rank."""
        return self.value_and_gradient(control)[1]

    def value_and_gradient(self, control: np.ndarray) -> tuple[float, np.ndarray]:
        """J(w) and ∇J(w) = a w − U'ᵀ H'ᵀ R⁻¹ (d − H U(w))."""
        background = self.background_weight * control
        if self.hessian is not None:
            squared, pulled = self.hessian.misfit_and_pull(self.innovation, control)
            return self.background(control) + 0.5 * squared, background - pulled
        misfit, increment = self._misfit(control)
        whitened = self.error.whiten(misfit)
        pulled = self.operator.adjoint(self.error.solve(misfit), at=increment)
        observation = 0.5 * self.comm.allreduce(float(whitened @ whitened))
        return self.background(control) + observation, background - self.transform.adjoint(pulled, at=control)

    def hessian_product(self, direction: np.ndarray) -> np.ndarray:
        """(a I + A) p, (n_control,), for linear U and H; asks no other rank once A is there.

        Raises
        ------
        ValueError
            if U or H is not linear: the Hessian depends on the control then
        """
        if self.hessian is None:
            raise ValueError("the Hessian product was asked of a cost whose U or H is not linear; linearise it first")
        return self.background_weight * direction + self.hessian.information @ direction

    def gauss_newton_hessian(self, control: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """(a I + U'ᵀ H'ᵀ R⁻¹ H' U') p as a function of p, (n_control,), with the derivatives at w. Collective."""
        # a linear H asks for no decode
        operator = self.operator if self.operator.linear else self.operator.linearised(self.transform.apply(control))

        def product(direction: np.ndarray) -> np.ndarray:
            moved = self.transform.tangent(direction, at=control)
            pulled = operator.adjoint(self.error.solve(operator.observe(moved)))
            return self.background_weight * direction + self.transform.adjoint(pulled, at=control)

        return product

    def _misfit(self, control: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """d − H U(w), (M_local,), and U(w)."""
        increment = self.transform.apply(control)
        return self.innovation - self.operator.observe(increment), increment
