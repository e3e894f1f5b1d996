"""The analysis of an ensemble: the update by its name, inflation, and the restart of each member."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.faults import reached
from coupling.geometry.mesh import State
from coupling.simulation.parameters import Numbers
from coupling.simulation.simulation import Restart
from da.ensemble.ensemble import EnsembleReadings, EnsembleUpdate
from da.ensemble.etkf import etkf
from da.ensemble.hybrid import StaticErrors
from da.ensemble.inflation import adaptive_factors, inflated, inflated_readings, relaxed_to_prior_spread
from da.observation.observations import Observations
from plugin.case.configuration import CycleCase
from plugin.ensemble.forecasts import MemberForecast
from plugin.ensemble.latent import Observe, network_update
from plugin.ensemble.methods import update_by_name
from plugin.ensemble.parameters import analysed_values
from plugin.ensemble.setting import Setting
from plugin.ensemble.states import forecast_state
from plugin.state.transfer import Transfer, values_at
from plugin.window.assimilate import WindowAnalysis

ReadingsBy = Callable[[tuple[str, ...] | None], EnsembleReadings | None]


@dataclass(frozen=True)
class EnsembleAnalysis:
    """Members after an analysis.

    state : (n_local, N) on the grid
    summary : what the method says of itself; None where no reading is used
    factors : {field: factor of the forecasts' spread}; none where it does not adapt
    parameters : (P, N) unbounded
    update : EnsembleUpdate; None where no reading is used
    """

    state: np.ndarray
    parameters: np.ndarray
    summary: dict[str, Any] | None
    factors: dict[str, float]
    update: EnsembleUpdate | None = None


def analyse(
    case: CycleCase, prior: np.ndarray, parameters: np.ndarray, readings_by: ReadingsBy, before: Mapping[str, float],
    setting: Setting, comm: MPI.Comm, observe: Observe | None = None,
    static: Callable[[], StaticErrors] | None = None,
) -> EnsembleAnalysis:  # fmt: skip
    """The analysis of all members together, with the inflation that the case asks for. Collective.

    Parameters
    ----------
    case : CycleCase with an ensemble
    prior : (n_local, N) forecasts on the grid
    parameters : (P, N) unbounded, of the forecasts
    readings_by : the EnsembleReadings of some fields, None for all; None where there are none
    before : {field: factor of the forecasts' spread} of the last window
    setting : Setting
    comm : MPI communicator
    observe : H of a change of the mean, where the analysis is a network's
    static : function that gives the static errors of a hybrid analysis at all readings
    """
    assert case.ensemble is not None
    inflation, factors = case.ensemble.inflation, dict(before)
    readings = readings_by(None)
    assert readings is not None
    if inflation.adaptive:
        factors = adaptive_factors(readings, before)
        prior = inflated(prior, factor_of_rows(factors, setting.transfer))
        readings = inflated_readings(readings, factors)
    update: EnsembleUpdate
    if setting.latent is not None:
        assert observe is not None
        update = network_update(setting.latent, readings, observe)
    else:
        update = update_by_name(case, readings, setting.transfer, comm, static)
    posterior = update.state(prior)
    if inflation.rtps:
        posterior = relaxed_to_prior_spread(prior, posterior, inflation.rtps)

    def update_by(fields: tuple[str, ...] | None) -> EnsembleUpdate | None:
        if fields is None:
            return update
        part = readings_by(fields)
        return None if part is None else etkf(inflated_readings(part, factors), comm)

    analysed = analysed_values(setting.parameters, parameters, update_by)
    return EnsembleAnalysis(inflated(posterior, inflation.factor), analysed, update.summary(), factors, update)


def factor_of_rows(factors: Mapping[str, float], transfer: Transfer) -> np.ndarray:
    """(n_local,) of {field: factor}; one where there is none."""
    by_variable = [factors.get(v.field, 1.0) for v in transfer.variables]
    return np.tile(by_variable, transfer.n_local // len(by_variable))


@dataclass(frozen=True)
class Base:
    """What a member's analysis is added to.

    forecast : of the member itself, or where it was replaced of another one
    column : (n_local,) of that forecast on the grid
    own : whether it is the member's own
    """

    forecast: MemberForecast
    column: np.ndarray
    own: bool


@dataclass(frozen=True)
class Written:
    """What members go on from.

    restarts : of each member
    changed : of each, whether it differs from the forecast that it was made of
    values : (M, N) of the analyses at the readings, in their units; zero outside
    gates : of each, what the gates measured and did
    """

    restarts: tuple[Restart, ...]
    changed: tuple[bool, ...]
    values: np.ndarray
    gates: tuple[dict[str, Any], ...]


def write_members(
    bases: Sequence[Base],
    prior: np.ndarray,
    posterior: np.ndarray,
    values: np.ndarray,
    readings: Observations,
    own_times: bool,
    folders: Sequence[Path],
    numbers: Sequence[Numbers],
    setting: Setting,
    comm: MPI.Comm,
    each: Callable[[State, State], None] = lambda forecast, analysis: None,
) -> Written:
    """Put each member's analysis through the gates and write its restart. Collective; one state is in memory at a time.

    Parameters
    ----------
    bases : Base of each of N members
    prior, posterior : (n_local, N) on the grid, before and after the analysis
    values : (M, N) of the forecasts at the readings
    readings : Observations
    own_times : whether `values` are of the readings' own times; the analysis then changes them as it changes those of
        the analysis time
    folders : of the members in this window
    numbers : of the members, for the runs to come
    setting : Setting
    comm : MPI communicator
    each : function that gets each member's forecast, of a replaced one the draw, and its analysis

    Raises
    ------
    GateError
        if an analysis has a value that is not finite or out of `gates.range`
    MeshError, OSError
        as `write_restart`
    """
    transfer, gates, simulation = setting.transfer, setting.gates, setting.simulation
    restarts, changed, records = [], [], []
    after = np.zeros_like(values)
    for member, (base, folder) in enumerate(zip(bases, folders, strict=True)):
        state = background = forecast_state(base.forecast, transfer, simulation, comm)
        if not base.own:
            background = State(state.time, transfer.added(state, prior[:, member] - base.column))
        increment = posterior[:, member] - base.column
        moved = bool(comm.allreduce(int(np.any(increment != 0.0))))
        fields, record = {}, {}
        if moved:
            passed = gates.passed(
                WindowAnalysis(transfer.added(state, increment), None, []), state, base.forecast.restart
            )
            fields, record = passed.changes, passed.gates
        target = folder / "analysis"
        restarts.append(
            simulation.write_restart(
                base.forecast.restart, target, comm, fields, manifest=True, numbers=numbers[member]
            )
        )
        reached("member written")
        changed.append(bool(fields) and base.own)
        records.append(record)
        analysed = State(state.time, {**state.fields, **fields})
        each(background, analysed)
        if len(readings):
            at = readings.position, readings.variable
            now = values_at(analysed, transfer, *at)[0]
            if own_times:
                now = values[:, member] + now - values_at(background, transfer, *at)[0]
            after[:, member] = now
    return Written(tuple(restarts), tuple(changed), after, tuple(records))
