"""Huber's norm: the force of an observation on the analysis stays constant beyond a limit, however far it is.

Quality control by a threshold rejects a reading or takes it at its full weight; with this norm the weight falls
smoothly, so that a front which the background has in the wrong place is not left out.

Correlated errors have a common cause, gross errors do not. So the norm is that of observations which may each have a
gross error e_i beside the errors of R (She & Owen 2011, J. Am. Stat. Assoc. 106,
626; Farahmand, Giannakis & Angelosante 2011, IEEE Trans. Signal Process. 59, 4529): with R = D C D and
z = D⁻¹ (y − H x)

    ρ(z) = least by e of  ½ (z − e)ᵀ C⁻¹ (z − e) + Σ c_i |e_i|,     ρ'(z) = q = C⁻¹ (z − e),  |q_i| ≤ c_i

which is convex, bounds the force of each observation, and for C = I is Huber's norm. Its minimum is that of the
quadratic norm with more variance for the observations beyond their limits. Huber's norm of R^{-1/2} (y − H x) would not
do: a root mixes the observations, and a gross error passes to its neighbours; nor would weights within R, by which the
neighbours take over the force that the observation itself may not have.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.linalg import cho_solve

from da.observation.error import ObservationError

_TRIES = 50  # to change everything wrong at once, without progress
_GUESSES = 10_000  # of the limits that hold; after so many rounding decides
_ROUNDING = 1e-13  # relative to the largest force without limits


@dataclass(frozen=True)
class Huber:
    """The norm ρ. All methods are collective where R couples rows of different ranks.

    For an independent error ρ is ½z² where −left ≤ z ≤ right, and c|z| − ½c² beyond, c being the limit of that
    side (Tavolato & Isaksen 2015, Q. J. R. Meteorol. Soc. 141, 1514, eq. 2). Where errors are correlated the limits
    are c_i = c √(C⁻¹)_ii: c standard deviations of an observation about its estimate from all others.

    left, right : limits in standard deviations; None for the right takes the left one's

    ValueError if a limit is not positive
    """

    left: float
    right: float | None = None

    def __post_init__(self) -> None:
        low, high = self.limits
        if not (low > 0.0 and high > 0.0):
            raise ValueError(f"limits {low!r} and {high!r} of Huber's norm, expected positive numbers")

    @property
    def limits(self) -> tuple[float, float]:
        """(left, right), the left one for both sides if no right one was given."""
        return self.left, self.left if self.right is None else self.right

    def split(
        self, z: np.ndarray, error: ObservationError, precisions: Sequence[np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Forces q and gross errors e, both (M_local,), with z = C q + e; e_i is not 0 only where q_i is at its limit.

        z : (M_local,) y − H x in standard deviations, as e is; error : ObservationError
        precisions : `block_precisions` of the error
        """
        force, gross = error.by_blocks(z[:, None], self._alone, [partial(self._together, of) for of in precisions]).T
        return force, gross

    def derivative(
        self, gross: np.ndarray, error: ObservationError, precisions: Sequence[np.ndarray]
    ) -> Callable[[np.ndarray], np.ndarray]:
        """dq/dz where the gross errors are these: a function, (M_local,) → (M_local,).

        Forces at their limits do not change. Parameters are as in `split`.
        """
        free = gross == 0.0
        rows = error.of_blocks(free[:, None])
        within = [partial(_moved, precision, of[:, 0]) for precision, of in zip(precisions, rows, strict=True)]
        return lambda v: error.by_blocks(v[:, None], lambda v: np.where(free[:, None], v, 0.0), within)[:, 0]

    def counted(self, residual: np.ndarray, error: ObservationError) -> ObservationError:
        """R as it counted in an analysis: the quadratic norm with this R gives the same analysis.

        residual : (M_local,) y − H x of that analysis, in the observations' units; error : ObservationError
        """
        force, gross = self.split(residual / error.std_local, error, block_precisions(error))
        # with this variance e is the likeliest gross error of a normal distribution, too
        variance = np.divide(gross, force, out=np.zeros_like(gross), where=gross != 0.0)
        return error.inflated(error.std_local**2 * variance)

    def _alone(self, z: np.ndarray) -> np.ndarray:
        low, high = self.limits
        force = np.clip(z, -low, high)
        return np.hstack([force, z - force])

    def _together(self, precision: np.ndarray, z: np.ndarray) -> np.ndarray:
        # standard deviations of C⁻¹ z where z is of the errors; 1 for a row that no other is correlated with
        spread = np.sqrt(np.diag(precision))
        low, high = self.limits
        return np.stack(limited(precision, z[:, 0], -low * spread, high * spread), axis=1)


def block_precisions(error: ObservationError) -> tuple[np.ndarray, ...]:
    """C⁻¹ of the correlations C in each of R's blocks, (m, m): what Huber's norm needs of R beside R itself."""
    return tuple(_precision(block.factor) for block in error.blocks)


def _precision(factor: np.ndarray) -> np.ndarray:
    std = np.linalg.norm(factor, axis=1)
    return cho_solve((factor / std[:, None], True), np.eye(len(std)))


def _moved(precision: np.ndarray, free: np.ndarray, values: np.ndarray) -> np.ndarray:
    return _solved(precision, values[:, 0], free)[:, None]


def limited(precision: np.ndarray, z: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forces q = C⁻¹ (z − e) within limits, by block principal pivoting.

    Which limits hold is guessed, and everything wrong in a guess is changed at once; if that makes no progress, one
    limit at a time, which ends for any C (Júdice & Pires 1994, Comput. Oper. Res. 21, 587). For k gross errors a
    guess costs some k³ + m² FLOPs, and a few guesses usually suffice.

    Parameters
    ----------
    precision : (m, m) C⁻¹
    z : (m,) standardised departures
    low, high : (m,) limits, low < 0 < high; they may be infinite

    Returns
    -------
    force : (m,) q
    gross : (m,) e = z − C q, zero where q is within its limits and of q's sign where it is not
    """
    unlimited = precision @ z
    rounding = _ROUNDING * np.abs(unlimited).max(initial=0.0)
    side, fewest, tries = np.zeros(len(z), int), len(z) + 1, _TRIES
    for _ in range(_GUESSES):
        held, limit = side != 0, np.where(side > 0, high, low)
        gross = np.zeros_like(z)
        gross[held] = np.linalg.solve(precision[np.ix_(held, held)], (unlimited - limit)[held])
        force = np.where(held, limit, unlimited - precision @ gross)
        beyond = np.where(force > high + rounding, 1, np.where(force < low - rounding, -1, 0))
        right = np.where(held, np.where(gross * side < 0.0, 0, side), beyond)
        wrong = np.flatnonzero(right != side)
        if len(wrong) == 0:
            break
        if len(wrong) < fewest:
            fewest, tries = len(wrong), _TRIES
        elif tries > 0:
            tries -= 1
        else:
            wrong = wrong[-1:]
        side[wrong] = right[wrong]
    return force, gross


def _solved(precision: np.ndarray, values: np.ndarray, free: np.ndarray) -> np.ndarray:
    """s with C s = v in the free rows and s = 0 in the others: (m,) → (m,)."""
    held, pushed = ~free, np.where(free, values, 0.0)
    pushed[held] = -np.linalg.solve(precision[np.ix_(held, held)], precision[held] @ pushed)
    return np.where(free, precision @ pushed, 0.0)
