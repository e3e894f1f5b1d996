"""One analysis: a forecast and its readings in, changed fields and what is to be told of them out."""

import csv
from dataclasses import dataclass, field, replace

import numpy as np

from coupling.common.files import whole_file
from coupling.geometry.mesh import Field
from da.analysis import Analysis, analyse, prepare
from da.minimisation.hessian import ObservationHessian
from da.minimisation.huber import Huber
from da.minimisation.minimise import METHODS
from da.observation.bias import BiasedOperator, BiasedTransform
from da.observation.error import instrument_std
from da.observation.observations import Observations
from da.observation.quality import Flag
from da.outer_loops import analyse_outer
from plugin.window.latent import LatentAnalysis, analyse_latent
from plugin.window.observation_encoding import row_positions
from plugin.window.observation_operator import (
    ReadingOperator,
    background_std,
    by_reading,
    error_covariance,
    make_operator,
)
from plugin.window.quality_control import control_quality, superobservations
from plugin.window.reading_selection import ObservationSettings

TABLE = ("time", "x", "y", "z", "station", "variable", "value", "error", "innovation", "residual", "used")


@dataclass(frozen=True)
class AnalysisInputs:
    """What an analysis was made of, for what is to be told of it later.

    readings : Observations that were used, their errors as they counted
    numbers : (number of readings,) each one's number among all of the window
    reading_operator : ReadingOperator of them
    transform, operator, error : U, H and R of the analysis, with biases if there are
    innovation : (M_local,) of H's rows, in the readings' units
    huber : Huber, or None
    hessian : ObservationHessian of them; None where there are outer loops, or Huber's norm
    """

    readings: Observations
    numbers: np.ndarray
    reading_operator: ReadingOperator
    transform: object
    operator: object
    error: object
    innovation: np.ndarray
    huber: Huber | None
    hessian: ObservationHessian | None


@dataclass(frozen=True)
class WindowAnalysis:
    """What an analysis leaves.

    changes : {field name: Field}, background plus increment; none where no reading is used
    analysis : Analysis, or None
    table : one dict per reading, its keys those of TABLE: times in s, places in m, the rest in the variable's
        units; innovation and residual are None outside the model's air, and where there was no analysis the residual;
        `used` says why a reading was left out
    biases : {"station variable": bias, in the variable's units}, with those that came in; none if not asked for
    inputs : AnalysisInputs; None where there is none
    network : what came of a network's analysis; None where the case has none, or no reading is used
    gates : what gates found and did after it (:mod:`plugin.window.gates.apply`), by their names; none before
    """

    changes: dict[str, Field]
    analysis: Analysis | None
    table: list[dict]
    biases: dict[str, float] = field(default_factory=dict)
    inputs: AnalysisInputs | None = None
    network: LatentAnalysis | None = None
    gates: dict = field(default_factory=dict)


