"""The run: set up, step, dump and checkpoint, in Fluidity's order.

dump 0 at the start; before each step a dump if a period has passed; at the end a dump always.
A checkpoint of number N is written just before dump N.
"""

import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.embedded import checkpoints
from coupling.embedded.fem import Space, advection, make_space
from coupling.embedded.initial import read_values
from coupling.embedded.options import FromFile, SimulationOptions, TracerOptions
from coupling.embedded.output import Writer, make_writer
from coupling.embedded.transport import Transport, make_transport
from coupling.embedded.wind import Wind, make_wind
from coupling.fluidity.halo import Halo, read_halo, serial_halo
from coupling.fluidity.msh import GmshMesh, read_msh
from coupling.vtk.vtu import TIME


@dataclass(frozen=True)
class Model:
    """What does not change in a run.

    wind : None in calm air
    transports : {tracer name: its transport}
    """

    case: SimulationOptions
    mesh: GmshMesh
    space: Space
    writer: Writer
    wind: Wind | None
    transports: Mapping[str, Transport]


@dataclass(frozen=True)
class Moment:
    """The state of a run at one time [s]: velocity (N, 3) [m/s], tracers {name: (N,)}.

    failed : a solver failed on the way here
    """

    time: float
    velocity: np.ndarray
    tracers: Mapping[str, np.ndarray]
    failed: bool = False


def load_mesh(base: str, comm: MPI.Comm) -> tuple[GmshMesh, Halo]:
    """Read a rank's mesh and halo: BASE.msh alone, BASE_{rank}.msh and .halo in parallel.

    Raises
    ------
    FileError
        if a file is missing, or they are made for another number of processes, or of other cells than tetrahedra
    """
    if comm.size == 1:
        if not Path(f"{base}.msh").is_file() and Path(f"{base}_0.halo").is_file():
            n = read_halo(f"{base}_0.halo").n_processes
            raise FileError(
                f"{base}_0.halo: the mesh is cut for {n} processes, this is one; start it with mpirun -n {n}"
            )
        mesh = _read_tetrahedra(f"{base}.msh")
        return mesh, serial_halo(len(mesh.points))
    path = f"{base}_{comm.rank}.halo"
    halo = read_halo(path)
    if (halo.process, halo.n_processes) != (comm.rank, comm.size):
        raise FileError(
            f"{path}: is of process {halo.process} of {halo.n_processes}, this is {comm.rank} of {comm.size};"
            " run on as many processes as the mesh is cut for"
        )
    return _read_tetrahedra(f"{base}_{comm.rank}.msh"), halo


def _read_tetrahedra(path: str) -> GmshMesh:
    mesh = read_msh(path)
    if mesh.shape.name != "tetrahedra":
        raise FileError(f"{path}: has {mesh.shape.name}; the embedded model runs on tetrahedra")
    return mesh


@contextmanager
def _naming(path):
    """Begin the message of an error with the name of the file it is in."""
    try:
        yield
    except FileError as error:
        raise FileError(f"{path}: {error}") from None


def make_model(case: SimulationOptions, comm: MPI.Comm) -> Model:
    """Set up all that a run needs. Collective."""
    mesh, halo = load_mesh(case.mesh_file, comm)
    with _naming(case.mesh_file):
        space = make_space(mesh.points, mesh.cells, halo, comm)
    _check_surfaces(case, mesh, comm)
    wind = None
    if case.velocity.guess is not None:
        with _naming(case.path):
            wind = make_wind(space, mesh.facets, mesh.facet_ids, case.velocity.walls)
    transports = {}
    for tracer in case.tracers:
        held = np.zeros(space.n_nodes)
        for surfaces, _ in tracer.dirichlet:
            held[_nodes_on(mesh, surfaces)] = 1
        transports[tracer.name] = make_transport(space, tracer.diffusivity, space.refresh(held) > 0)
    return Model(case, mesh, space, make_writer(mesh, halo, comm), wind, transports)


def _check_surfaces(case, mesh, comm):
    existing = set().union(*comm.allgather(set(mesh.facet_ids.tolist())))
    wanted = set(case.velocity.walls.ids).union(*(ids for tracer in case.tracers for ids, _ in tracer.dirichlet))
    if wanted - existing:
        raise FileError(
            f"{case.path}: boundary conditions on surfaces {sorted(wanted - existing)}, which mesh {case.mesh_file}"
            f" does not have; it has {sorted(existing)}"
        )


def _nodes_on(mesh, surfaces):
    return np.unique(mesh.facets[np.isin(mesh.facet_ids, surfaces)])


def start(model: Model) -> Moment:
    """The initial Moment. Collective."""
    case = model.case

    def initial(name, options, size):
        if isinstance(options.initial, FromFile):
            return read_values(options.initial.name, name, size, model.mesh.points, model.space.comm)
        values = model.space.evaluate(options.initial, case.time)
        return values[:, 0] if size == 1 else values

    velocity = initial("Velocity", case.velocity, 3)
    return Moment(case.time, velocity, {t.name: initial(t.name, t, 1).copy() for t in case.tracers})


