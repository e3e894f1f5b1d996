"""The cost of a path of codes, J(w) = ½ wᵀw + Σ_k ½ ‖d_k − H_k[g(z_k) − g(F^k(z_b))]‖²_{R_k⁻¹}.

w is the whole control, of `da.window.path`: with the weak constraint ½ wᵀw has ½ Σ_k ‖z_k − F(z_{k−1})‖²_{Q⁻¹} in it.
An evaluation of J and ∇J is a run of F forwards, a decode, H_k, H_kᵀ and a VJP for each step with readings, and a run
of F' backwards. A product with the Gauss–Newton Hessian is a run each of F' forwards and backwards, with a JVP and a
VJP for each step with readings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator
from da.window.path import LatentWindow


@dataclass(frozen=True)
class WindowReadings:
    """The readings of a step.

    step : k, 0 for the window's start
    operator : H_k of an increment
    error : R_k
    innovation : (M_local,) d_k = y_k − H_k(x_b at the step), in the observations' units
    """

    step: int
    operator: ObservationOperator
    error: ObservationError
    innovation: np.ndarray


@dataclass(frozen=True)
class WindowCost:
    """J of a control that every rank holds complete. All methods are collective. Made by `window_cost`.

    window : LatentWindow
    readings : by step, each step once
    offsets : (n_local,) g(F^k(z_b)) of each of the readings' steps, in the state's units
    comm : MPI communicator
    """

    window: LatentWindow
    readings: tuple[WindowReadings, ...]
    offsets: tuple[np.ndarray, ...]
    comm: MPI.Comm

    linear = False

    @property
    def n_control(self) -> int:
        """Length of a control."""
        return self.window.n_control

    def background(self, control: np.ndarray) -> float:
        """½ wᵀw, the model's errors included."""
        return 0.5 * float(control @ control)

    def value(self, control: np.ndarray) -> float:
        """J(w)."""
        total = 0.0
        for of, misfit in zip(self.readings, self.misfits(self.window.codes(control)), strict=True):
            total += self._squared(of, misfit)
        return self.background(control) + 0.5 * total

    def gradient(self, control: np.ndarray) -> np.ndarray:
        """∇J(w), (n_control,), the same on every rank."""
        return self.value_and_gradient(control)[1]

    def value_and_gradient(self, control: np.ndarray) -> tuple[float, np.ndarray]:
        """J(w) and ∇J(w)."""
        path, total = self.window.codes(control), 0.0
        sensitivity = np.zeros_like(path)
        for of, offset in zip(self.readings, self.offsets, strict=True):
            increment = self._increment(path, of.step, offset)
            misfit = of.innovation - of.operator.observe(increment)
            total += self._squared(of, misfit)
            pulled = of.operator.adjoint(of.error.solve(misfit), at=increment)
            sensitivity[of.step] = self.window.transform.decoder.adjoint(pulled, at=path[of.step])
        return self.background(control) + 0.5 * total, control - self.window.adjoint(sensitivity, path)

    def gauss_newton_hessian(self, control: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
        """(I + Gᵀ G) p as a function of p, with G the derivative of all whitened readings at w."""
        path, decoder = self.window.codes(control), self.window.transform.decoder
        # a linear H asks for no decode
        operators = [
            of.operator if of.operator.linear else of.operator.linearised(self._increment(path, of.step, offset))
            for of, offset in zip(self.readings, self.offsets, strict=True)
        ]

        def product(direction: np.ndarray) -> np.ndarray:
            moved = self.window.tangent(direction, path)
            sensitivity = np.zeros_like(path)
            for of, operator in zip(self.readings, operators, strict=True):
                at = path[of.step]
                observed = operator.observe(decoder.tangent(moved[of.step], at=at))
                sensitivity[of.step] = decoder.adjoint(operator.adjoint(of.error.solve(observed)), at=at)
            return direction + self.window.adjoint(sensitivity, path)

        return product

    def misfits(self, path: np.ndarray) -> list[np.ndarray]:
        """d_k − H_k δx_k of each of the readings, (M_local,), for a path (K + 1, m)."""
        return [
            of.innovation - of.operator.observe(self._increment(path, of.step, offset, keep=False))
            for of, offset in zip(self.readings, self.offsets, strict=True)
        ]

    def _increment(self, path: np.ndarray, step: int, offset: np.ndarray, keep: bool = True) -> np.ndarray:
        return self.window.transform.decoder.apply(path[step], keep) - offset

    def _squared(self, of: WindowReadings, misfit: np.ndarray) -> float:
        whitened = of.error.whiten(misfit)
        return float(self.comm.allreduce(float(whitened @ whitened)))


def window_cost(window: LatentWindow, readings: Sequence[WindowReadings], comm: MPI.Comm) -> WindowCost:
    """J of a window's readings. Collective; it costs a decode for each step with readings, whose fields it keeps.

    Parameters
    ----------
    window : LatentWindow
    readings : WindowReadings in any order, one for a step; the same steps on every rank
    comm : MPI communicator

    Returns
    -------
    WindowCost

    Raises
    ------
    ValueError
        on every rank, if there are none, a step is not of the window or has two, or an innovation does not fit its
        operator's rows or is not finite
    """
    refuse_readings(window, readings, comm)
    ordered = tuple(sorted(readings, key=lambda of: of.step))
    offsets = tuple(window.transform.decoder.apply(window.base[of.step]) for of in ordered)
    return WindowCost(window, ordered, offsets, comm)


def refuse_readings(window: LatentWindow, readings: Sequence[WindowReadings], comm: MPI.Comm) -> None:
    """ValueError on every rank if readings are not those of a window, as of `window_cost`. Collective."""
    refuse_together(_problem(window, readings), comm)


def _problem(window: LatentWindow, readings: Sequence[WindowReadings]) -> str | None:
    steps = [of.step for of in readings]
    if not steps:
        return "no readings in the window; an analysis needs some"
    if len(set(steps)) < len(steps):
        return f"readings of steps {sorted(steps)}, expected each step once; join those of the same step"
    for of in readings:
        if not 0 <= of.step <= window.n_steps:
            return f"readings of step {of.step} in a window of steps 0 to {window.n_steps}"
        n_rows = of.operator.rows.stop - of.operator.rows.start
        if np.shape(of.innovation) != (n_rows,):
            return (
                f"innovation of step {of.step} has shape {np.shape(of.innovation)}, expected ({n_rows},) like H's rows"
            )
        bad = np.flatnonzero(~np.isfinite(of.innovation))
        if len(bad):
            return (
                f"innovation of observation {of.operator.rows.start + bad[0]} of step {of.step} is "
                f"{of.innovation[bad[0]]}, expected a number; leave it out"
            )
    return None
