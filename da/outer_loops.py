"""Analyses whose cost is not quadratic: Gauss–Newton outer loops, and Huber's norm.

H is linearised about the latest analysis, the resulting quadratic cost is minimised like any other, and H is linearised
about its minimum next (Courtier, Thépaut & Hollingsworth 1994; Lawless, Gratton & Nichols 2005). The control remains
relative to the first background, so ½ wᵀw is counted once.
"""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI

from da.analysis import Analysis, analysis_of
from da.background.transform import Transform
from da.minimisation.cost import CostFunction
from da.minimisation.huber import Huber
from da.minimisation.huber_cost import HuberCost, huber_cost, polished
from da.minimisation.minimise import Iteration, Minimum, minimise
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

CONVERGED, STOPPED = "CONVERGED_OUTER_LOOPS", "STOPPED_AFTER_OUTER_LOOPS"
_HALVINGS = 10


@dataclass(frozen=True)
class OuterMinimum:
    """Where the outer loops ended.

    control : (s,) w, the same on every rank
    trace : J, J_b, J_o and ‖∇J‖ of the cost with H itself, at the start and after each loop; for a linear H those
        of the one minimisation
    changes : ‖Δw‖ / ‖w‖ of each loop
    reason : CONVERGED where the last change was within the tolerance, STOPPED where the loops were used up;
        for a linear H the minimiser's
    iterations, evaluations : of all minimisations
    """

    control: np.ndarray
    trace: tuple[Iteration, ...]
    changes: tuple[float, ...]
    reason: str
    iterations: int
    evaluations: int


def outer_loops(
    transform: Transform,
    operator: ObservationOperator,
    error: ObservationError,
    innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    background_weight: float = 1.0,
    huber: Huber | None = None,
    loops: int = 10,
    tolerance: float = 1e-8,
    **minimiser: Any,
) -> OuterMinimum:
    """The control of least cost, by Gauss–Newton. Collective.

    A step that raises the cost is halved until it no longer does: its direction is one of descent.

    Parameters
    ----------
    transform : Transform, U
    operator : observation operator; one that is not linear has `linearised(increment)`
    error : ObservationError, R
    innovation : (M_local,) d = y − H(x_b), in the observations' units
    comm : MPI communicator
    background_weight : factor of ½ wᵀw in J
    huber : Huber, or None for the quadratic norm
    loops : largest number of loops, 1 or more; to use them up is not an error, and `reason` says so
    tolerance : on ‖Δw‖ / ‖w‖
    minimiser : keyword arguments of `da.minimisation.minimise.minimise`

    Returns
    -------
    OuterMinimum

    Raises
    ------
    MinimisationError, ValueError
        as `minimise` and the costs; if `loops` is below 1
    """
    if loops < 1:
        raise ValueError(f"{loops} outer loops, expected 1 or more")
    innovation = np.asarray(innovation, dtype=np.float64)

    def cost_of(operator: ObservationOperator, innovation: np.ndarray) -> CostFunction | HuberCost:
        cost = CostFunction(transform, operator, error, innovation, comm, background_weight)
        return cost if huber is None else huber_cost(cost, huber)

    if operator.linear:
        least = _inner(cost_of(operator, innovation), comm, None, minimiser)
        return OuterMinimum(least.control, least.trace, (), least.reason, least.iterations, least.evaluations)
    cost = cost_of(operator, innovation)
    control, counts = np.zeros(transform.n_control), []
    trace: list[Iteration] = []
    changes: list[float] = []
    for loop in range(loops):
        increment = transform.apply(control)
        linear = operator.linearised(increment)
        misfit = innovation - operator.observe(increment) + linear.observe(increment)
        inner = cost_of(linear, misfit)
        if not trace:
            trace.append(_step(cost, inner, 0, control))
        least = _inner(inner, comm, control if loop else None, minimiser)
        counts.append((least.iterations, least.evaluations))
        moved = _shortened(cost, control, least.control - control)
        control = control + moved
        changes.append(float(np.linalg.norm(moved) / max(np.linalg.norm(control), np.finfo(float).tiny)))
        trace.append(_step(cost, cost, loop + 1, control))
        if changes[-1] <= tolerance:
            break
    iterations, evaluations = (int(n) for n in np.sum(counts, axis=0))
    reason = CONVERGED if changes[-1] <= tolerance else STOPPED
    return OuterMinimum(control, tuple(trace), tuple(changes), reason, iterations, evaluations)


def _inner(
    cost: CostFunction | HuberCost, comm: MPI.Comm, start: np.ndarray | None, minimiser: dict[str, Any]
) -> Minimum:
    if isinstance(cost, HuberCost) and cost.whitened is not None:
        # Newton's method continues from where J's rounding ends the search, which is sooner where J itself stays large
        minimum = minimise(cost, comm, start=start, **{"rounding_tolerance": 1e-6, **minimiser})
        return replace(minimum, control=polished(cost, minimum.control))
    root = cost.hessian_root if isinstance(cost, CostFunction) else None
    return minimise(cost, comm, start=start, **{"root": root, **minimiser})


def _shortened(cost: CostFunction | HuberCost, control: np.ndarray, step: np.ndarray) -> np.ndarray:
    value = cost.value(control)
    for _ in range(_HALVINGS):
        # near the minimum an increase may be rounding
        if cost.value(control + step) <= value * (1.0 + 1e-12):
            return step
        step = 0.5 * step
    return 0.0 * step


def _step(
    cost: CostFunction | HuberCost, slope_of: CostFunction | HuberCost, number: int, control: np.ndarray
) -> Iteration:
    background, observation = cost.parts(control)
    norm = float(np.linalg.norm(slope_of.value_and_gradient(control)[1]))
    return Iteration(number, background + observation, background, observation, norm)


def analyse_outer(
    transform: Transform,
    operator: ObservationOperator,
    error: ObservationError,
    innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    huber: Huber | None = None,
    **settings: Any,
) -> Analysis:
    """As `da.analysis.analyse`, for an H that is not linear or Huber's norm. Collective.

    Parameters
    ----------
    transform, operator, error, innovation, comm : as in `outer_loops`
    huber, settings : keyword arguments of `outer_loops`

    Returns
    -------
    Analysis; where H is not linear `trace` is that of the outer loops, and `iterations` counts those of all
    minimisations

    Raises
    ------
    MinimisationError, ValueError
        as `outer_loops`
    """
    began = time.perf_counter()
    innovation = np.asarray(innovation, dtype=np.float64)
    minimum = outer_loops(transform, operator, error, innovation, comm, huber=huber, **settings)
    seconds = {"prepare": 0.0, "minimise": time.perf_counter() - began}
    return analysis_of(minimum, transform.apply, operator, error, innovation, comm, seconds)