def advance(model: Model, now: Moment) -> Moment:
    """One time step. Collective."""
    case, space = model.case, model.space
    time = now.time + case.timestep
    velocity, failed = _blow(model, now.velocity, time)
    carrying = advection(space, velocity)
    tracers = {}
    for tracer in case.tracers:
        dirichlet = _dirichlet(model, tracer, time)
        tracers[tracer.name], reason = model.transports[tracer.name].step(
            now.tracers[tracer.name], carrying, source_of(model, tracer, time), dirichlet, case.timestep
        )
        failed |= _is_failure(reason, tracer.name, tracer.ignore_failures)
    return Moment(time, space.refresh(velocity), tracers, failed)


def _blow(model, velocity, time):
    """Relax the velocity towards the wind of the new time: exact for a wind that is constant over the step."""
    case = model.case
    remaining = np.exp(-case.timestep / case.velocity.relaxation) if case.velocity.relaxation > 0 else 0.0
    if model.wind is None:
        return remaining * velocity, False
    guess = np.column_stack([model.space.evaluate(component, time) for component in case.velocity.guess])
    wind, reason = model.wind.project(guess)
    return wind + remaining * (velocity - wind), _is_failure(reason, "Velocity", case.velocity.ignore_failures)


def _is_failure(reason, name, ignored):
    if reason > 0:
        return False
    sys.stderr.write(f"WARNING: Failed to converge.\nPETSc did not converge for matrix solve of: {name}\n")
    sys.stderr.write(f"Reason for non-convergence: {reason}\n")
    sys.stderr.write("ignored\n" if ignored else "Sending signal to dump and finish\n")
    return not ignored


def source_of(model: Model, tracer: TracerOptions, time: float) -> np.ndarray:
    """(N,) source of a tracer at a time, zeros if it has none. Collective."""
    if tracer.source is None:
        return np.zeros(model.space.n_nodes)
    return model.space.evaluate(tracer.source, time)[:, 0]


def _dirichlet(model, tracer, time):
    values = np.zeros(model.space.n_nodes)
    for surfaces, function in tracer.dirichlet:
        nodes = _nodes_on(model.mesh, surfaces)
        nodes = nodes[nodes < model.space.halo.n_private]
        places = [tuple(place) for place in model.mesh.points[nodes].tolist()]
        values[nodes] = function.at(places, time)[:, 0]
    return model.space.refresh(values)


def dump(model: Model, now: Moment, number: int) -> None:
    """Write dump `number`. Collective."""
    case, n = model.case, model.space.n_nodes
    scalars, tensors = {}, {}
    for tracer in case.tracers:
        if "" in tracer.shown:
            scalars[tracer.name] = now.tracers[tracer.name]
        if "Source" in tracer.shown:
            scalars[f"{tracer.name}Source"] = source_of(model, tracer, now.time)
        if "Diffusivity" in tracer.shown:
            tensors[f"{tracer.name}Diffusivity"] = np.tile((tracer.diffusivity * np.eye(3)).ravel(), (n, 1))
    fields = {**scalars, TIME: np.full(n, now.time)}
    if case.velocity.shown:
        fields["Velocity"] = now.velocity
    model.writer.write(f"{case.name}_{number}", {**fields, **tensors})


def checkpoint(model: Model, now: Moment, number: int) -> None:
    """Write checkpoint `number`. Collective."""
    case = model.case
    fields: dict[str, dict[str, np.ndarray]] = {}
    for tracer in case.tracers:
        fields.setdefault(tracer.mesh, {})[tracer.name] = now.tracers[tracer.name]
    fields.setdefault(case.velocity.mesh, {})["Velocity"] = now.velocity
    checkpoints.write_checkpoint(case, number, now.time, fields, model.mesh, model.space.halo, model.writer)


def run(model: Model) -> bool:
    """Run a case to its end. Collective.

    Returns
    -------
    True, or False if a solver failed: then the run ended early, with its last dump and checkpoint
    """
    case = model.case
    now, number, last = start(model), 0, case.time
    if "checkpoint_at_start" in case.flags and _checkpoint_due(case, number):
        checkpoint(model, now, number)
    if now.time < case.finish and "disable_dump_at_start" not in case.flags:
        dump(model, now, number)
        number += 1
    while now.time < case.finish and not now.failed:
        if np.floor(now.time / case.dump_period) > np.floor(last / case.dump_period):
            if _checkpoint_due(case, number):
                checkpoint(model, now, number)
            dump(model, now, number)
            number, last = number + 1, now.time
        sys.stdout.write(f"Current simulation time: {now.time!r} s\n")
        now = advance(model, now)
    if "checkpoint_at_end" in case.flags:
        checkpoint(model, now, number)
    if "disable_dump_at_end" not in case.flags:
        dump(model, now, number)
    sys.stdout.write(f"Finished at {now.time!r} s\n")
    return not now.failed


def _checkpoint_due(case, number):
    return case.checkpoint_period is not None and number % max(case.checkpoint_period, 1) == 0
