"""An ensemble in a network's latent space: the ETKF among the members' codes, decoded.

A weighted mean of plumes at several places is several faint plumes; decoded from the mean of their codes it may be one
plume between them. The weights of an ETKF do not depend on what they multiply, so they hold for codes as they are:

    z_i = f(x_i − x̄),   z_a = z̄ + Z (w + A^{-1/2}),   x_a,i = x_i + g(z_a,i) − g(z_i)

What the network cannot reproduce of a member stays as it is, and without a change of the code nothing changes. Through
a linear network whose range has the members, it is the ETKF itself. The codes are those of Mack et al. 2020,
Attention-based convolutional autoencoders for 3D-variational data assimilation.

A network may be wrong with confidence. A member whose checks fail (`da.diagnostics.trust`: the round trip of its
forecast, the distance of its codes before and after from those of training) gets the ETKF's own analysis; so do all of
them, if the decoded mean fits the readings no better than the forecast's. What the decoder raises is the caller's.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from da.background.decoder import Decoder
from da.diagnostics.trust import (
    DISTANCE,
    Trust,
    TrustCheck,
    TrustLimits,
    check_background,
    check_cost,
    round_trip_error,
)
from da.ensemble.ensemble import EnsembleReadings, mean_of
from da.ensemble.etkf import TransformUpdate, etkf


@dataclass(frozen=True)
class LatentUpdate:
    """The ETKF's weights among codes.

    linear : TransformUpdate, the ETKF's own
    decoder : Decoder
    mean : (n_local,) x̄ of the training, in the state's units
    limits : TrustLimits
    cost : J_o of (n_local,) a change of the mean at the analysis time, ½ ‖d − H δx‖²; collective
    """

    linear: TransformUpdate
    decoder: Decoder
    mean: np.ndarray
    limits: TrustLimits
    cost: Callable[[np.ndarray], float]
    _trust: list[Trust] = field(default_factory=list, repr=False)
    _whole: list[Trust] = field(default_factory=list, repr=False)

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis: (n_local, N) → (n_local, N), in the decoder's order of rows. Collective."""
        posterior = self.linear.state(prior)
        if self.linear.figures["readings"] == 0:
            return posterior
        states = prior - self.mean[:, None]
        codes = self.decoder.encode(states)
        analysed = self.linear.parameters(codes)
        self._trust.clear()
        self._whole.clear()
        decoded = np.array(posterior)
        for member, state in enumerate(states.T):
            change, trust = self._change(state, codes[:, member], analysed[:, member])
            self._trust.append(trust)
            if trust.trusted:
                decoded[:, member] = prior[:, member] + change
        if not any(trust.trusted for trust in self._trust):
            return posterior
        nothing = np.zeros(len(prior))
        after = self.cost(mean_of(decoded) - mean_of(prior))
        self._whole.append(check_cost(self.limits, self.cost(nothing), after))
        return decoded if self._whole[0].trusted else posterior

    def _change(self, state: np.ndarray, code: np.ndarray, analysed: np.ndarray) -> tuple[np.ndarray, Trust]:
        """(n_local,) change of a member, and its checks. Collective."""
        before = self.decoder.apply(code)
        trip = round_trip_error(state, before, self.decoder.scale, self.decoder.comm)
        trust = check_background(self.limits, trip, code)
        distance = float(self.limits.cloud.distance(analysed))
        trust += Trust((TrustCheck(f"{DISTANCE} of the analysis", distance, self.limits.distance),))
        return self.decoder.apply(analysed) - before, trust

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis, as the ETKF's: (P, N) → (P, N)."""
        return self.linear.parameters(prior)

    def summary(self) -> dict[str, Any]:
        """For the ledger: the ETKF's figures; after `state` the members decoded, and why the first other was not."""
        figures = {**self.linear.summary(), "method": "latent"}
        failed = [number for number, trust in enumerate(self._trust) if not trust.trusted]
        refused = bool(self._whole) and not self._whole[0].trusted
        figures["decoded"] = 0 if refused else len(self._trust) - len(failed)
        if refused:
            figures["reason"] = self._whole[0].reason
        elif failed:
            figures["reason"] = f"member {failed[0] + 1}: {self._trust[failed[0]].reason}"
        return figures


def latent(
    readings: EnsembleReadings,
    decoder: Decoder,
    mean: np.ndarray,
    limits: TrustLimits,
    observe: Callable[[np.ndarray], np.ndarray],
) -> LatentUpdate:
    """The update of all members through a network. Collective.

    Parameters
    ----------
    readings : EnsembleReadings
    decoder : Decoder
    mean : (n_local,) x̄ of the states that the network was trained with, in the state's units
    limits : TrustLimits of the network
    observe : H of a change of the state at the analysis time, (n_local,) → (M,) complete on every rank; collective

    Returns
    -------
    LatentUpdate
    """
    comm = decoder.comm

    def cost(change: np.ndarray) -> float:
        residual = readings.error.whiten(readings.innovation - observe(change))
        return 0.5 * float(residual @ residual)

    return LatentUpdate(etkf(readings, comm), decoder, mean, limits, cost)
