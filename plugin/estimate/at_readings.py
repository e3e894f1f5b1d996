"""How members are compared with the readings of the whole period, and what an update is made of."""

from collections.abc import Sequence

from mpi4py import MPI

from da.ensemble.esmda import weaker
from da.ensemble.etkf import TransformUpdate, etkf
from plugin.case.observations import ObservationSection
from plugin.ensemble.readings import Compared, analysed_readings
from plugin.state.fgat import MODES
from plugin.state.transfer import Transfer
from plugin.window.observations.selection import ObservationSettings


def mode_in_time(settings: ObservationSection) -> str:
    """How readings are compared with the dumps: as the case has it, otherwise between the two about them."""
    return settings.window if settings.window in MODES else "interpolate"


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
