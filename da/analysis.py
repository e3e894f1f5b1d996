"""One analysis: from an innovation to an increment, and its statistics.

Where U and H are linear and the sensors stay the same, `prepare` is called once for them, and an analysis costs

    bytes   8 n s for δx = U w, and for (HU)ᵀ R⁻¹ d the smaller of 8 n s and 8 M s: two passes over the modes
            at most, and a few vectors of n and M. With float32 modes it is 4 instead of 8, which saves memory but no
            time: they are converted, so that sums are in float64
    FLOPs   2 n s, and the smaller of 2 n s and 2 M s; in the minimisation 6 s² for each evaluation of J

for n values of the state, M observations and s modes. :class:`da.minimisation.hessian.ObservationHessian` has the cost
of `prepare`; without it an analysis does the same for itself. Where U or H is not linear, an evaluation of J applies U,
H and their adjoints once each.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from da.background.transform import Transform
from da.minimisation.cost import CostFunction
from da.minimisation.hessian import ObservationHessian
from da.minimisation.minimise import Iteration, minimise
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator


@dataclass(frozen=True)
class Statistics:
    """Of (M,) departures from the observations, in their units; NaN where M = 0.

    rms² = mean² + std²
    """

    count: int
    mean: float
    std: float
    rms: float


@dataclass(frozen=True)
class Analysis:
    """The analysis is the background plus `increment`.

    control : (s,) w, the same on every rank
    increment : (n_local,) δx = U(w), in the state's units
    trace : J, J_b, J_o and ‖∇J‖ at the start and after each iteration
    innovation : statistics of d = y − H x_b
    residual : statistics of y − H x_a
    chi_squared : 2 J_o(w) / M, of the order of one where R is right; NaN where M = 0
    reason : why the minimiser stopped
    iterations, evaluations : of the minimiser
    seconds : {"prepare", "minimise", "increment": wall-clock time on this rank [s]}
    """

    control: np.ndarray
    increment: np.ndarray
    trace: tuple[Iteration, ...]
    innovation: Statistics
    residual: Statistics
    chi_squared: float
    reason: str
    iterations: int
    evaluations: int
    seconds: Mapping[str, float]

    def summary(self) -> dict[str, Any]:
        """For a log: plain numbers and names, None for NaN, and no vectors but the trace."""
        first, last = self.trace[0], self.trace[-1]
        return {
            "cost_initial": first.cost,
            "cost": last.cost,
            "cost_background": last.background,
            "cost_observation": last.observation,
            "gradient_norm_initial": first.gradient_norm,
            "gradient_norm": last.gradient_norm,
            "reason": self.reason,
            "iterations": self.iterations,
            "evaluations": self.evaluations,
            "innovation": _plain(self.innovation),
            "residual": _plain(self.residual),
            "chi_squared": self.chi_squared if self.innovation.count else None,
            "trace": {
                name: [getattr(step, name) for step in self.trace] for name in ("cost", "background", "gradient_norm")
            },
            "seconds": dict(self.seconds),
        }


def _plain(statistics: Statistics) -> dict[str, Any]:
    return {name: value if statistics.count or name == "count" else None for name, value in asdict(statistics).items()}


def prepare(
    transform: Transform,
    operator: ObservationOperator,
    error: ObservationError,
    comm: MPI.Comm,
    background_weight: float = 1.0,
) -> ObservationHessian | None:
    """What analyses with the same sensors share, made once for `analyse(..., hessian=…)`. Collective.

    Parameters are those of `analyse`.

    Returns
    -------
    ObservationHessian; None if U or H is not linear, because there is nothing to share then
    """
    if not (transform.linear and operator.linear):
        return None
    hessian = ObservationHessian(transform, operator, error, comm)
    hessian.prepare(background_weight)
    return hessian


def analyse(
    transform: Transform,
    operator: ObservationOperator,
    error: ObservationError,
    innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    background_weight: float = 1.0,
    hessian: ObservationHessian | None = None,
    **minimiser: Any,
) -> Analysis:
    """The increment of least cost, 3D-Var in control space (Parrish & Derber 1992). Collective.

    Parameters
    ----------
    transform : Transform, U
    operator : ObservationOperator, H
    error : ObservationError, R
    innovation : (M_local,) d = y − H x_b, in the observations' units
    comm : MPI communicator
    background_weight : factor of ½ wᵀw in J
    hessian : what `prepare` made of the same U, H and R; None makes it for this analysis
    minimiser : keyword arguments of `da.minimisation.minimise.minimise`

    Returns
    -------
    Analysis

    Raises
    ------
    MinimisationError, ValueError
        as `minimise` and `CostFunction`; if what was prepared is of another U, H or R
    """
    began = time.perf_counter()
    innovation = np.asarray(innovation, np.float64)
    cost = CostFunction(transform, operator, error, innovation, comm, background_weight, hessian)
    cost.prepare()
    prepared = time.perf_counter()
    minimum = minimise(cost, comm, **{"root": cost.hessian_root, **minimiser})
    seconds = {"prepare": prepared - began, "minimise": time.perf_counter() - prepared}
    return analysis_of(minimum, transform.apply, operator, error, innovation, comm, seconds)


class AnyMinimum(Protocol):
    """What an analysis takes from a minimiser, whichever it was; see `da.minimisation.minimise.Minimum`."""

    @property
    def control(self) -> np.ndarray: ...

    @property
    def trace(self) -> tuple[Iteration, ...]: ...

    @property
    def reason(self) -> str: ...

    @property
    def iterations(self) -> int: ...

    @property
    def evaluations(self) -> int: ...


def analysis_of(
    minimum: AnyMinimum,
    increment_of: Callable[[np.ndarray], np.ndarray],
    operator: ObservationOperator,
    error: ObservationError,
    innovation: np.ndarray,
    comm: MPI.Comm,
    seconds: Mapping[str, float],
) -> Analysis:
    """The Analysis of a minimum: increment, residual and statistics. Collective.

    Parameters
    ----------
    minimum : of any of the minimisers
    increment_of : U, a function of the control
    operator, error, innovation, comm : as `analyse`
    seconds : wall-clock times of the steps before; "increment" is added

    Returns
    -------
    Analysis
    """
    began = time.perf_counter()
    increment = increment_of(minimum.control)
    residual = innovation - operator.observe(increment)
    whitened = error.whiten(residual)
    misfit = statistics(residual, comm)
    observation = comm.allreduce(float(whitened @ whitened))
    return Analysis(
        control=minimum.control,
        increment=increment,
        trace=minimum.trace,
        innovation=statistics(innovation, comm),
        residual=misfit,
        chi_squared=observation / misfit.count if misfit.count else np.nan,
        reason=minimum.reason,
        iterations=minimum.iterations,
        evaluations=minimum.evaluations,
        seconds={**seconds, "increment": time.perf_counter() - began},
    )


def statistics(values: np.ndarray, comm: MPI.Comm) -> Statistics:
    """Count, mean, standard deviation and rms of values over all ranks. Collective.

    values : (M_local,)
    """
    count = comm.allreduce(len(values))
    if count == 0:
        return Statistics(0, np.nan, np.nan, np.nan)
    mean = comm.allreduce(float(np.sum(values))) / count
    # about the mean itself: the difference of two large sums would lose the spread
    spread = values - mean
    variance = comm.allreduce(float(spread @ spread)) / count
    return Statistics(count, mean, float(np.sqrt(variance)), float(np.hypot(mean, np.sqrt(variance))))
