"""The analysis of one state of an archive: what is kept of it, and its lines in the tables."""

import json
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import Field, MeshError, State
from da.diagnostics.posterior import mesh_std, prior
from da.minimisation.hessian import ObservationHessian
from da.observation.observations import Observations
from plugin.case.configuration import ConfigurationError, ReanalysisCase
from plugin.case.observations import ANALYSIS_TIME
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.localisation import analysis_std
from plugin.window.background.of_case import Background
from plugin.window.background.snapshots import Plan, Series
from plugin.window.diagnostics import posterior_of, state_transform
from plugin.window.gates.apply import Gates
from plugin.window.observations.selection import belongs_to_window, window_readings

COLUMNS = (
    "time", "skipped", "readings", "used", "transform", "cost_initial", "cost", "cost_background", "cost_observation",
    "chi_squared", "innovation_mean", "innovation_rms", "residual_mean", "residual_rms", "iterations", "reason",
    "prepare_seconds", "minimise_seconds", "increment_seconds", "gates",
)  # fmt: skip
_SAME = 1e-3  # times this near, in distances of states, are the same


@dataclass(frozen=True)
class AnalysedState:
    """A state that is to be analysed.

    number : among all of them
    series : which of the series it is in; index : its number there
    began, time : of the analysis before it, and its own [s]
    spacing : smallest distance of the series' states [s]
    """

    number: int
    series: int
    index: int
    began: float
    time: float
    spacing: float


def steps_of(plan: Plan) -> tuple[list[AnalysedState], list[Series]]:
    """The steps of a plan of (series, number of a state), and its series, each once.

    Raises
    ------
    ConfigurationError
        if the times do not rise
    """
    series = list({id(one): one for one, _ in plan}.values())
    times = np.array([float(one.times[index]) for one, index in plan])
    falls = np.flatnonzero(np.diff(times) <= 0.0)
    if len(falls):
        a, b = times[falls[0] : falls[0] + 2]
        raise ConfigurationError(
            f"reanalysis.states: {b:g} s comes after {a:g} s; name series in the order of their times, none twice"
        )
    spacing = [float(np.diff(one.times).min()) if len(one.times) > 1 else np.inf for one in series]
    # the first window is as long as the second
    before = np.concatenate([2 * times[:1] - times[1:2] if len(times) > 1 else [-np.inf], times[:-1]])
    of = {id(one): k for k, one in enumerate(series)}
    return [
        AnalysedState(k, of[id(one)], index, float(before[k]), float(times[k]), spacing[of[id(one)]])
        for k, (one, index) in enumerate(plan)
    ], series


@dataclass
class KeptStd:
    """The standard deviations on the mesh, which stay while the sensors and the mesh do.

    hessian : ObservationHessian they were made of, None where there are no readings; meshes : fingerprints
    fields : {name: Field}
    """

    hessian: ObservationHessian | None = None
    meshes: tuple[str, ...] = ()
    fields: dict[str, Field] = field(default_factory=dict)


def analysed(
    step: AnalysedState,
    state: State,
    series: Series,
    readings: Observations,
    case: ReanalysisCase,
    background: Background,
    gates: Gates,
    comm: MPI.Comm,
    cache: AnalysisCache,
    kept: KeptStd,
) -> tuple[State, dict[str, Any], list[dict]]:
    """Analyse a state. Collective.

    Parameters
    ----------
    step : AnalysedState
    state : State, all its analysed fields
    series : the series it is in, for readings within a window
    readings : Observations, all there are
    case : Case
    background : Background
    gates : Gates
    comm : MPI communicator
    cache : AnalysisCache, changed here
    kept : KeptStd, changed here

    Returns
    -------
    State to keep, dict for the table of steps (COLUMNS), list of dicts for that of readings
    """
    of, slack, half = case.observations, _SAME * step.spacing, 0.5 * step.spacing
    in_time = belongs_to_window(readings, step.began, step.time, of, half, slack)
    within = series if of.window != ANALYSIS_TIME else None
    which = readings, in_time, step.time, of, background.transfer, within, slack, cache
    usable, settings = window_readings(*which, half_width=half)
    gates.check(state, f"the state at {state.time:g} s", MeshError)
    analysis = gates.passed(
        assimilate(background, state, usable, comm, case.minimiser, settings, cache, case.analysis.guard), state
    )
    fields: dict[str, Field] = {}
    for name in background.transfer.field_names:
        old = state[name]
        new = analysis.changes.get(name, old)
        if "analysis" in case.reanalysis.keep:
            fields[name] = new
        for kind, values in (("background", old.values), ("increment", new.values - old.values)):
            if kind in case.reanalysis.keep:
                fields[f"{name}_{kind}"] = Field(f"{name}_{kind}", old.mesh, values, old.location)
    if "std" in case.reanalysis.keep:
        fields.update(_std(analysis, background, state, comm, kept))
    return State(state.time, fields), _row(step, analysis), analysis.table


def _std(analysis, background, state, comm, kept):
    """{name: Field} of the analysis' standard deviation on the mesh. Collective."""
    transfer, whole, used = background.transfer, background.transform, analysis.inputs
    hessian = used and used.hessian
    meshes = tuple(state[name].mesh.fingerprint for name in transfer.field_names)
    # an H that is not linear, Huber's norm and an anamorphosis give each analysis errors of its own
    lasting = (used is None or hessian is not None) and not transfer.anamorphoses
    if lasting and kept.fields and kept.hessian is hessian and kept.meshes == meshes:
        return kept.fields
    errors, transform = prior(whole.n_control), whole
    if used is not None:
        errors, transform = posterior_of(analysis, comm), state_transform(used.transform, transfer.n_local)
    fields: dict[str, Field] = {}
    for column, v in enumerate(transfer.variables):
        like, name = state[v.field], f"{v.name}_std"
        to_mesh, n = transfer.interpolation(like).to_mesh, len(transfer.variables)
        on_mesh = partial(mesh_std, to_mesh=to_mesh, column=column, n_columns=n)
        std = analysis_std(on_mesh, errors, transform, whole)
        std = std * transfer.slopes(v, v.of(analysis.changes.get(v.field, like).values))
        fields[name] = Field(name, like.mesh, std, like.location)
    if lasting:
        kept.hessian, kept.meshes, kept.fields = hessian, meshes, fields
    return fields


def _row(step, analysis):
    row = dict.fromkeys(COLUMNS) | {"time": step.time, "readings": len(analysis.table)}
    row["used"] = sum(line["used"] == "yes" for line in analysis.table)
    if analysis.analysis is None:
        return row
    summary = analysis.analysis.summary()
    same = ("cost_initial", "cost", "cost_background", "cost_observation", "chi_squared", "iterations", "reason")
    row.update({name: summary[name] for name in same})
    for kind in ("innovation", "residual"):
        row.update({f"{kind}_{name}": summary[kind][name] for name in ("mean", "rms")})
    row.update({f"{name}_seconds": seconds for name, seconds in summary["seconds"].items()})
    if analysis.network is not None:
        row["transform"] = analysis.network.summary()["transform"]
    if analysis.gates:
        row["gates"] = json.dumps(analysis.gates)
    return row
