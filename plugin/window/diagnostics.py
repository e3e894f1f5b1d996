"""What is told of an analysis beside its result, as a case's `diagnostics` asks for it."""

import numpy as np

from coupling.common.collective import on_rank_0
from coupling.common.files import whole_file
from coupling.geometry.mesh import Field, State
from coupling.vtk.dumps import write_dump
from da.diagnostics.influence import influence, influence_by_group
from da.diagnostics.posterior import marginal, mesh_std, posterior, state_std
from da.diagnostics.statistics import group_statistics
from da.minimisation.hessian import ObservationHessian
from plugin.window.observation_operator import by_reading

COLUMNS = ("influence", "left_out", "standardised")


def diagnose(found, background, state, settings, folder, comm):
    """Make what a case asks for, and write what is no number of a ledger. Collective.

    Parameters
    ----------
    found : WindowAnalysis; with `influence` its table gets COLUMNS, in the order of `da.diagnostics.influence.Influence`
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
        for row in found.table:
            row.update(dict.fromkeys(COLUMNS))
    if found.analysis is None:
        return {}
    of, (operator, error, residual) = found.inputs, _as_quadratic(found)
    errors, told, own = None, {}, None
    # a network has no rows that errors could be told of
    if (settings.influence or settings.posterior) and of.transform.linear:
        errors = posterior_of(found, comm)
    if settings.influence and errors is not None:
        told, own = _influence(found, errors, operator, error, residual, comm)
    told.update(_statistics(of, residual, own, settings.stations, comm))
    if settings.posterior and errors is not None:
        write_posterior(folder / "posterior", errors, background, state, comm)
    return told


def posterior_of(found, comm):
    """Errors of an analysis with a linear U. Collective.

    found : WindowAnalysis, with an analysis

    Returns
    -------
    da.diagnostics.posterior.Posterior
    """
    operator, error, _ = _as_quadratic(found)
    hessian = found.inputs.hessian or ObservationHessian(found.inputs.transform, operator, error, comm)
    return posterior(hessian.information)


def _as_quadratic(found):
    """(H, R, residual) of the quadratic form that J is about the analysis."""
    of, increment = found.inputs, found.analysis.increment
    residual = of.innovation - of.operator.observe(increment)
    linear = of.operator if of.operator.linear else of.operator.linearised(increment)
    return linear, _as_counted(of, residual), residual


def _as_counted(of, residual):
    """R; where there is Huber's norm, the one with which the quadratic norm has the same minimum."""
    return of.error if of.huber is None else of.huber.counted(residual, of.error)


def _influence(found, errors, operator, error, residual, comm):
    """Degrees of freedom for signal, and S_ii of all rows; columns for the table, an average's at its first reading."""
    of = found.inputs
    told = influence(errors, of.transform, operator, error, residual)
    for name in COLUMNS:
        everyone = by_reading(of.reading_operator, getattr(told, name), len(of.readings), comm)
        for number, value in zip(of.numbers, everyone):
            found.table[number][name] = float(value) if np.isfinite(value) else None
    own, reading = (np.concatenate(comm.allgather(part)) for part in (told.influence, of.reading_operator.reading))
    return {
        "degrees_of_freedom": errors.degrees_of_freedom,
        "entropy_reduction": errors.entropy_reduction,
        "degrees_of_freedom_by_variable": influence_by_group(own, of.readings.variable[reading]),
    }, own


def _statistics(of, residual, own, stations, comm):
    parts = of.innovation, residual, of.error.solve(residual), of.reading_operator.reading
    d, r, weighted, reading = (np.concatenate(comm.allgather(part)) for part in parts)
    variable = of.readings.variable[reading]
    groups = {"by_variable": variable}
    if stations:
        groups["by_station"] = np.char.add(np.char.add(of.readings.station[reading], " "), variable)
    return {
        name: {key: one.summary() for key, one in group_statistics(d, r, weighted, group, own).items()}
        for name, group in groups.items()
    }


def write_posterior(path, errors, background, state, comm):
    """Write standard deviations of background and analysis on the grid and on the mesh. Collective.

    PATH.npz has `<variable>.background` and `<variable>.analysis`, (nx, ny, nz) or (points,) in the variables' units,
    `fluid`, and of a grid its `origin` and `spacing` [m]. PATH.vtu or .pvtu has them as fields of a dump; where
    variables live on several meshes there is one for each, the others' names numbered.

    Parameters
    ----------
    path : without suffix
    errors : Posterior; numbers of its control after those of the background's transform are biases
    background : Background
    state : State, whose meshes the fields are on
    comm : MPI communicator
    """
    transfer, transform = background.transfer, background.transform
    kinds = {"background": errors.without_readings, "analysis": errors}
    kinds = {name: marginal(of, transform.n_control) for name, of in kinds.items()}
    arrays, meshes, n = _about(transfer.grid), {}, len(transfer.variables)
    for kind, of in kinds.items():
        whole = np.concatenate(comm.allgather(state_std(of, transform))).reshape(-1, n)
        for column, v in enumerate(transfer.variables):
            name, like = f"{v.name}.{kind}", state[v.field]
            arrays[name] = whole[:, column].reshape(arrays["fluid"].shape)
            std = mesh_std(of, transform, transfer.interpolation(like).to_mesh, column, n)
            meshes.setdefault(like.mesh.fingerprint, {})[name] = Field(name, like.mesh, std, like.location)
    on_rank_0(lambda: _save(path.with_suffix(".npz"), arrays), comm)
    for k, fields in enumerate(meshes.values(), 1):
        write_dump(State(state.time, fields), path if k == 1 else path.with_name(f"{path.name}_{k}"), comm)


def _about(grid):
    if not hasattr(grid, "shape"):  # the mesh's own points
        return {"fluid": grid.fluid_points}
    return {"fluid": grid.fluid, "origin": np.array(grid.origin), "spacing": np.array(grid.spacing)}


def _save(path, arrays):
    with whole_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, **arrays)
