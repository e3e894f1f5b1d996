"""Whether an autoencoder can be trusted at one analysis: three checks, each a number and its limit.

Outside its training a network gives no sign of being wrong. So each analysis checks

    round trip        rms of x̃ − g(f(x̃)) of the background, in spreads: does it know this state?
    latent distance   Mahalanobis distance of f(x̃) from the cloud of training codes, over √m: is the code, from
                      which the increment is decoded, where codes were?
    observation cost  J_o of the analysis over that of the background, with the true H: did it help?

The limits of the first two are quantiles of the same numbers over the training states. The caller decides what follows
from a failed check; the first two can be made before the analysis.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.linalg import LinAlgError, cholesky, solve_triangular

from coupling.common.collective import refuse_together
from da.background.decoder import Decoder
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

ROUND_TRIP, DISTANCE, COST = "round trip error", "latent distance", "observation cost ratio"


@dataclass(frozen=True)
class TrustCheck:
    """One number against its limit. A NaN is beyond any limit.

    name : ROUND_TRIP, DISTANCE or COST
    """

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the value is within the limit."""
        return bool(self.value <= self.limit)

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}, limit {self.limit:.4g}"


@dataclass(frozen=True)
class Trust:
    """All checks of one analysis.

    checks : in the order in which they were made
    """

    checks: tuple[TrustCheck, ...]

    @property
    def trusted(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)

    @property
    def reason(self) -> str:
        """The checks that failed, in words; "" if none did."""
        return "; ".join(str(check) for check in self.checks if not check.passed)

    def __add__(self, other: "Trust") -> "Trust":
        return Trust(self.checks + other.checks)

    def summary(self) -> dict[str, dict[str, float | bool | None]]:
        """What a log keeps: {name: {"value", "limit", "passed"}}, None for what is not finite."""
        return {
            check.name: {
                "value": float(check.value) if np.isfinite(check.value) else None,
                "limit": float(check.limit) if np.isfinite(check.limit) else None,
                "passed": check.passed,
            }
            for check in self.checks
        }


@dataclass(frozen=True)
class Cloud:
    """Where the training codes lie.

    mean : (m,)
    factor : (m, m) lower Cholesky factor of their covariance, shrunk towards a multiple of one
    """

    mean: np.ndarray
    factor: np.ndarray

    def distance(self, codes: np.ndarray) -> np.ndarray:
        """Mahalanobis distance over √m: (m,) → a number of the order of one; (m, k) → (k,)."""
        codes = np.asarray(codes, dtype=np.float64)
        apart = (codes.T - self.mean).T
        whitened = solve_triangular(self.factor, apart, lower=True, check_finite=False)
        return np.linalg.norm(whitened, axis=0) / np.sqrt(len(self.mean))


@dataclass(frozen=True)
class TrustLimits:
    """Limits of the checks, for one network and training set; the same on every rank.

    cloud : Cloud
    round_trip : of the rms of x̃ − g(f(x̃)), in spreads
    distance : of `Cloud.distance`
    cost_ratio : of J_o after over before
    """

    cloud: Cloud
    round_trip: float
    distance: float
    cost_ratio: float = 1.0


def latent_cloud(codes: np.ndarray) -> Cloud:
    """Mean and covariance of codes, of which there may be fewer than numbers in each.

    The covariance is shrunk towards a multiple of the identity by as much as their number calls for (Ledoit &
    Wolf 2004, J. Multivariate Anal. 88, 365): a direction in which the training never varied is far away, but not
    infinitely far.

    Parameters
    ----------
    codes : (m, S), S of two or more

    Raises
    ------
    ValueError
        if there are fewer than two, or all are the same
    """
    codes = np.asarray(codes, dtype=np.float64)
    if codes.ndim != 2 or codes.shape[1] < 2:
        raise ValueError(f"codes of shape {codes.shape}, expected (latent numbers, two or more snapshots)")
    m, n = codes.shape
    mean = codes.mean(axis=1)
    apart = codes - mean[:, None]
    covariance = apart @ apart.T / n
    size = np.trace(covariance) / m
    spread = np.sum((covariance - size * np.eye(m)) ** 2)
    # by how much the covariance would change with other snapshots
    noise = (np.sum(np.sum(apart**2, axis=0) ** 2) / n - np.sum(covariance**2)) / n
    share = min(1.0, max(noise / spread, 1e-8)) if spread > 0.0 else 1.0
    try:
        factor = cholesky((1.0 - share) * covariance + share * size * np.eye(m), lower=True)
    except (LinAlgError, ValueError):
        raise ValueError("codes of the snapshots have no spread, or are not finite; is the network trained?") from None
    return Cloud(mean, factor)


