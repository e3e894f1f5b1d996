"""Errors of analyses in the space of TSVD's modes, for many truncations and σ_o² at once, without their fields.

With V = U Σ, modes in order, and weights w of the leading τ, x_a = V_τ w. As the columns of U are orthonormal,

    ‖x_a − x_t‖² = ‖x_t‖² − 2 wᵀ b + ‖Σ_τ w‖²,    b = V_τᵀ x_t

so that a state's error needs V at the sensors alone. w is the minimum of 3D-Var with B = V_τ V_τᵀ, in the smaller of
the two spaces: V_oᵀ (V_o V_oᵀ + σ_o² I)⁻¹ d of M readings, or (V_oᵀ V_o + σ_o² I)⁻¹ V_oᵀ d of τ modes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from plugin.case.experiment import ProtocolSection
from plugin.experiment.states import StandardisedStates, noise
from plugin.experiment.systems import tsvd


@dataclass(frozen=True)
class Truncating:
    """A setting: the number of leading modes, and σ_o² in standard deviations squared."""

    modes: int
    variance: float


class ModeErrors:
    """Errors of the test states.

    states : StandardisedStates; the training states give the modes, divided by √(S − 1)
    protocol : for noise and `every`
    at : numbers of the values that are scored where a variable has an anamorphosis, whose errors need the fields; None
        for all that take part
    """

    def __init__(self, states: StandardisedStates, protocol: ProtocolSection, at: np.ndarray | None = None) -> None:
        self.states, self.protocol, self.numbers = states, protocol, states.test(protocol.every)
        modes = tsvd(states, protocol.model_copy(update={"unbiased": True}), 1.0)
        assert modes.singular_values is not None  # TSVD's modes have them
        self.modes, self.n_modes = modes.vectors, modes.n_modes
        self.sigma = modes.singular_values[: modes.n_modes]
        self.at = states.used if at is None else at
        truth = states.rows[self.numbers].astype(np.float64).T
        self.size = np.sum(truth**2, axis=0)
        self.products = self.modes.T @ truth

    def errors(
        self, count: int, seed: int, settings: Sequence[Truncating], noise_std: float = 0.0
    ) -> dict[Truncating, np.ndarray]:
        """{setting: (T,) ‖x_a − x_t‖ / ‖x_t‖}, of readings of M random values.

        count : M; seed : of their places and noise; noise_std : of readings, in standard deviations of the values
        """
        sensors = self.states.sensors(count, seed)
        noisy = self.protocol.model_copy(update={"noise": noise_std})
        drawn = [noise(noisy, count, seed, number) for number in self.numbers]
        readings = self.states.readings(self.numbers, sensors, np.array(drawn)).T
        observed = self.modes[sensors]
        found = {}
        for tau in dict.fromkeys(of.modes for of in settings):
            few = count <= tau
            own = observed[:, :tau]
            gram = own @ own.T if few else own.T @ own
            for of in (of for of in settings if of.modes == tau):
                regular = gram.copy()
                regular[np.diag_indices_from(regular)] += of.variance
                factor = cho_factor(regular, lower=True, overwrite_a=True)
                weights = own.T @ cho_solve(factor, readings) if few else cho_solve(factor, own.T @ readings)
                found[of] = self._relative(weights)
        return found

    def _relative(self, weights: np.ndarray) -> np.ndarray:
        """(T,) errors from the (τ, T) weights of the leading modes."""
        tau = len(weights)
        if self.states.plain is not None:
            return self.states.errors(self.modes[self.at, :tau] @ weights, self.numbers, self.at)
        gained = 2.0 * np.sum(weights * self.products[:tau], axis=0)
        squared = self.size - gained + np.sum((self.sigma[:tau, None] * weights) ** 2, axis=0)
        return np.sqrt(np.maximum(squared, 0.0) / self.size)
