"""The background's modes beside the members, for hybrid analyses: U of earlier states, and H U at the readings."""

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import State
from da.background.linear_transform import LinearTransform
from da.ensemble.hybrid import StaticErrors
from plugin.ensemble.readings import Compared
from plugin.state.transfer import Transfer
from plugin.window.observations.operator import make_operator
from plugin.window.observations.quality_control import superobservations
from plugin.window.observations.selection import ObservationSettings


def static_errors(
    transform: LinearTransform,
    state: State,
    compared: Compared,
    settings: ObservationSettings,
    transfer: Transfer,
    comm: MPI.Comm,
) -> StaticErrors:
    """Static errors at the readings that an analysis uses, or at their averages. Collective.

    Parameters
    ----------
    transform : U of the background's modes
    state : State of a member, whose mesh H is of, and about which it is linearised
    compared, settings : the readings, and how they are treated
    transfer : Transfer
    comm : MPI communicator
    """
    readings = compared.readings.select(compared.used)
    speeds = ~np.isin(readings.variable, [v.name for v in transfer.variables])
    means = superobservations(readings, settings.quality.thinning, transfer.grid, speeds, False)
    at_readings = transfer.at_readings(state, readings.position, readings.variable)
    reading_operator, _ = make_operator(transfer, at_readings, readings, means)
    operator = reading_operator.operator
    linear = operator if operator.linear else operator.linearised(np.zeros(transfer.n_local))
    rows = transform.operator_product(linear)
    number = np.arange(len(readings)) if means is None else means.number
    observed = np.zeros((len(readings) if means is None else len(means.error), transform.n_control))
    for of, values in comm.allgather((reading_operator.reading, rows)):
        observed[number[of]] = values
    return StaticErrors(transform, observed)
