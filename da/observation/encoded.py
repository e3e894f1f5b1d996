"""Readings as an observation encoder f° takes them, and R_l, the errors of its codes (Mack et al. 2020).

f° maps readings in standard deviations, ỹ = (y − H x̄) / H s, to codes; x̄ and s are mean and scale of its training.
With y = H x_b + d this is ỹ = (d + H (x_b − x̄)) / H s, where d may be any innovation: of an average of readings, or
of the model at a reading's own time. The latent innovation is

    as the paper   d_l = f°(d / H s)
    centred        d_l = f°(ỹ) − f°(ỹ_b),   ỹ_b = H (x_b − x̄) / H s

Of what few sensors tell nothing f° gives the training's mean. In f°(ỹ) − f(x_b − x̄) that would be taken for
knowledge, and draw a good background to that mean; so the background is seen by the same sensors. (City's pressure,
ten sensors, a forecast of 2 s with an error of 0.72: 0.14 in place of 0.24, TSVD 0.13.)

R_l is f°'s own error: states of known code are observed with the very H and R, and encoded. Diagonal: a full
covariance of some tens of states made analyses worse.
"""

import numpy as np

from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator, modes_operator

LEAST_PART = 0.5  # of a reading's weights lies on values that have a scale, or it tells nothing of them
_SEED = 21


def standardised(
    operator: ObservationOperator, scale: np.ndarray, innovation: np.ndarray, background: np.ndarray | None = None
) -> np.ndarray:
    """What f° is given for a latent innovation. Collective.

    Parameters
    ----------
    operator : H, linear
    scale : (n_local,) s in the state's units, zero where a value takes no part
    innovation : (M_local,) d, in the readings' units
    background : (n_local,) x_b − x̄; None for the paper's form

    Returns
    -------
    (M_local, 2) ỹ and ỹ_b, or (M_local, 1) d / H s; NaN where a sensor sees too little that takes part
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
    """H s of this rank's rows: (M_local,), NaN where a sensor sees too little that takes part. Collective."""
    part = operator.observe((scale != 0.0).astype(np.float64))
    return np.where(part >= LEAST_PART, operator.observe(scale), np.nan)


def noisy_readings(
    operator: ObservationOperator, error: ObservationError, scale: np.ndarray, states: np.ndarray, number: np.ndarray
) -> np.ndarray:
    """Readings of known states with errors drawn from R, in standard deviations; the same on any ranks. Collective.

    Parameters
    ----------
    operator : H, linear
    error : ObservationError, R
    scale : (n_local,) s
    states : (n_local, k) in standard deviations
    number : (M_local,) by which rows are known, however they are dealt to ranks

    Returns
    -------
    (M_local, k), rows of NaN as `standardised` has them
    """
    rows = [np.random.default_rng([_SEED, n]).standard_normal(states.shape[1]) for n in number]
    drawn = np.array(rows).reshape(len(number), states.shape[1])
    within = [_symmetric_root(block.factor).__matmul__ for block in error.blocks]
    noise = error.by_blocks(drawn, lambda values: error.std_local[:, None] * values, within)
    return (modes_operator(operator).observe_modes(states, scale) + noise) / scale_at(operator, scale)[:, None]


def _symmetric_root(factor: np.ndarray) -> np.ndarray:
    """R^{1/2} of R = L Lᵀ, which does not hang on the order of rows."""
    left, sigma, _ = np.linalg.svd(factor)
    return (left * sigma) @ left.T


def code_variance(found: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Diagonal of R_l from codes that f° found for known ones, (m, k) both.

    Each is a mean over the states, and as if one more of them had the mean of all: none is zero.

    Returns
    -------
    (m,)
    """
    square = (np.asarray(found, dtype=np.float64) - codes) ** 2
    count = square.shape[1]
    return (square.sum(axis=1) + square.mean()) / (count + 1)
