"""Checks of operators and costs that hold for any set-up, each with its tolerance.

A check is a number that would be zero in exact arithmetic and a tolerance that rounding stays below. The caller draws
the random vectors, so that they are the same for any number of ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from da.background.transform import Transform
from da.minimisation.cost import CostFunction
from da.minimisation.minimise import Cost
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

Dot = Callable[[np.ndarray, np.ndarray], float]
_EPS = np.finfo(np.float64).eps


@dataclass(frozen=True)
class OperatorCheck:
    """One check's outcome.

    name : what was checked
    departure : from zero, without a unit; one that is not a number has failed
    tolerance : the largest that passes
    detail : further numbers, in words
    """

    name: str
    departure: float
    tolerance: float
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the departure is within the tolerance."""
        return bool(self.departure <= self.tolerance)


def adjoint_gap(
    forward: Callable[[np.ndarray], np.ndarray],
    adjoint: Callable[[np.ndarray], np.ndarray],
    right: np.ndarray,
    left: np.ndarray,
    right_dot: Dot,
    left_dot: Dot,
) -> float:
    """|⟨A x, y⟩ − ⟨x, Aᵀ y⟩| / max(‖A x‖ ‖y‖, ‖x‖ ‖Aᵀ y‖). Collective if the functions are.

    Parameters
    ----------
    forward, adjoint : functions A and Aᵀ of a vector
    right, left : x and y
    right_dot, left_dot : inner products where x and where y lie: `whole_dot`, or that of `dot_over` for vectors
        over the ranks

    Returns
    -------
    float, 0 where A and Aᵀ both give zero
    """
    pushed, pulled = forward(right), adjoint(left)
    ways = left_dot(pushed, left), right_dot(right, pulled)
    squared = left_dot(pushed, pushed) * left_dot(left, left), right_dot(right, right) * right_dot(pulled, pulled)
    return float(abs(ways[0] - ways[1]) / np.sqrt(max(squared))) if max(squared) > 0.0 else 0.0


def whole_dot(a: np.ndarray, b: np.ndarray) -> float:
    """Inner product of vectors that every rank has whole."""
    return float(np.dot(a, b))


def dot_over(comm: MPI.Comm) -> Dot:
    """Inner product of vectors that lie over the ranks; the function it returns is collective."""
    return lambda a, b: comm.allreduce(float(np.dot(np.ravel(a), np.ravel(b))))


def relative_gap(result: np.ndarray, expected: np.ndarray, comm: MPI.Comm) -> float:
    """‖result − expected‖ / ‖expected‖ of vectors over the ranks; ‖result‖ if the expected one is zero. Collective."""
    dot = dot_over(comm)
    difference, size = np.subtract(result, expected), dot(expected, expected)
    return float(np.sqrt(dot(difference, difference) / (size if size > 0.0 else 1.0)))


def taylor_slope(cost: Cost, control: np.ndarray, direction: np.ndarray) -> tuple[float, list[tuple[float, float]]]:
    """Order at which |J(w + h p) − J(w) − h ∇J·p| falls with h: 2 where ∇J is the gradient of J, 1 where it is not.

    The steps are halved from 1 until the remainder is near the rounding of J; the slope is that of the last four of
    them.

    Parameters
    ----------
    cost : Cost, see `da.minimisation.minimise`
    control, direction : (s,) w and p, the same on every rank

    Returns
    -------
    slope : float, NaN where J shows no curvature beyond its rounding
    remainders : list of (h, remainder)
    """
    value, gradient = cost.value_and_gradient(control)
    along, remainders = float(gradient @ direction), []
    for k in range(30):
        step = 0.5**k
        other = cost.value_and_gradient(control + step * direction)[0]
        remainder = abs(other - value - step * along)
        # a thousandth of the remainder may be rounding: the slope then is right to some 1e-3
        if remainder < 1e3 * _EPS * max(abs(value), abs(other), abs(step * along)):
            break
        remainders.append((step, remainder))
    last = np.log(np.array(remainders[-4:]).reshape(-1, 2))
    if len(last) < 2:
        return np.nan, remainders
    return float(np.polyfit(last[:, 0], last[:, 1], 1)[0]), remainders


def gradient_gap(cost: Cost, control: np.ndarray, direction: np.ndarray) -> float:
    """|∇J·p − (J(w + h p) − J(w − h p)) / 2h| / (‖∇J‖ ‖p‖), the least of all steps h. Collective.

    cost, control, direction : as in `taylor_slope`
    """
    gradient, gaps = cost.value_and_gradient(control)[1], []
    for k in range(0, 24, 2):
        step = 0.5**k
        ahead, behind = (cost.value_and_gradient(control + h * direction)[0] for h in (step, -step))
        gaps.append(abs(float(gradient @ direction) - (ahead - behind) / (2.0 * step)))
    size = np.linalg.norm(gradient) * np.linalg.norm(direction)
    return float(np.min(gaps) / size) if size > 0.0 else float(np.min(gaps))


def cost_gap(cost: CostFunction, control: np.ndarray) -> float:
    """∇J as the cost has it against −Uᵀ Hᵀ R⁻¹ (d − H U w) + a w by the operators themselves. Collective.

    A linear cost keeps the product of U, H and R; this applies them one by one.

    cost : CostFunction; control : (s,) w

    Returns
    -------
    float, relative to ‖a w‖ + ‖Uᵀ Hᵀ R⁻¹ (d − H U w)‖
    """
    increment = cost.transform.apply(control)
    misfit = cost.innovation - cost.operator.observe(increment)
    pulled = cost.operator.adjoint(cost.error.solve(misfit), at=increment)
    pulled, own = cost.transform.adjoint(pulled, at=control), cost.background_weight * control
    size = np.linalg.norm(pulled) + np.linalg.norm(own)
    gap = np.linalg.norm(cost.value_and_gradient(control)[1] - (own - pulled))
    return float(gap / size) if size > 0.0 else float(gap)


def dense_analysis(
    transform: Transform,
    operator: ObservationOperator,
    error: ObservationError,
    innovation: np.ndarray,
    rows: np.ndarray,
    comm: MPI.Comm,
    weight: float = 1.0,
) -> np.ndarray:
    """The textbook analysis, x_a − x_b = B Hᵀ (H B Hᵀ + R)⁻¹ d, for a few of the state's rows. Collective.

    B, H and R⁻¹ are made as whole matrices by applying U, H and R⁻¹ to unit vectors: no code of the minimisation or of
    A is used. It is meant for some hundred observations and modes.

    Parameters
    ----------
    transform, operator, error : U, H and R, linear
    innovation : (M_local,) d
    rows : (k_local,) local numbers of the state's values
    comm : MPI communicator
    weight : a, B = U Uᵀ / a

    Returns
    -------
    (k_local,) in the state's units
    """
    s, m = transform.n_control, operator.n_observations
    own, hu = np.empty((len(rows), s)), np.empty((operator.rows.stop - operator.rows.start, s))
    for j in range(s):
        mode = transform.apply((np.arange(s) == j) / np.sqrt(weight))
        own[:, j], hu[:, j] = mode[rows], operator.observe(mode)
    unit = np.eye(m)[operator.rows]
    inverse = np.concatenate(comm.allgather(error.solve(unit)))
    hu, d = np.concatenate(comm.allgather(hu)), np.concatenate(comm.allgather(innovation))
    # (H B Hᵀ + R)⁻¹ d = R⁻¹ z with (H B Hᵀ R⁻¹ + I) z = d: R itself is not needed
    solved = np.linalg.solve(hu @ hu.T @ inverse + np.eye(m), d)
    return own @ (hu.T @ (inverse @ solved))
