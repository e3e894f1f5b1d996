"""Background errors from earlier states: the control-variable transform of a case.

States are read one at a time, put on the grid and kept as this rank's rows only.
"""

from dataclasses import dataclass
from glob import glob
from pathlib import Path

import numpy as np

from coupling.files import on_rank_0
from coupling.grid import make_grid
from coupling.interpolation import fluid_points
from coupling.series import ARCHIVE_SUFFIXES, open_series
from da.modes import Modes, reduced_modes, truncated_modes
from da.scaling import point_scaling, variable_scaling
from da.transform import LinearTransform
from plugin.configuration import ConfigurationError
from plugin.transfer import Transfer, variables_of


@dataclass(frozen=True)
class Background:
    """What a case's analyses have in common.

    transfer : between meshes and the grid
    transform : U, from a control to an increment on the grid
    modes : what U is made of
    """

    transfer: Transfer
    transform: LinearTransform
    modes: Modes


def open_snapshots(settings, comm):
    """Open the series that a `snapshots` entry means: one, or several archives that a pattern names. Collective.

    Returns
    -------
    list of open series
    """
    archives = on_rank_0(
        lambda: sorted(p for p in glob(str(settings.path)) if Path(p).suffix in ARCHIVE_SUFFIXES), comm
    )
    return [open_series(path, comm) for path in archives or [settings.path]]


def chosen_steps(settings, times):
    """Numbers of the states a `snapshots` entry asks for.

    Raises
    ------
    ConfigurationError
        if none is left
    """
    times = np.asarray(times)
    low = -np.inf if settings.start is None else settings.start
    high = np.inf if settings.until is None else settings.until
    steps = np.flatnonzero((times >= low) & (times <= high))[:: settings.every]
    if len(steps) == 0:
        span = f"from {times.min():g} to {times.max():g} s" if len(times) else "none"
        raise ConfigurationError(f"{settings.path}: no state between {low:g} and {high:g} s; it has {span}")
    return steps


def make_grid_of(case, mesh, comm, cache):
    """The case's grid over a mesh, solid points marked. Collective."""
    box = mesh.bounds(comm) if case.grid.box is None else case.grid.box
    grid = make_grid(box, case.grid.shape, case.grid.spacing)
    return grid.with_fluid(fluid_points(grid, mesh, comm, cache))


def background(case, comm, cache=None, said=lambda text: None):
    """Grid, modes and transform of a case. Collective.

    Parameters
    ----------
    case : Case
    comm : MPI communicator
    cache : folder that keeps interpolations, or None
    said : function of a text, told of every tenth of the states read

    Returns
    -------
    Background

    Raises
    ------
    ConfigurationError
        if an entry of `snapshots` leaves no state, or the states give no modes as `background` asks for them
    FileError, MeshError
        if states cannot be read, lack a variable, or do not fit the grid
    """
    plan = [
        (series, step)
        for settings in case.background.snapshots
        for series in open_snapshots(settings, comm)
        for step in chosen_steps(settings, series.times)
    ]
    wanted = {name if "." not in name else name.rpartition(".")[0] for name in case.variables}
    transfer, snapshots = None, None
    for k, (series, step) in enumerate(plan):
        state = series.read(step, sorted(wanted))
        if transfer is None:
            grid = make_grid_of(case, next(iter(state.fields.values())).mesh, comm, cache)
            transfer = Transfer(grid, variables_of(case.variables, state), comm, cache)
            snapshots = np.empty((transfer.n_local, len(plan)))
        snapshots[:, k] = transfer.to_grid(state)
        if (k + 1) % -(-len(plan) // 10) == 0:
            said(f"  {k + 1} of {len(plan)} states on the grid")
    for series in {id(series): series for series, _ in plan}.values():
        series.close()
    return _transform(case.background, transfer, snapshots, comm)


def _transform(settings, transfer, snapshots, comm):
    rows = transfer.grid.rows(comm)
    fluid = transfer.grid.fluid_points[rows.start : rows.stop]
    spread = point_scaling if settings.scaling == "point" else variable_scaling
    try:
        scaling = spread(snapshots, [v.name for v in transfer.variables], comm, fluid)
        scaled = scaling.divide(snapshots)
        if settings.transform == "tsvd":
            modes = truncated_modes(scaled, comm, settings.truncation, settings.unbiased)
        else:
            modes = reduced_modes(scaled, comm, settings.unbiased)
    except ValueError as error:  # too few states, or too many modes asked of them: all ranks find the same
        raise ConfigurationError(f"background: {error}") from error
    return Background(transfer, LinearTransform(modes, settings.inflation * scaling.scale, comm), modes)
