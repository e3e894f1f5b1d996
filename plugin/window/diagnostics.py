"""What is reported of an analysis beside its result, as a case's `diagnostics` asks for it."""

from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
from mpi4py import MPI

from coupling.archive.series import write_state
from coupling.common.collective import on_rank_0
from coupling.common.files import whole_file
from coupling.geometry.mesh import Field, State
from da.background.biased_transform import BiasedTransform
from da.background.linear_transform import LinearTransform
from da.background.transform import RowTransform, Transform
from da.diagnostics.influence import influence, influence_by_group
from da.diagnostics.posterior import Posterior, mesh_std, posterior, prior, state_std
from da.diagnostics.statistics import group_statistics
from da.minimisation.hessian import ObservationHessian
from da.observation.error import ObservationError
from plugin.case.configuration import DiagnosticsSection
from plugin.state.transfer import Transfer
from plugin.window.analysis_inputs import quadratic_form
from plugin.window.assimilate import WindowAnalysis
from plugin.window.background.lagged import state_rows
from plugin.window.background.localisation import analysis_std
from plugin.window.background.of_case import Background
from plugin.window.observations.operator import by_reading

COLUMNS = ("influence", "left_out", "standardised")


def diagnose(
    analysis: WindowAnalysis,
    background: Background,
    state: State,
    settings: DiagnosticsSection,
    folder: Path,
    comm: MPI.Comm,
) -> dict[str, Any]:
    """Compute what a case asks for, and write what is not a number for the ledger. Collective.

    Parameters
    ----------
    analysis : WindowAnalysis; with `influence` its table gets COLUMNS, named as in `da.diagnostics.influence.Influence`
    background : Background
    state : State, the forecast
    settings : DiagnosticsSection
    folder : of the window
    comm : MPI communicator

    Returns
    -------
    dict for the ledger; empty where there is no analysis
    """
    if settings.influence:
        for row in analysis.table:
            row.update(dict.fromkeys(COLUMNS))
    if analysis.analysis is None or analysis.inputs is None:
        return {}
    of, (operator, error, residual) = analysis.inputs, _as_quadratic(analysis)
    errors, own = None, None
    entry: dict[str, Any] = {}
    # a network's analysis has no linear U, so no posterior covariance
    if (settings.influence or settings.posterior) and of.transform.linear:
        errors = posterior_of(analysis, comm)
    if settings.influence and errors is not None:
        entry, own = _influence(analysis, errors, operator, error, residual, comm)
    entry.update(_statistics(of, residual, own, settings.stations, comm))
    if settings.posterior and errors is not None:
        transforms = of.background, state_transform(of.transform, background.transfer.n_local)
        states = state, State(state.time, {**state.fields, **analysis.changes})
        write_posterior(folder / "posterior", errors, *transforms, background.transfer, *states, comm)
    return entry


def posterior_of(analysis: WindowAnalysis, comm: MPI.Comm) -> Posterior:
    """Errors of an analysis with a linear U. Collective.

    analysis : WindowAnalysis, with an analysis
    """
    assert analysis.inputs is not None
    operator, error, _ = _as_quadratic(analysis)
    hessian = analysis.inputs.hessian or ObservationHessian(analysis.inputs.transform, operator, error, comm)
    return posterior(hessian.information)


def _as_quadratic(analysis: WindowAnalysis) -> tuple[Any, ObservationError, np.ndarray]:
    """(H, R, residual) of the quadratic form that J is about the analysis."""
    assert analysis.inputs is not None and analysis.analysis is not None
    return quadratic_form(analysis.inputs, analysis.analysis.increment)


def _influence(analysis, errors, operator, error, residual, comm):
    """Degrees of freedom for signal, and S_ii of all rows; columns for the table, an average's at its first reading."""
    of = analysis.inputs
    influences = influence(errors, of.transform, operator, error, residual)
    for name in COLUMNS:
        everyone = by_reading(of.reading_operator, getattr(influences, name), len(of.readings), comm)
        for number, value in zip(of.numbers, everyone, strict=True):
            if number >= len(analysis.table):  # a reading of before
                continue
            analysis.table[number][name] = float(value) if np.isfinite(value) else None
    parts = influences.influence, of.reading_operator.reading
    own, reading = (np.concatenate(comm.allgather(part)) for part in parts)
    return {
        "degrees_of_freedom": errors.degrees_of_freedom,
        "entropy_reduction": errors.entropy_reduction,
        "degrees_of_freedom_by_variable": influence_by_group(own, of.readings.variable[reading]),
    }, own


