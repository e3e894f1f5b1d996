"""Quality control: which readings are left out of an analysis, and why.

Each check is a function of arrays that marks what it would leave out; :func:`first_reason` orders the checks. Nothing
here knows files, meshes or ranks: arrays are whole and the same everywhere.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum

import numpy as np
from scipy.spatial import cKDTree

from da.observation.correlation import CORRELATIONS


class Flag(IntEnum):
    """Why a reading is left out; `text` says so in tables."""

    text: str

    USED = 0, "used"
    OUTSIDE = 1, "outside the model's air"
    NO_STATE = 2, "no model state near its time"
    RANGE = 3, "out of range"
    DUPLICATE = 4, "duplicate"
    STUCK = 5, "stuck sensor"
    BACKGROUND = 6, "too far from the background"
    BUDDY = 7, "too far from its neighbours"
    THINNED = 8, "thinned"
    WITHHELD = 9, "withheld"

    def __new__(cls, value: int, text: str) -> "Flag":
        """A number with its text."""
        member = int.__new__(cls, value)
        member._value_, member.text = value, text
        return member


def first_reason(n: int, reasons: Iterable[tuple[Flag, np.ndarray]]) -> np.ndarray:
    """One flag per reading: that of the first check that marks it.

    Parameters
    ----------
    n : M, number of readings
    reasons : pairs (Flag, (M,) bool), in order

    Returns
    -------
    (M,) int8 of Flag's values, USED where no check marks
    """
    flags = np.full(n, Flag.USED, dtype=np.int8)
    for flag, marked in reasons:
        flags[np.asarray(marked, bool) & (flags == Flag.USED)] = flag
    return flags


def out_of_range(value: np.ndarray, variable: np.ndarray, limits: Mapping[str, tuple[float, float]]) -> np.ndarray:
    """Readings outside what is possible.

    value : (M,) in the variables' units; variable : (M,) names
    limits : {variable: (lowest, highest)}, both still allowed; a variable without limits is not checked

    ValueError if a lowest exceeds its highest
    """
    value, variable = np.asarray(value, dtype=np.float64), np.asarray(variable)
    marked = np.zeros(len(value), bool)
    for name, (low, high) in limits.items():
        if not low <= high:
            raise ValueError(f"range of {name!r} from {low} to {high}, expected the lower limit first")
        marked |= (variable == name) & ~((value >= low) & (value <= high))
    return marked


def duplicates(
    time: np.ndarray,
    position: np.ndarray,
    group: np.ndarray,
    error: np.ndarray,
    seconds: float = 0.0,
    distance: float = 0.0,
) -> np.ndarray:
    """Readings that repeat one with a smaller error, or an earlier row with an equal error.

    Parameters
    ----------
    time : (M,) [s]; position : (M, 3) [m]; error : (M,) standard deviations
    group : (M,) labels; only readings of a group can repeat each other: the variable, or variable and station
    seconds, distance : two readings nearer than this, in time and in each direction, count as one

    Returns
    -------
    (M,) bool
    """
    scale = np.maximum([seconds, *3 * [distance]], 1e-9 * (1.0 + np.abs(position).max(initial=0.0)))
    places = np.column_stack([time, np.asarray(position, dtype=np.float64).reshape(-1, 3)]) / scale
    rank = np.empty(len(places), np.int64)
    rank[np.argsort(error, kind="stable")] = np.arange(len(places))
    marked = np.zeros(len(places), bool)
    for of in _members(group):
        if len(of) < 2:
            continue
        ranked = of[np.argsort(rank[of])]
        near = cKDTree(places[ranked]).query_ball_point(places[ranked], 1.0 + 1e-9, p=np.inf)
        kept = np.ones(len(ranked), bool)
        for i, others in enumerate(near):
            if kept[i]:
                kept[[j for j in others if j > i]] = False
        marked[ranked[~kept]] = True
    return marked


def stuck_since(
    time: np.ndarray,
    value: np.ndarray,
    sensor: np.ndarray,
    readings: int = 6,
    tolerance: float = 0.0,
    still: float | None = None,
) -> np.ndarray:
    """Time from which a reading is known to be in a run of a sensor's readings that do not change.

    Runs follow one another from a sensor's first reading, so later readings leave earlier runs as they are: at any time
    those readings are known to be stuck whose time here is not later.

    Parameters
    ----------
    time : (M,) [s]; value : (M,) in the variables' units
    sensor : (M,) labels, one for each sensor: station and variable
    readings : length from which a run is suspicious, at least 2
    tolerance : a run ends where a value leaves its first one by more
    still : a value that may last, such as a concentration of zero outside the plume; None for none

    Returns
    -------
    (M,) time [s] of the reading that makes the run suspicious; infinite where none does

    Raises
    ------
    ValueError
        if `readings` is below 2
    """
    if readings < 2:
        raise ValueError(f"a run of {readings} readings cannot show a stuck sensor, expected 2 or more")
    time, value = np.asarray(time, dtype=np.float64), np.asarray(value, dtype=np.float64)
    since = np.full(len(value), np.inf)
    for of in _members(sensor):
        rows = of[np.argsort(time[of], kind="stable")]
        begin = 0
        for k in range(1, len(rows) + 1):
            if k < len(rows) and abs(value[rows[k]] - value[rows[begin]]) <= tolerance:
                continue
            if k - begin >= readings and not (still is not None and abs(value[rows[begin]] - still) <= tolerance):
                since[rows[begin:k]] = time[rows[begin + readings - 1]]
            begin = k
    return since


def background_check(
    innovation: np.ndarray, background_std: float | np.ndarray, observation_std: float | np.ndarray, limit: float = 4.0
) -> np.ndarray:
    """Readings too far from the background: |d| > k √(σ_b² + σ_o²) (Lorenc & Hammond 1988).

    innovation, background_std, observation_std : (M,) in the variables' units, at the sensors; limit : k

    ValueError if k is not positive
    """
    _check_limit(limit)
    expected = np.hypot(background_std, observation_std)
    # a reading whose departure is not a number is left out
    return ~(np.abs(innovation) <= limit * expected)


def buddy_check(
    innovation: np.ndarray,
    position: np.ndarray,
    group: np.ndarray,
    background_std: float | np.ndarray,
    observation_std: float | np.ndarray,
    length: float,
    limit: float = 3.0,
    kind: str = "soar",
    buddies: int = 12,
) -> np.ndarray:
    """Readings that their neighbours contradict.

    Optimal interpolation of d_i from its nearest neighbours of the same group leaves a residual [S⁻¹ d]_i / [S⁻¹]_ii of
    variance 1 / [S⁻¹]_ii, with S = B + R among them (Lorenc & Hammond 1988). The worst reading is left out first and
    the others are checked again without it, so that it does not take a good neighbour with it. Neighbours that are
    wrong in the same way pass.

    Parameters
    ----------
    innovation, background_std, observation_std : (M,) in the variables' units
    position : (M, 3) [m]
    group : (M,) labels, the variable; a reading without a neighbour within two lengths is not checked
    length : of the background's correlation [m]; kind : see `da.observation.correlation`
    limit : k, the largest residual that passes, in its standard deviations
    buddies : number of nearest neighbours that are used

    Returns
    -------
    (M,) bool

    Raises
    ------
    ValueError
        if k or the length is not positive
    """
    _check_limit(limit)
    if not length > 0.0:
        raise ValueError(f"correlation length {length!r}, expected a positive number of metres")
    d = np.asarray(innovation, dtype=np.float64)
    b, o = (np.broadcast_to(np.asarray(s, dtype=np.float64), d.shape) for s in (background_std, observation_std))
    position = np.asarray(position, dtype=np.float64).reshape(-1, 3)
    marked = np.zeros(len(d), bool)
    for of in _members(group):
        marked[of[_contradicted(d[of], position[of] / length, b[of], o[of], limit, CORRELATIONS[kind], buddies)]] = True
    return marked


def _contradicted(
    d: np.ndarray,
    places: np.ndarray,
    b: np.ndarray,
    o: np.ndarray,
    limit: float,
    correlation: Callable[[np.ndarray], np.ndarray],
    buddies: int,
) -> np.ndarray:
    """Row numbers that are left out of one group, worst first."""
    alive, left_out = np.arange(len(d)), []
    score, tree = np.zeros(len(d)), cKDTree(places)
    pending = held = alive
    living, is_alive = tree, np.ones(len(d), bool)
    while len(alive) > 1:
        # a tree of readings that were there a short while ago serves as well, if it is asked for a few more
        if len(held) - len(alive) > buddies:
            held, living = alive, cKDTree(places[alive])
        more = len(held) - len(alive)
        _, near = living.query(places[pending], k=min(buddies + 1 + more, len(held)), distance_upper_bound=2.0)
        for i, nearest in zip(pending, near, strict=True):
            others = held[nearest[nearest < len(held)]]
            others = [j for j in others[is_alive[others]][: buddies + 1] if j != i]
            score[i] = _departure(d, places, b, o, np.array([i, *others]), correlation) if others else 0.0
        worst = alive[np.argmax(score[alive])]
        if not score[worst] > limit:
            break
        left_out.append(worst)
        is_alive[worst] = False
        alive = alive[alive != worst]
        # only those that may have had it as a neighbour are checked again
        pending = np.intersect1d(tree.query_ball_point(places[worst], 2.0), alive)
    return np.array(left_out, dtype=np.int64)


def _departure(
    d: np.ndarray,
    places: np.ndarray,
    b: np.ndarray,
    o: np.ndarray,
    rows: np.ndarray,
    correlation: Callable[[np.ndarray], np.ndarray],
) -> float:
    """|residual| of the first row over its standard deviation."""
    distance = np.linalg.norm(places[rows][:, None] - places[rows][None], axis=2)
    covariance = correlation(distance) * np.outer(b[rows], b[rows]) + np.diag(o[rows] ** 2)
    solved = np.linalg.solve(covariance, np.column_stack([d[rows], np.eye(len(rows))[:, 0]]))
    return abs(solved[0, 0]) / np.sqrt(solved[0, 1])


def _members(label: np.ndarray) -> list[np.ndarray]:
    """Row numbers of each label."""
    _, number = np.unique(np.asarray(label), return_inverse=True)
    order = np.argsort(number, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number[order])) + 1) if len(order) else []


def _check_limit(limit: float) -> None:
    if not limit > 0.0:
        raise ValueError(f"limit {limit!r} of a check, expected a positive number of standard deviations")
