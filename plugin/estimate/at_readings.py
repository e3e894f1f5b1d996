"""Members at the readings of the whole period, each at its own time, and what an update is made of."""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from coupling.simulation.simulation import Simulation
from da.ensemble.esmda import weaker
from da.ensemble.etkf import TransformUpdate, etkf
from da.observation.observations import Observations
from plugin.case.observations import ObservationSection
from plugin.ensemble.forecasts import MemberForecast
from plugin.ensemble.readings import Compared, analysed_readings
from plugin.state.fgat import MODES, FirstGuess, first_guess
from plugin.state.transfer import Transfer
from plugin.window.observations.selection import ObservationSettings


def mode_in_time(settings: ObservationSection) -> str:
    """How readings are compared with the dumps: as the case has it, otherwise between the two about them."""
    return settings.window if settings.window in MODES else "interpolate"


def members_at_readings(
    forecasts: Sequence[MemberForecast],
    readings: Observations,
    mode: str,
    slack: float,
    transfer: Transfer,
    simulation: Simulation,
    comm: MPI.Comm,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The members' values at readings. Collective; one dump is in memory at a time.

    Parameters
    ----------
    forecasts : of K members over the whole period
    readings : Observations
    mode : "nearest" or "interpolate", in time
    slack : times this near are the same [s]
    simulation : Simulation of the forecasts

    Returns
    -------
    values : (M, K) in the readings' units, zero where there is none; complete on every rank
    inside : (M,) bool, false where a sensor is outside a member's air
    in_time : (M,) bool, false where a member's dumps do not reach
    """
    guesses: list[FirstGuess] = []
    for forecast in forecasts:
        with simulation.open_series(forecast.folder, comm) as dumps:
            guesses.append(first_guess(dumps, transfer, readings, mode, slack))
    values = np.stack([np.nan_to_num(guess.value) for guess in guesses], axis=1)
    inside = np.all([guess.inside for guess in guesses], axis=0)
    return values, inside, np.all([guess.in_time for guess in guesses], axis=0)


def update_by(
    compared: Compared,
    fields: Sequence[str] | None,
    factor: float,
    settings: ObservationSettings,
    transfer: Transfer,
    comm: MPI.Comm,
) -> TransformUpdate | None:
    """One of the updates, by the readings of some fields only, None for all. None where there are no such readings.

    Collective. factor : α of this update, on R
    """
    compared = compared if fields is None else compared.of_fields(fields)
    if len(compared.used) == 0:
        return None
    names = [v.name for v in transfer.variables]
    return etkf(weaker(analysed_readings(compared, settings, transfer.grid, names), factor), comm)
