"""Observations as an observation encoder f° takes them, and R_l, the errors of its codes (Mack et al. 2020).

f° maps standardised observations, ỹ = (y − H x̄) / H s, to codes; x̄ and s are the mean and the scale of its training.
With y = H x_b + d this is ỹ = (d + H (x_b − x̄)) / H s, where d may be any innovation, also that of a superobservation
or of the first guess at appropriate time. The latent innovation is

    as the paper   d_l = f°(d / H s)
    centred        d_l = f°(ỹ) − f°(ỹ_b),   ỹ_b = H (x_b − x̄) / H s

Where the sensors carry no information f° returns the training's mean. The difference f°(ỹ) − f(x_b − x̄) would take
that for information and pull a good background towards the mean; so the background is observed by the same sensors.
(City's pressure, ten sensors, a forecast of 2 s with an error of 0.72: 0.14 instead of 0.24, TSVD 0.13.)

R_l is f°'s own error: states whose codes are known are observed with the same H and R, and encoded. It is diagonal: a
full covariance from some tens of states made analyses worse.
"""

from functools import partial

import numpy as np

from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator, modes_operator

LEAST_PART = 0.5  # an observation with less of its weight on values that have a scale is not used
_SEED = 21


def standardised(
    operator: ObservationOperator, scale: np.ndarray, innovation: np.ndarray, background: np.ndarray | None = None
) -> np.ndarray:
    """The input of f° for a latent innovation. Collective.

    Parameters
    ----------
    operator : H, linear
    scale : (n_local,) s in the state's units, zero where a value takes no part
    innovation : (M_local,) d, in the observations' units
    background : (n_local,) x_b − x̄; None for the paper's form

    Returns
    -------
    (M_local, 2) ỹ and ỹ_b, or (M_local, 1) d / H s; NaN where too little of a sensor's weight takes part
    """
    columns = [innovation]
    if background is not None:
        equivalent = operator.observe(background)
        columns = [innovation + equivalent, equivalent]
    return np.stack(columns, axis=1) / scale_at(operator, scale)[:, None]


def latent_innovation(codes: np.ndarray) -> np.ndarray:
    """d_l of the codes of what `standardised` gives: (m, 1) or (m, 2) → (m,)."""
    return codes[:, 0] if codes.shape[1] == 1 else codes[:, 0] - codes[:, 1]


def scale_at(operator: ObservationOperator, scale: np.ndarray) -> np.ndarray:
    """H s of this rank's rows: (M_local,), NaN where too little of a sensor's weight takes part. Collective."""
    part = operator.observe((scale != 0.0).astype(np.float64))
    return np.where(part >= LEAST_PART, operator.observe(scale), np.nan)


def noisy_readings(
    operator: ObservationOperator, error: ObservationError, scale: np.ndarray, states: np.ndarray, number: np.ndarray
) -> np.ndarray:
    """Standardised observations of known states with errors drawn from R; the same on any ranks. Collective.

    Parameters
    ----------
    operator : H, linear
    error : ObservationError, R
    scale : (n_local,) s
    states : (n_local, k) in standard deviations
    number : (M_local,) identity of each row, whichever rank has it: the seed of its errors

    Returns
    -------
    (M_local, k), with rows of NaN as in `standardised`
    """
    rows = [np.random.default_rng([_SEED, n]).standard_normal(states.shape[1]) for n in number]
    drawn = np.array(rows).reshape(len(number), states.shape[1])
    within = [partial(np.matmul, _symmetric_root(block.factor)) for block in error.blocks]
    noise = error.by_blocks(drawn, lambda values: error.std_local[:, None] * values, within)
    return (modes_operator(operator).observe_modes(states, scale) + noise) / scale_at(operator, scale)[:, None]


def _symmetric_root(factor: np.ndarray) -> np.ndarray:
    """The symmetric R^{1/2} of R = L Lᵀ, which does not depend on the order of the rows."""
    left, sigma, _ = np.linalg.svd(factor)
    return (left * sigma) @ left.T


def code_variance(encoded: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Diagonal of R_l from what f° made of observations of states with known codes, (m, k) both.

    Each is a mean over the states and one more with the mean of all variances, so that none is zero.

    Returns
    -------
    (m,)
    """
    square = (np.asarray(encoded, dtype=np.float64) - codes) ** 2
    count = square.shape[1]
    return (square.sum(axis=1) + square.mean()) / (count + 1)
