"""The case's sensors as its analyses have them: which readings come together, H, and the R that they ask for."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI
from scipy.sparse import csr_matrix

from coupling.common.collective import on_rank_0
from coupling.geometry.mesh import State
from da.background.localisation import observed_columns
from da.observation.error import ObservationError
from da.observation.matrix_operator import MatrixOperator
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.observations import ANALYSIS_TIME, ObservationSection
from plugin.case.variables import fields_of
from plugin.readings import ReadingsError
from plugin.readings.common import SPEED
from plugin.readings.of_case import readings_of
from plugin.run.drivers import simulation_of
from plugin.state.transfer import Transfer
from plugin.window.observations.innovation import compare_with_background
from plugin.window.observations.operator import error_covariance, make_operator
from plugin.window.observations.quality_control import control_quality, superobservations
from plugin.window.observations.selection import ObservationSettings, belongs_to_window


@dataclass(frozen=True)
class Network:
    """Sensors that report together; all of it is the same on every rank.

    readings : Observations that are used, their errors those of the case without a factor
    mean : (M × number of readings), rows of H from values by reading
    columns : (P,) global numbers of the values of a state that H uses, rising
    weights : (M × P), H
    covariance : (M, M), R without a factor
    field, variable : (M,) names of each row's field and variable
    """

    readings: Observations
    mean: csr_matrix
    columns: np.ndarray
    weights: csr_matrix
    covariance: np.ndarray
    field: np.ndarray
    variable: np.ndarray


def reporting(case: Case, comm: MPI.Comm, said: Callable[[str], None]) -> Observations:
    """The readings of a usual analysis: of all sets of sensors that report together the one that does so most often.

    Of several that do so equally often the largest is taken, of those the earliest. Readings of speeds take no
    part. Collective.

    Raises
    ------
    ConfigurationError, ReadingsError
        as `plugin.readings.of_case.readings_of`; if no reading is left, or none lies in a window of the cycle
    """
    of = case.observations
    assert of is not None  # the command needs it
    readings = on_rank_0(lambda: readings_of(case, said), comm)
    speeds = np.char.endswith(readings.variable, f".{SPEED}")
    if speeds.any():
        said(f"{of.file}: {speeds.sum()} readings of speeds take no part in tuning, because their H is not linear")
    readings = readings.select(~speeds)
    if np.isin(readings.station, of.withheld).all():
        raise ReadingsError(f"{of.file}: no reading of an analysed variable is left to tune with")
    groups = _groups(readings, case, of)
    if not groups:
        raise ReadingsError(f"{of.file}: no reading lies in a window of the cycle; there is nothing to tune with")
    alike: dict[bytes, list[np.ndarray]] = {}
    for numbers in groups:
        some = readings.select(numbers)
        alike.setdefault(f"{some.position.tolist()} {some.variable.tolist()}".encode(), []).append(numbers)
    most = max(alike.values(), key=lambda sets: (len(sets), len(sets[0])))
    said(f"{len(most[0])} readings, as in {len(most)} of {len(groups)} analyses")
    return readings.select(most[0])


def _groups(readings: Observations, case: Case, of: ObservationSection) -> list[np.ndarray]:
    """Numbers of the readings of each analysis."""
    if case.cycle is not None and case.model is not None:
        restart, window = simulation_of(case.model).open_restart(case.model.start), case.cycle.window
        ends = [restart.time + number * window for number in range(1, case.cycle.windows + 1)]
        half, slack = 0.5 * restart.timestep, 1e-6 * window
    else:
        if of.window != ANALYSIS_TIME:
            raise ConfigurationError(
                f"observations.window: found {of.window}; without the section cycle there are no windows to tune for, "
                f"expected {ANALYSIS_TIME}"
            )
        ends, window, half, slack = np.unique(readings.time).tolist(), 0.0, 0.0, 0.0
    groups = [np.flatnonzero(belongs_to_window(readings, end - window, end, of, half, slack)) for end in ends]
    return [numbers for numbers in groups if len(numbers)]


def make_network(case: Case, readings: Observations, state: State, transfer: Transfer, comm: MPI.Comm) -> Network:
    """H and R of readings, as an analysis of the case makes them. Collective.

    state : State, any of the snapshots; its values do not matter

    Raises
    ------
    ReadingsError
        if no reading lies in the model's air
    ConfigurationError
        if R is not positive definite, or does not fit the readings
    """
    of = case.observations
    assert of is not None
    error_model = of.error_model.model_copy(update={"factor": 1.0})
    # what depends on values, and not on where and when readings are, has nothing to check yet
    quality = of.quality.model_copy(update={"range": {}, "stuck": None, "background": None, "buddy": None})
    innovation = compare_with_background(transfer, state, readings, ObservationSettings(error_model=error_model))
    flags = control_quality(
        innovation.readings, quality, transfer.grid, state.time, innovation.value, lambda: np.empty(0),
        innovation.flagged, of.withheld,
    )  # fmt: skip
    used = np.flatnonzero(flags == Flag.USED)
    if len(used) == 0:
        raise ReadingsError(f"{of.file}: no reading lies inside the model's air; there is nothing to tune with")
    kept = innovation.readings.select(used)
    no_speeds = np.zeros(len(kept), bool)
    means = superobservations(kept, quality.thinning, transfer.grid, no_speeds, of.bias is not None)
    operator, _ = make_operator(transfer, innovation.at_readings.select(used), kept, means)
    if means is not None:
        kept = replace(kept, error=means.error[means.number])
    error = error_covariance(kept, used, error_model, operator, len(readings), comm)
    assert isinstance(operator.operator, MatrixOperator)  # no speed is read
    columns, weights = observed_columns(operator.operator, comm)
    parts = comm.allgather((operator.mean.toarray(), operator.reading))
    mean, first = (np.concatenate(part) for part in zip(*parts, strict=True))
    covariance = _dense(error, comm)
    variable = kept.variable[first]
    return Network(kept, csr_matrix(mean), columns, weights, covariance, fields_of(variable), variable)


def _dense(error: ObservationError, comm: MPI.Comm) -> np.ndarray:
    """(M, M) R on every rank. Collective."""
    covariance = np.diag(np.concatenate(comm.allgather(error.std_local)) ** 2)
    for blocks in comm.allgather([(block.rows, block.factor) for block in error.blocks]):
        for rows, factor in blocks:
            covariance[np.ix_(rows, rows)] = factor @ factor.T
    return covariance