def trust_limits(
    codes: np.ndarray,
    round_trips: np.ndarray,
    *,
    quantile: float = 0.99,
    margin: float = 1.0,
    cost_ratio: float = 1.0,
    folds: int = 10,
) -> TrustLimits:
    """Limits from what the network does with its training states.

    A distance is measured from the cloud of the others, run by run of snapshots in their order: a state is close to
    any cloud that was fitted to itself or to its neighbours in time.

    Parameters
    ----------
    codes : (m, S) f of the training anomalies, in the order of time, as given to `latent_modes`
    round_trips : (k,) `round_trip_error` of training states, or better of states kept from training
    quantile : of both distributions; this part of states like those of training passes
    margin : factor of both limits
    cost_ratio : J_o after over before
    folds : runs of snapshots

    Returns
    -------
    TrustLimits

    Raises
    ------
    ValueError
        if the quantile is not in (0, 1], the margin or the ratio is not positive, round trips are missing or not
        finite, or as `latent_cloud`
    """
    round_trips = np.asarray(round_trips, dtype=np.float64)
    if not 0.0 < quantile <= 1.0:
        raise ValueError(f"quantile {quantile!r} of the trust limits, expected a number in (0, 1]")
    for name, value in (("margin", margin), ("cost ratio", cost_ratio)):
        if not (np.isfinite(value) and value > 0.0):
            raise ValueError(f"{name} {value!r} of the trust limits, expected a positive number")
    if not (len(round_trips) and np.isfinite(round_trips).all()):
        raise ValueError("round-trip errors of the training states are missing or not finite; is the network trained?")
    codes = np.asarray(codes, dtype=np.float64)
    cloud = latent_cloud(codes)
    distances = _held_out_distances(codes, folds)
    return TrustLimits(
        cloud,
        round_trip=margin * float(np.quantile(round_trips, quantile)),
        distance=margin * float(np.quantile(distances, quantile)),
        cost_ratio=cost_ratio,
    )


def _held_out_distances(codes: np.ndarray, folds: int) -> np.ndarray:
    n = codes.shape[1]
    # each of the clouds is left two snapshots at least
    runs = np.array_split(np.arange(n), min(folds, n)) if n > 3 else []
    kept = [np.setdiff1d(np.arange(n), run) for run in runs]
    distances = [latent_cloud(codes[:, k]).distance(codes[:, run]) for k, run in zip(kept, runs, strict=True)]
    return np.concatenate(distances) if distances else latent_cloud(codes).distance(codes)


def round_trip_error(state: np.ndarray, decoded: np.ndarray, scale: np.ndarray, comm: MPI.Comm) -> float:
    """rms of (x − x') / scale over the values that have one. Collective.

    Parameters
    ----------
    state : (n_local,) x less the training mean, in the state's units
    decoded : (n_local,) scale · g(f(x / scale))
    scale : (n_local,), zero where a value takes no part
    comm : MPI communicator

    Returns
    -------
    in spreads; NaN if no value takes part
    """
    part = np.asarray(scale) != 0.0
    apart = (np.asarray(state)[part] - np.asarray(decoded)[part]) / np.asarray(scale)[part]
    total, count = comm.allreduce(np.array([float(apart @ apart), float(part.sum())]))
    return float(np.sqrt(total / count)) if count else float("nan")


def round_trip(decoder: Decoder, state: np.ndarray, code: np.ndarray | None = None) -> float:
    """`round_trip_error` of a state by a decoder: an encode and a decode. Collective.

    Parameters
    ----------
    decoder : Decoder
    state : (n_local,) x less the training mean, in the state's units
    code : (m,) f of it, if it is known
    """
    code = decoder.encode(state) if code is None else code
    return round_trip_error(state, decoder.apply(code), decoder.scale, decoder.comm)


def observation_cost(
    operator: ObservationOperator, error: ObservationError, departure: np.ndarray, comm: MPI.Comm
) -> float:
    """J_o = ½ ‖v‖²_{R⁻¹} of departures. Collective.

    departure : (M_local,) y − H x, in the observations' units, one for each of the operator's rows
    """
    rows, problem = operator.rows, None
    if np.shape(departure) != (rows.stop - rows.start,):
        problem = f"departures of shape {np.shape(departure)}, expected ({rows.stop - rows.start},) like H's rows"
    refuse_together(problem, comm)
    whitened = error.whiten(departure)
    return 0.5 * comm.allreduce(float(whitened @ whitened))


def check_background(limits: TrustLimits, round_trip_value: float, code: np.ndarray) -> Trust:
    """The two checks that can be made before an analysis.

    Parameters
    ----------
    limits : TrustLimits
    round_trip_value : `round_trip_error` of the background
    code : (m,) f of the background less the training mean
    """
    distance = float(limits.cloud.distance(code))
    return Trust(
        (TrustCheck(ROUND_TRIP, round_trip_value, limits.round_trip), TrustCheck(DISTANCE, distance, limits.distance))
    )


def check_cost(limits: TrustLimits, before: float, after: float) -> Trust:
    """The check of an analysis.

    Parameters
    ----------
    limits : TrustLimits
    before : J_o of the background, ½ ‖d‖²_{R⁻¹}; not that of w = 0, which the paper's form gives an increment
    after : J_o of the analysis
    """
    if before > 0.0:
        ratio = after / before
    else:
        # no observations, or a background that fits them exactly: anything else is worse
        ratio = 0.0 if after == 0.0 else float("inf")
    return Trust((TrustCheck(COST, float(ratio), limits.cost_ratio),))