def _statistics(of, residual, own, stations, comm):
    parts = of.innovation, residual, of.error.solve(residual), of.reading_operator.reading, of.lag
    d, r, weighted, reading, lag = (np.concatenate(comm.allgather(part)) for part in parts)
    d, r, weighted, reading = (one[lag == 0] for one in (d, r, weighted, reading))
    own = own if own is None else own[lag == 0]
    variable = of.readings.variable[reading]
    groups = {"by_variable": variable}
    if stations:
        groups["by_station"] = np.char.add(np.char.add(of.readings.station[reading], " "), variable)
    return {
        name: {key: one.summary() for key, one in group_statistics(d, r, weighted, group, own).items()}
        for name, group in groups.items()
    }


def state_transform(transform: Transform, n_local: int) -> RowTransform:
    """A linear U of the state's n_local values on this rank, without biases and what readings of before observe."""
    inner = cast(RowTransform, transform.inner if isinstance(transform, BiasedTransform) else transform)
    return state_rows(inner, n_local)


def write_posterior(
    path: Path,
    errors: Posterior,
    background: LinearTransform,
    transform: RowTransform,
    transfer: Transfer,
    state: State,
    analysed: State,
    comm: MPI.Comm,
) -> None:
    """Write standard deviations of background and analysis on the grid and on the mesh. Collective.

    PATH.npz has `<variable>.background` and `<variable>.analysis`, (nx, ny, nz) or (points,) in the variables' units,
    `fluid`, and of a grid its `origin` and `spacing` [m]. PATH.vtu or .pvtu, of polyhedra .vtkhdf, has them as fields;
    where variables live on several meshes there is one for each, the others' names numbered. Those of a variable with
    an anamorphosis are linearised: the transformed variable's times its slope there.

    Parameters
    ----------
    path : without suffix
    errors : Posterior; numbers of its control after those of the transform are biases
    background : U of the background errors
    transform : U of the analysis, without biases
    transfer : Transfer
    state : State, the background, whose meshes the fields are on
    analysed : State, the analysis
    comm : MPI communicator
    """
    kinds = {
        "background": (prior(background.n_control), background, state),
        "analysis": (errors, transform, analysed),
    }
    arrays, n = _about(transfer.grid), len(transfer.variables)
    meshes: dict[str, dict[str, Field]] = {}
    for kind, (of, u, at) in kinds.items():
        local = analysis_std(state_std, of, u, background) * transfer.slopes_on_grid(at)
        whole = np.concatenate(comm.allgather(local)).reshape(-1, n)
        for column, v in enumerate(transfer.variables):
            name, like = f"{v.name}.{kind}", state[v.field]
            arrays[name] = whole[:, column].reshape(arrays["fluid"].shape)
            on_mesh = partial(mesh_std, to_mesh=transfer.interpolation(like).to_mesh, column=column, n_columns=n)
            std = analysis_std(on_mesh, of, u, background) * transfer.slopes(v, v.of(at[v.field].values))
            meshes.setdefault(like.mesh.fingerprint, {})[name] = Field(name, like.mesh, std, like.location)
    on_rank_0(lambda: _save(path.with_suffix(".npz"), arrays), comm)
    for k, fields in enumerate(meshes.values(), 1):
        write_state(State(state.time, fields), path if k == 1 else path.with_name(f"{path.name}_{k}"), comm)


def _about(grid):
    if not hasattr(grid, "shape"):  # the mesh's own points
        return {"fluid": grid.fluid_points}
    return {"fluid": grid.fluid, "origin": np.array(grid.origin), "spacing": np.array(grid.spacing)}


def _save(path, arrays):
    with whole_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, **arrays)
