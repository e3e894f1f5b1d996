"""Background errors from earlier states: the control-variable transform of a case.

States are read one at a time, put on the grid and kept as this rank's rows only. Modes that were made
of them may be kept in a file, with all that they depend on; it is used only where all of that agrees.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import whole_shared_file
from coupling.common.locks import sole_writer
from coupling.geometry.grid import Grid
from coupling.geometry.mesh import State
from da.background.adaptive import FactorRule
from da.background.anamorphosis import Anamorphosis, transform
from da.background.blocks import cover
from da.background.linear_transform import LinearTransform
from da.background.local_modes import CodeLengths, local_modes
from da.background.localisation import Taper
from da.background.modes import Modes, reduced_modes, truncated_modes
from da.background.scaling import point_scaling, variable_scaling
from da.background.snapshots import collected
from da.diagnostics.length_weights import LengthRule
from plugin.case.background import BackgroundSection, LocalSection
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.sections import SeriesSection
from plugin.case.variables import field_of
from plugin.state.grid import make_grid_of
from plugin.state.transfer import Transfer, variables_of
from plugin.window.background.anamorphosis import asked_for, check_variables, make_anamorphoses
from plugin.window.background.lagged import LaggedSnapshots, lagged_snapshots
from plugin.window.background.latent import Latent, read_latent
from plugin.window.background.localisation import make_taper
from plugin.window.background.modes_file import ModesFileError, load_modes, save_modes
from plugin.window.background.snapshots import Plan, Series, fingerprint, open_snapshots, sources_of

Made = tuple[Modes, np.ndarray, dict[str, Anamorphosis]]  # modes, (n_local,) scale, anamorphoses of variables

_WAIT = 3600.0  # s for another job to make the modes, where it cannot be seen whether it still runs


@dataclass(frozen=True)
class Background:
    """What a case's analyses have in common.

    transfer : between meshes and the grid
    transform : U, from a control to an increment on the grid
    modes : what U is made of
    latent : Latent of a case whose analyses are a network's; TSVD's U is for the others then
    taper : Taper of the covariances; None keeps those of U
    adaptive : FactorRule by which a factor on U follows the innovations; None for no factor
    factor : (v,) that U already has by variable; None for none
    lengths : LengthRule by which the reach of covariances follows the readings; None where it does not
    lagged : LaggedSnapshots, where readings of before are used; None where they are not
    """

    transfer: Transfer
    transform: LinearTransform
    modes: Modes
    latent: Latent | None = None
    taper: Taper | None = None
    adaptive: FactorRule | None = None
    factor: np.ndarray | None = None
    lengths: LengthRule | None = None
    lagged: LaggedSnapshots | None = None

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """What may be another in each window."""
        ladder = None if self.taper is None else self.taper.ladder
        return tuple(of for of in (self.factor, None if ladder is None else ladder.weights) if of is not None)


def chosen_steps(settings: SeriesSection, times: np.ndarray) -> np.ndarray:
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


def plan_of(snapshots: Iterable[SeriesSection], comm: MPI.Comm, left_out: list[str] | None = None) -> Plan:
    """What the entries of `snapshots` ask for, in their order: a list of (open series, number of a state). Collective.

    left_out : as for `coupling.archive.series.open_series`

    Raises
    ------
    ConfigurationError
        if there is no entry, or one leaves no state
    """
    plan = [
        part for settings in snapshots for part in steps_of_entry(settings, open_snapshots(settings, comm, left_out))
    ]
    if not plan:
        raise ConfigurationError("background.snapshots: this key is missing; name earlier states")
    return plan


def steps_of_entry(settings: SeriesSection, several: Sequence[Series]) -> Plan:
    """The states an entry asks for, of its series one after another: `every` counts over all of them.

    Raises
    ------
    ConfigurationError
        if none is left in any
    """
    numbers = [(series, step) for series in several for step in range(len(series.times))]
    times = np.concatenate([np.empty(0), *(np.asarray(series.times) for series in several)])
    return [numbers[number] for number in chosen_steps(settings, times)]


def close_all(plan: Plan) -> None:
    """Close the series of a plan."""
    for series in {id(series): series for series, _ in plan}.values():
        series.close()


def background(
    case: Case, comm: MPI.Comm, cache: Path | None = None, said: Callable[[str], None] = lambda text: None
) -> Background:
    """Grid, modes and transform of a case. Collective.

    Parameters
    ----------
    case : Case
    comm : MPI communicator
    cache : folder that keeps interpolations, or None
    said : function of a text, called after every tenth of the states

    Returns
    -------
    Background

    Raises
    ------
    ConfigurationError
        if an entry of `snapshots` leaves no state, the states give no modes as `background` asks for them, or the
        file of modes, or of the network, holds others
    FileError, MeshError
        if states cannot be read, lack a variable, or do not fit the grid
    """
    plan = plan_of(case.background.snapshots, comm)
    times, numbers = [float(series.times[step]) for series, step in plan], dict[int, int]()
    run = [numbers.setdefault(id(series), len(numbers)) for series, _ in plan]
    lagged = lagged_snapshots(None if case.observations is None else case.observations.lagged, times, run)
    states = states_of(case, plan)
    first = next(states)
    mesh = next(iter(first.fields.values())).mesh
    grid = make_grid_of(case, mesh, comm, cache)
    transfer = Transfer(grid, variables_of(case.variables, first), comm, cache)
    settings = case.background
    check_variables(settings, transfer)
    taper = make_taper(settings, transfer)
    rule = None if settings.adaptive is None else FactorRule(**settings.adaptive.model_dump())
    latent = read_latent(case, transfer, comm) if settings.by_network else None

    def make() -> Made:
        columns = columns_of(transfer, first, states, plan, said)
        return made_modes(settings, transfer, collected(columns, transfer.n_local, len(plan), settings.scratch), comm)

    if settings.modes is None:
        modes, scale, anamorphoses = make()
    else:
        about = _about(settings, transfer, plan, mesh, comm)
        modes, scale, anamorphoses = _kept_or_made(settings.modes, about, make, transfer, comm, said)
    close_all(plan)
    transfer = replace(transfer, anamorphoses=anamorphoses)
    transform = LinearTransform(modes, settings.inflation * scale, comm)
    return Background(transfer, transform, modes, latent, taper, rule, lagged=lagged)


def states_of(case: Case, plan: Plan) -> Iterator[State]:
    """Read the states of [(series, step)], one after another, with the fields a case asks for. Collective."""
    wanted = {field_of(name) for name in case.variables}
    for series, step in plan:
        yield series.read(step, sorted(wanted))


def columns_of(
    transfer: Transfer, first: State, others: Iterable[State], plan: Plan, said: Callable[[str], None]
) -> Iterator[np.ndarray]:
    """The rows of this rank of a plan's states, one after another; the first state was read before. Collective.

    Raises
    ------
    ConfigurationError
        if one has values that are not finite; the message names its file and the variables
    """
    count, comm = len(plan), transfer.comm
    for k, (place, state) in enumerate(zip(plan, chain([first], others), strict=True), 1):
        column = transfer.to_grid(state)
        own = ~np.isfinite(column).reshape(-1, len(transfer.variables)).all(axis=0)
        broken = np.any(comm.allgather(own), axis=0)
        if broken.any():
            files = ", ".join(str(file) for file, _ in sources_of(*place))
            names = ", ".join(v.name for v, bad in zip(transfer.variables, broken, strict=True) if bad)
            raise ConfigurationError(
                f"{files}: the state of {state.time:g} s holds a NaN or an infinity in {names}; "
                "leave it out with from, until or every, or end the entry before it"
            )
        yield column
        if k % -(-count // 10) == 0:
            said(f"  {k} of {count} states on the grid")


def _about(settings, transfer, plan, mesh, comm):
    """All that the modes depend on, for their file. Collective."""
    grid, times = transfer.grid, [float(series.times[step]) for series, step in plan]
    blocks = {}
    if settings.linear_transform == "local" and settings.local is not None:
        blocks = {"blocks": settings.local.model_dump(mode="json")}
    return {
        "variables": [v.name for v in transfer.variables],
        "grid": grid.description,
        "mask": grid.fingerprint,
        "mesh": mesh.fingerprint,
        "period": [min(times), max(times)],
        "number of states": len(plan),
        "states": on_rank_0(lambda: fingerprint(plan, times), comm),
        "transform": settings.linear_transform,
        "anamorphosis": asked_for(settings, transfer),
        **blocks,
        **{name: getattr(settings, name) for name in ("truncation", "scaling", "unbiased", "precision")},
    }


def _kept(path: Path, about: dict, transfer: Transfer, comm: MPI.Comm) -> Made | None:
    """What a file holds, or None where there is no file. Collective."""
    if not on_rank_0(path.exists, comm):
        return None
    try:
        stored = load_modes(path, transfer.n_local, comm, about)
    except ModesFileError as error:
        raise ConfigurationError(f"background.modes: {error}") from error
    return stored.modes, stored.scale, dict(stored.anamorphoses)


def _kept_or_made(
    path: Path,
    about: dict,
    make: Callable[[], Made],
    transfer: Transfer,
    comm: MPI.Comm,
    said: Callable[[str], None],
) -> Made:
    """What a file holds, which is made if it is not there. Collective.

    Of several jobs that need the file at once one makes it, and the others wait for it.
    """
    stored = _kept(path, about, transfer, comm)
    if stored is None:
        with sole_writer(path, comm, _WAIT, said):
            if not on_rank_0(path.exists, comm):  # no other job has made it since
                _keep(path, make(), about, transfer, comm)
        # as later runs will have them: another order in memory changes the last digits of sums
        stored = _kept(path, about, transfer, comm)
    if stored is None:
        raise ConfigurationError(f"background.modes: {path} was removed while this job made it; start again")
    return stored


def _keep(path: Path, made: Made, about: dict, transfer: Transfer, comm: MPI.Comm) -> None:
    with whole_shared_file(path, comm, replace=False) as beside:
        # tried by one first: an MPI open that fails may leave ranks waiting
        on_rank_0(beside.touch, comm)
        modes, scale, anamorphoses = made
        save_modes(beside, modes, scale, about, comm, transfer.fluid, anamorphoses)


def scale_of(settings: BackgroundSection, transfer: Transfer, snapshots: np.ndarray) -> np.ndarray:
    """(n_local,) what snapshots, (n_local, S), are divided by. Collective; ValueError if there are too few."""
    spread = point_scaling if settings.scaling == "point" else variable_scaling
    return spread(snapshots, [v.name for v in transfer.variables], transfer.comm, transfer.fluid).scale


def made_modes(settings: BackgroundSection, transfer: Transfer, snapshots: np.ndarray, comm: MPI.Comm) -> Made:
    """Modes, their scale and anamorphoses, of states on the grid, (n_local, S), whose memory they take. Collective.

    ConfigurationError on every rank, if they give no modes as the settings ask for them
    """
    anamorphoses = make_anamorphoses(settings, transfer, snapshots)
    transform(snapshots, [anamorphoses.get(v.name) for v in transfer.variables])
    try:
        scale = scale_of(settings, transfer, snapshots)
        overwrite = settings.scratch is None
        kept: dict[str, Any] = {"scale": scale, "precision": settings.precision, "overwrite": overwrite}
        if settings.linear_transform == "local" and settings.local is not None:
            modes = _local(settings, settings.local, transfer, snapshots, scale, comm)
        elif settings.linear_transform == "tsvd":
            modes = truncated_modes(snapshots, comm, settings.truncation, settings.unbiased, **kept)
        else:
            modes = reduced_modes(snapshots, comm, settings.unbiased, **kept)
    except ValueError as error:  # too few states, or too many modes asked of them: all ranks find the same
        raise ConfigurationError(f"background: {error}") from error
    return modes, scale, anamorphoses


def _local(
    settings: BackgroundSection,
    local: LocalSection,
    transfer: Transfer,
    snapshots: np.ndarray,
    scale: np.ndarray,
    comm: MPI.Comm,
) -> Modes:
    """Modes of blocks. ValueError where blocks are of points and there is no grid."""
    grid, v = transfer.grid, len(transfer.variables)
    position = np.repeat(grid.places(comm), v, axis=0)
    edges = [np.min(comm.allgather(position.min(axis=0, initial=np.inf)), axis=0)]
    edges.append(np.max(comm.allgather(position.max(axis=0, initial=-np.inf)), axis=0))
    size, margin = np.broadcast_to(np.asarray(local.size or 0.0, float), 3), np.full(3, 1e-6)
    if isinstance(grid, Grid):
        margin = 0.5 * np.asarray(grid.spacing)  # a point stands for the cell about it
    if local.points is not None:
        if not isinstance(grid, Grid):
            raise ValueError("local.points goes with a grid; give local.size with space: mesh")
        size = np.asarray(local.points) * np.asarray(grid.spacing)
    blocks = cover(edges[0] - margin, edges[1] + margin, size, local.overlap)
    lengths = CodeLengths(local.horizontal or np.inf, local.vertical or np.inf)
    kept = settings.truncation or 1.0, lengths, settings.unbiased
    return local_modes(snapshots, position, blocks, comm, *kept, scale=scale, precision=settings.precision)