def assimilate(background, state, readings, comm, minimiser, treatment=ObservationSettings()):
    """Find the analysis of one state. Collective.

    Parameters
    ----------
    background : Background
    state : State, the forecast
    readings : Observations of its window; there may be none
    comm : MPI communicator
    minimiser : MinimiserSection
    treatment : ObservationSettings of the readings

    Returns
    -------
    WindowAnalysis

    Raises
    ------
    MeshError
        if the state lacks a field, or a reading is of something that is not analysed
    ConfigurationError
        if R is not positive definite, or does not fit the readings
    MinimisationError
        if the minimum is not found
    """
    transfer, of = background.transfer, treatment
    n = len(readings)
    counted = instrument_std(readings.error, readings.instrument, of.error_model.instruments, readings.variable)
    readings = replace(readings, error=counted)
    at_readings = transfer.at_readings(state, readings.position, readings.variable)
    reading_operator, model = make_operator(transfer, at_readings, readings)
    inside, early = reading_operator.inside, []
    if of.first_guess is not None:
        model, inside = np.where(of.first_guess.in_time, of.first_guess.value, 0.0), inside & of.first_guess.inside
        early = [(Flag.NO_STATE, ~of.first_guess.in_time)]
    station, stations, prior = _stations(readings, of)
    innovation = np.where(inside, readings.value - np.nan_to_num(model) - np.append(prior, 0.0)[station], np.nan)
    flags = control_quality(
        readings,
        of.quality,
        transfer.grid,
        state.time,
        innovation,
        lambda: background_std(background, reading_operator, n, comm),
        [(Flag.OUTSIDE, ~inside), *early, *of.flagged],
        of.withheld,
    )
    used = np.flatnonzero(flags == Flag.USED)
    if len(used) == 0:
        return WindowAnalysis({}, None, _table(readings, innovation, np.full(n, np.nan), flags), dict(of.biases))
    chosen = readings.select(used)
    speeds = ~np.isin(chosen.variable, [v.name for v in transfer.variables])
    means = superobservations(chosen, of.quality.thinning, transfer.grid, speeds, bool(stations))
    seen = reading_operator
    if len(used) < n or means is not None:
        seen, _ = make_operator(transfer, at_readings.select(used), chosen, means)
    if means is not None:
        chosen = replace(chosen, error=means.error[means.number])
    transform, operator = background.transform, seen.operator
    if stations:
        transform = BiasedTransform(transform, _spreads(stations, of.bias), comm)
        operator = BiasedOperator(operator, station[used][seen.reading], len(stations), comm)
    error = error_covariance(chosen, used, of.error_model, seen, n, comm)
    search = {"method": minimiser.method, "max_iterations": minimiser.max_iterations}
    how = {**search, "method": minimiser.method if minimiser.method in METHODS else METHODS[0]}  # TSVD's
    huber = None if of.huber is None else Huber(*np.atleast_1d(of.huber).tolist())
    if huber is not None or not operator.linear:
        how.update(huber=huber, loops=of.outer_loops)
    departure, hessian = seen.mean @ innovation[used], None
    if "loops" in how:
        analysis = analyse_outer(transform, operator, error, departure, comm, **how)
    else:
        hessian = _hessian(background, transform, operator, error, comm)
        transform, operator, error = hessian.transform, hessian.operator, hessian.error
        analysis = analyse(transform, operator, error, departure, comm, hessian=hessian, **how)
    network = None
    if background.latent is not None:
        terms = transfer.to_grid(state), operator, error, departure, comm
        places = row_positions(seen, chosen, transfer.variables)
        network = analyse_latent(background.latent, *terms, first=analysis.increment, places=places, **search)
        if network.analysis is not None:
            analysis, transform, hessian = network.analysis, network.transform, None
    increment, found = analysis.increment, np.zeros(len(stations))
    if stations:
        increment, found = transform.state_increment(increment), transform.bias(analysis.control)
    increments = transfer.to_mesh(state, increment)
    changes = {name: state[name].replaced(state[name].values + dx) for name, dx in increments.items()}
    closer = (
        by_reading(reading_operator, reading_operator.operator.observe(increment), n, comm)
        + np.append(found, 0.0)[station]
    )
    biases = {**of.biases, **{name: float(b) for name, b in zip(stations, prior + found)}}
    table = _table(readings, innovation, innovation - closer, flags)
    made_of = AnalysisInputs(chosen, used, seen, transform, operator, error, departure, huber, hessian)
    return WindowAnalysis(changes, analysis, table, biases, made_of, network)


def _hessian(background, transform, operator, error, comm):
    """What analyses share, of the last one if its sensors and errors are those of now. Collective."""
    content = (*operator.content, *error.content)
    if transform is not background.transform:
        content = (*content, *transform.content)
    return background.hessian.get(content, lambda: prepare(transform, operator, error, comm), comm)


def _stations(readings, treatment):
    """((M,) number of each reading's bias or −1, names of the biases, (K,) what they are so far)."""
    number = np.full(len(readings), -1)
    if treatment.bias is None:
        return number, [], np.empty(0)
    has = np.isin(readings.variable, list(treatment.bias.std)) & (readings.station != "")
    names, number[has] = np.unique(_bias_names(readings.select(has)), return_inverse=True)
    return number, names.tolist(), np.array([treatment.biases.get(name, 0.0) for name in names.tolist()])


def _bias_names(readings):
    return np.char.add(np.char.add(readings.station, " "), readings.variable)


def _spreads(names, settings):
    return np.array([settings.std[name.rpartition(" ")[2]] for name in names])


def _table(readings, innovation, residual, flags):
    rows = []
    for i in range(len(readings)):
        x, y, z = readings.position[i].tolist()
        rows.append(
            {
                "time": float(readings.time[i]),
                "x": x,
                "y": y,
                "z": z,
                "station": str(readings.station[i]),
                "variable": str(readings.variable[i]),
                "value": float(readings.value[i]),
                "error": float(readings.error[i]),
                "innovation": None if np.isnan(innovation[i]) else float(innovation[i]),
                "residual": None if np.isnan(residual[i]) else float(residual[i]),
                "used": "yes" if flags[i] == Flag.USED else f"no: {Flag(flags[i]).text}",
            }
        )
    return rows


def write_table(path, rows):
    """Write an analysis' table as CSV, whole or not at all.

    rows : as `WindowAnalysis.table`; keys beyond TABLE, the same in all rows, become columns after its own
    """
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(dict.fromkeys([*TABLE, *(rows[0] if rows else ())])))
        table.writeheader()
        table.writerows(rows)
