"""`bireduced`: the analysis made in latent space alone, and decoded once (Mack et al. 2020).

    J(w) = ½ a wᵀw + ½ ‖d_l − V_l w‖²_{R_l⁻¹},   δx = g(V_l w)

d_l = f(d) where the observations cover the grid; an encoder of sparse observations f° gives it to
`observation_encoded`. J is a quadratic form in a few hundred numbers, so its minimum is known in closed form:

    prepare   once for R_l: s² m FLOPs and a Cholesky factor of min(s, m)² numbers
    online    one encode, 4 s m + 2 min(s, m)² FLOPs, one decode of V_l w
    parallel  the small solve on rank 0, s numbers broadcast; f and g as in `models.decoder`

The centred form (`da.background.latent`) is d_l = f(x_b + d) − f(x_b), δx = g(z_b + V_l w) − g(z_b).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.linalg import cho_factor, cho_solve

from coupling.common.collective import refuse_together
from da.analysis import Analysis, statistics
from da.background.latent import DecodedTransform, LatentModes
from da.minimisation.minimise import Iteration
from da.observation.correlated_error import BlockError, given_error
from da.observation.diagonal_error import DiagonalError
from da.observation.error import ObservationError

REASON = "CLOSED_FORM"


def latent_error(variance: float | np.ndarray, n_latent: int) -> DiagonalError | BlockError:
    """R_l, the covariance of the errors of d_l.

    Parameters
    ----------
    variance : σ_o² for σ_o² I, as in the paper; (m,) variances; or an (m, m) covariance
    n_latent : m

    Returns
    -------
    ObservationError for arrays of m rows, the same on every rank

    Raises
    ------
    ValueError
        if a variance is not positive and finite, the shape does not fit, or a matrix is no covariance
    """
    variance = np.asarray(variance, dtype=np.float64)
    if variance.ndim == 2:
        return given_error(_of_shape(variance, (n_latent, n_latent)), slice(0, n_latent), MPI.COMM_SELF)
    variance = np.full(n_latent, variance) if variance.ndim == 0 else _of_shape(variance, (n_latent,))
    bad = variance[~(np.isfinite(variance) & (variance > 0.0))]
    if len(bad):
        raise ValueError(f"latent observation variance {bad[0]:g}, expected a positive number")
    return DiagonalError(np.sqrt(variance))


def _of_shape(variance: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if variance.shape != shape:
        raise ValueError(f"latent observation covariance of shape {variance.shape}, expected {shape}")
    return variance


@dataclass(frozen=True)
class LatentMinimum:
    """The closed minimum for latent modes and R_l, to be used for any number of analyses. Made by `latent_minimum`.

    modes : LatentModes
    error : R_l, of `latent_error`
    comm : MPI communicator
    background_weight : a
    whitened : (m, s) G = R_l^{-1/2} V_l
    factor : on rank 0 the Cholesky factor of a I + GᵀG or a I + G Gᵀ, whichever is smaller, as `cho_solve` takes it;
        None elsewhere
    """

    modes: LatentModes
    error: ObservationError
    comm: MPI.Comm
    background_weight: float
    whitened: np.ndarray
    factor: tuple[np.ndarray, bool] | None

    def control(self, latent_innovation: np.ndarray) -> np.ndarray:
        """w of least cost: (m,) d_l → (s,), the same on every rank. Collective.

        w = (a I + GᵀG)⁻¹ Gᵀ d' = Gᵀ (a I + G Gᵀ)⁻¹ d', d' = R_l^{-1/2} d_l
        """
        control = None
        if self.factor is not None:
            m, s = self.whitened.shape
            departure = self.error.whiten(latent_innovation)
            if s <= m:
                control = cho_solve(self.factor, self.whitened.T @ departure)
            else:
                control = self.whitened.T @ cho_solve(self.factor, departure)
        return self.comm.bcast(control)

    def step(self, number: int, latent_innovation: np.ndarray, control: np.ndarray) -> Iteration:
        """J, its parts and ‖∇J‖ at a control, as an Iteration."""
        departure = self.error.whiten(latent_innovation) - self.whitened @ control
        background = 0.5 * self.background_weight * float(control @ control)
        observation = 0.5 * float(departure @ departure)
        slope = self.background_weight * control - self.whitened.T @ departure
        return Iteration(number, background + observation, background, observation, float(np.linalg.norm(slope)))


def latent_minimum(
    modes: LatentModes, error: ObservationError, comm: MPI.Comm, background_weight: float = 1.0
) -> LatentMinimum:
    """Factorise the latent Hessian once for many analyses; arguments are the fields of `LatentMinimum`."""
    whitened = error.whiten(modes.vectors)
    factor = None
    if comm.rank == 0:
        m, s = whitened.shape
        gram = whitened.T @ whitened if s <= m else whitened @ whitened.T
        gram[np.diag_indices_from(gram)] += background_weight
        factor = cho_factor(gram, lower=True, overwrite_a=True)
    return LatentMinimum(modes, error, comm, background_weight, whitened, factor)


def bireduced(
    transform: DecodedTransform,
    innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    latent_variance: float | np.ndarray = 0.05,
    background_weight: float = 1.0,
    minimum: LatentMinimum | None = None,
) -> Analysis:
    """The analysis of observations that cover the grid, exactly as in the paper. Collective.

    Parameters
    ----------
    transform : DecodedTransform; paper's form or centred
    innovation : (n_local,) d = y − x_b at each value of the state, in its units; not read where the scale is zero
    comm : MPI communicator
    latent_variance : R_l as `latent_error` takes it, of standardised codes; the paper's σ_o² is 0.05
    background_weight : a; 0.1 in the paper
    minimum : LatentMinimum of the same modes, whose R_l and a are used then; None makes one

    Returns
    -------
    Analysis. Its statistics are those of d and d − δx over the values with a scale; its trace and χ² are those of the
    cost in latent space, χ² = 2 J_o(w) / m

    Raises
    ------
    ValueError
        on every rank, if the innovation does not fit or is not finite, or as `latent_error`
    """
    innovation = np.asarray(innovation, dtype=np.float64)
    takes_part = transform.decoder.scale != 0.0
    refuse_together(_problem(innovation, takes_part), comm)
    began = time.perf_counter()
    code = transform.encode_increment(innovation)
    reported = ReportedInnovation(innovation[takes_part], lambda increment: increment[takes_part])
    return observation_encoded(
        transform,
        code,
        comm,
        latent_variance=latent_variance,
        background_weight=background_weight,
        minimum=minimum,
        reported=reported,
        seconds_before=time.perf_counter() - began,
    )


def _problem(innovation: np.ndarray, takes_part: np.ndarray) -> str | None:
    if innovation.shape != takes_part.shape:
        return f"innovation of shape {innovation.shape}, expected {takes_part.shape}: a value for each row of the state"
    if not np.isfinite(innovation[takes_part]).all():
        return "innovation holds a NaN or an infinity; bireduced needs an observation of each value of the grid"
    return None


@dataclass(frozen=True)
class ReportedInnovation:
    """Observations whose statistics an analysis reports, in place of those of the latent innovation.

    innovation : (M_local,) y − H x_b, in the observations' units
    observe : H, (n_local,) increment → (M_local,)
    """

    innovation: np.ndarray
    observe: Callable[[np.ndarray], np.ndarray]


def observation_encoded(
    transform: DecodedTransform,
    latent_innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    latent_variance: float | np.ndarray = 0.05,
    background_weight: float = 1.0,
    minimum: LatentMinimum | None = None,
    reported: ReportedInnovation | None = None,
    seconds_before: float = 0.0,
) -> Analysis:
    """The analysis of a latent innovation from an observation encoder f° (Mack et al. 2020). Collective.

    Parameters
    ----------
    transform : DecodedTransform
    latent_innovation : (m,) d_l, the same on every rank; see `da.observation.encoded`
    comm : MPI communicator
    latent_variance, background_weight, minimum : as in `bireduced`
    reported : ReportedInnovation; None reports the statistics of d_l itself
    seconds_before : time already taken for d_l [s], counted as part of "prepare"

    Returns
    -------
    Analysis, trace and χ² as in `bireduced`

    Raises
    ------
    ValueError
        if d_l does not fit the modes or is not finite, what was made before is of other modes, or as `latent_error`
    """
    began = time.perf_counter()
    modes = transform.modes
    code = np.asarray(latent_innovation, dtype=np.float64)
    if code.shape != (modes.n_latent,) or not np.isfinite(code).all():
        raise ValueError(f"latent innovation of shape {code.shape}, expected ({modes.n_latent},) finite numbers")
    if minimum is None:
        error = latent_error(latent_variance, modes.n_latent)
        minimum = latent_minimum(modes, error, comm, background_weight)
    elif minimum.modes is not modes:
        raise ValueError("what was prepared is of other latent modes; prepare anew when they change")
    prepared = time.perf_counter()
    control = minimum.control(code)
    trace = minimum.step(0, code, np.zeros(modes.n_modes)), minimum.step(1, code, control)
    minimised = time.perf_counter()
    increment = transform.apply(control, keep=False)
    decoded = time.perf_counter()
    if reported is None:
        # d_l is whole on every rank, and is counted once
        reports = statistics(code, MPI.COMM_SELF), statistics(code - modes.vectors @ control, MPI.COMM_SELF)
    else:
        residual = reported.innovation - reported.observe(increment)
        reports = statistics(reported.innovation, comm), statistics(residual, comm)
    return Analysis(
        control=control,
        increment=increment,
        trace=trace,
        innovation=reports[0],
        residual=reports[1],
        chi_squared=2.0 * trace[1].observation / modes.n_latent,
        reason=REASON,
        iterations=1,
        evaluations=2,
        seconds={
            "prepare": prepared - began + seconds_before,
            "minimise": minimised - prepared,
            "increment": decoded - minimised,
        },
    )
