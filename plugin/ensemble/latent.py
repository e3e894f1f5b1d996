"""An ensemble analysed through a network: members encoded, the ETKF among their codes, decoded.

The checks of a single analysis by a network hold for each member; one that fails gets the ETKF's own analysis.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from coupling.geometry.mesh import State
from da.ensemble.ensemble import EnsembleReadings, mean_of
from da.ensemble.latent import LatentUpdate, latent
from models.decoder import DecoderError
from plugin.ensemble.readings import Compared
from plugin.state.transfer import Transfer, values_at
from plugin.window.background.latent import Latent
from plugin.window.observations.quality_control import superobservations
from plugin.window.observations.selection import ObservationSettings

Observe = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class NetworkUpdate:
    """The update through a network, or the ETKF's own where the network fails altogether.

    update : LatentUpdate
    """

    update: LatentUpdate
    _failed: list[str] = field(default_factory=list, repr=False)

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis: (n_local, N) → (n_local, N). Collective."""
        self._failed.clear()
        try:
            return self.update.state(prior)
        except DecoderError as failure:  # raised on every rank
            self._failed.append(str(failure))
            return self.update.linear.state(prior)

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis: (P, N) → (P, N)."""
        return self.update.parameters(prior)

    def summary(self) -> dict[str, Any]:
        """For the ledger."""
        figures = self.update.summary()
        return figures if not self._failed else {**figures, "decoded": 0, "reason": self._failed[0]}


def network_update(of: Latent, readings: EnsembleReadings, observe: Observe) -> NetworkUpdate:
    """The update of all members through a network. Collective.

    Parameters
    ----------
    of : Latent, the network
    readings : EnsembleReadings
    observe : H of a change of the mean at the analysis time, see `observed_changes`
    """
    return NetworkUpdate(latent(readings, of.decoder, of.mean, of.limits, observe))


def observed_changes(
    state: State,
    column: np.ndarray,
    members: np.ndarray,
    compared: Compared,
    settings: ObservationSettings,
    transfer: Transfer,
) -> Observe:
    """H about the members' mean, for changes on the grid as the mesh gets them. Collective, as is what it returns.

    The mean on the mesh is a member's state with what the mean differs by on the grid; one state is in memory.

    Parameters
    ----------
    state : State of one member
    column : (n_local,) the same on the grid
    members : (n_local, N) on the grid
    compared, settings : the readings, and how they are treated
    transfer : Transfer

    Returns
    -------
    function of (n_local,) a change, which returns what it changes at the readings that are used, or at their averages
    """
    readings = compared.readings.select(compared.used)
    speeds = ~np.isin(readings.variable, [v.name for v in transfer.variables])
    means = superobservations(readings, settings.quality.thinning, transfer.grid, speeds, False)
    about = _changed(state, mean_of(members) - column, transfer)

    def values(of: State) -> np.ndarray:
        found = values_at(of, transfer, readings.position, readings.variable)[0]
        return found if means is None else means.average @ found

    before = values(about)
    return lambda change: values(_changed(about, change, transfer)) - before


def _changed(state: State, change: np.ndarray, transfer: Transfer) -> State:
    """A state plus a change of the grid. Collective."""
    return State(state.time, {**state.fields, **transfer.added(state, change)})
