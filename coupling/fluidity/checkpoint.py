"""Checkpoints: what the model needs to continue, read, changed and written as one unit.

A checkpoint is an options file (.flml) and the files it names: one .msh (with a .halo per process in
parallel) for each mesh read from file, one VTU or PVTU set for each mesh that carries prognostic
fields; a parameters.json beside the options belongs to it, too. The model demands the same nodes in
the same order, partition and precision, takes halo values as they are written, and accepts NaN
silently. So all that is not analysed is copied byte for byte, analysed fields replace their array in
place, for owned nodes and halos alike, and nothing that is not finite is ever written.

The simulation's name grows by `_checkpoint` with every restart of Fluidity. Here a restart's files
always have the names below, so that nothing grows and no run can overwrite what it starts from:

    restart.flml   restart_<Mesh>.msh   restart_<Mesh>_<rank>.msh|.halo   restart_<Mesh>.vtu|.pvtu
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from lxml import etree
from mpi4py import MPI

from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError, whole_folder
from coupling.common.manifest import write_manifest
from coupling.fluidity import options as flml
from coupling.fluidity.copying import Edit, copy_unchanged, restart_names, write_changed, write_options_renamed
from coupling.fluidity.named_files import (
    check_names,
    field_elements,
    file_name,
    mesh_elements,
    mesh_name,
    named_files,
    other_files,
    pieces_of,
    prognostic_fields,
)
from coupling.fluidity.option_paths import set_number
from coupling.fluidity.periodic import joined_again, opened, periodic_files
from coupling.geometry.mesh import Field, MeshError, State
from coupling.simulation.parameters import PARAMETERS, Numbers, Series, read_entries, write_entries
from coupling.vtk.cells import CellsError, arrays_of
from coupling.vtk.vtu import piece_paths, read_grid, read_state


@dataclass(frozen=True)
class FieldSource:
    """Where a prognostic field starts from: an array of a VTU or PVTU file."""

    path: Path
    array: str


@dataclass(frozen=True)
class FluidityRestart:
    """What the model needs to continue, from its options file.

    options : the .flml
    name : the simulation's name
    time : s; Fluidity rounds it on writing
    timestep : s
    fields : {field: FieldSource} of the fields that start from files; none in a cold start
    """

    options: Path
    name: str
    time: float
    timestep: float
    fields: dict[str, FieldSource]

    @property
    def path(self) -> Path:
        """The options file."""
        return self.options

    @property
    def folder(self) -> Path:
        """Where the options file and all it names lie."""
        return self.options.parent


def open_restart(options: str | Path) -> FluidityRestart:
    """Open a checkpoint, or the options of a cold start.

    Raises
    ------
    FileError
        if the options file is broken, its time or time step is no such thing, or a file it names is missing
    """
    options = Path(options)
    tree = flml.read_options(options)
    check_names(tree, options)
    fields = {}
    for name, element in field_elements(tree):
        array = element.findtext("format/field_name/string_value") or name.split("::")[-1]
        fields[name] = FieldSource(options.parent / file_name(element), array.strip())
    time = flml.required(tree, "timestepping/current_time", float, options)
    if not np.isfinite(time):
        raise FileError(f"{options}: option timestepping/current_time is {time}, expected a time [s]")
    timestep = flml.required(tree, "timestepping/timestep", float, options)
    if not 0 < timestep < np.inf:
        raise FileError(f"{options}: option timestepping/timestep is {timestep:g}, expected a number above zero [s]")
    name = flml.required(tree, "simulation_name", str, options)
    restart = FluidityRestart(options, name, time, timestep, fields)
    for path, _ in named_files(tree, options):
        if not path.is_file():
            name = path.relative_to(options.parent).as_posix()
            raise FileError(f"{options}: names {name}, which is not in {options.parent}")
    return restart


def processes_of(restart: FluidityRestart) -> set[int]:
    """The numbers of processes that the model can start on from here, 1 in serial.

    A mesh may be there whole and in pieces; fields are there in one way.

    Raises
    ------
    FileError
        if there is no such number, because files are cut into different numbers of pieces
    """
    cuts: dict[str, set[int]] = {}
    for element in mesh_elements(flml.read_options(restart.options)):
        base = file_name(element)
        pieces, whole = pieces_of(restart.folder, base), restart.folder / f"{base}.msh"
        cuts[base] = {len(pieces)} if pieces else {1}
        cuts[base] |= {1} if whole.is_file() else set()
    for source in restart.fields.values():
        cuts[source.path.relative_to(restart.folder).as_posix()] = {len(piece_paths(source.path))}
    common = set.intersection(*cuts.values()) if cuts else {1}
    if not common:
        numbers = ", ".join(f"{name} in {' or '.join(map(str, sorted(cut)))}" for name, cut in cuts.items())
        raise FileError(
            f"{restart.options}: its files are in different numbers of pieces: {numbers}; expected the same of all: "
            "have flredecomp cut the whole checkpoint, or take one as the model wrote it"
        )
    return common


def how_to_cut(restart: FluidityRestart, processes: int) -> str:
    """How to get a start for so many processes, for messages."""
    if not restart.fields:
        return f"cut the mesh into {processes} (fldecomp, flredecomp, coupling.embedded.decompose)"
    return (
        f"take a checkpoint that the model wrote on {processes}, or have flredecomp cut the whole checkpoint; fldecomp "
        "and coupling.embedded.decompose cut a mesh, but not the fields of a checkpoint"
    )


def n_processes(restart: FluidityRestart) -> int:
    """Number of processes the checkpoint was written for: 1 in serial. Of a mesh that is whole and cut, its pieces.

    Raises
    ------
    FileError
        as `processes_of`
    """
    return max(processes_of(restart))


def wrong_processes(restart: FluidityRestart, processes: int) -> str | None:
    """Why the model cannot start on so many processes from here, None if it can.

    Raises
    ------
    FileError
        if one of its files is missing or broken, or as `processes_of`
    """
    possible = processes_of(restart)
    if processes in possible:
        return None
    number = " or ".join(map(str, sorted(possible)))
    made_for = f"{number} process{'' if number == '1' else 'es'}"
    return (
        f"{restart.options}: made for {made_for}, the model is to run on {processes}; "
        f"{how_to_cut(restart, processes)}, or change model.processes"
    )


def restart_files(restart: FluidityRestart) -> list[Path]:
    """Paths of all files that a restart consists of, each once, the options first."""
    tree, paths = flml.read_options(restart.options), [restart.options]
    for path, _ in named_files(tree, restart.options):
        paths += [path, *(piece_paths(path) if path.suffix == ".pvtu" else ())]
    return list(dict.fromkeys([*paths, *other_files(tree, restart.options)]))


def mesh_pieces(restart: FluidityRestart) -> list[Path]:
    """The .msh files of the checkpoint's mesh, in the order of its pieces.

    Raises
    ------
    FileError
        if it has no mesh from a file, or several, or one that the model extrudes at its start
    """
    tree = flml.read_options(restart.options)
    extruded = tree.getroot().find("geometry/mesh/from_mesh/extrude")
    if extruded is not None and extruded.find("checkpoint_from_file") is None:
        name = mesh_name(extruded)
        raise FileError(
            f"{restart.options}: {name} is extruded when the model starts, and its surfaces are in no file; begin with "
            "a checkpoint, which has the extruded mesh as a file"
        )
    elements = mesh_elements(tree)
    # the mesh that another is extruded from has no fields
    bases = [file_name(e) for e in elements if (e.tag == "checkpoint_from_file") == (extruded is not None)]
    if len(bases) != 1:
        raise FileError(f"{restart.options}: has {len(bases)} meshes from files, expected one")
    whole = [restart.folder / f"{bases[0]}.msh"]
    return whole if n_processes(restart) == 1 else pieces_of(restart.folder, bases[0])


def field_options(restart: FluidityRestart, name: str) -> etree._Element:
    """The options (`prognostic`) of a field.

    Raises
    ------
    FileError
        if there is no such field
    """
    options = dict(prognostic_fields(flml.read_options(restart.options)))
    if name not in options:
        raise FileError(f"{restart.options}: has no prognostic field {name!r}; it has {sorted(options)}")
    return options[name]


def read_fields(restart: FluidityRestart, comm: MPI.Comm, names: Collection[str] | None = None) -> State:
    """Read fields of a checkpoint, each on the mesh of its own file. Collective.

    Parameters
    ----------
    restart : the checkpoint
    comm : MPI communicator
    names : of fields; None reads all on cells that can be analysed, for others can only be copied

    Raises
    ------
    FileError
        if a field does not start from a file
    MeshError
        if the files disagree about the cells and their order: the model would not notice
    """
    all_there_are = names is None
    names = sorted(restart.fields) if names is None else list(names)
    missing = [name for name in names if name not in restart.fields]
    if missing:
        raise FileError(
            f"{restart.options}: field {missing[0]!r} does not start from a file; it has {sorted(restart.fields)}"
        )
    wanted: dict[Path, list[str]] = {}
    for name in names:
        wanted.setdefault(restart.fields[name].path, []).append(name)
    fields, periodic = {}, periodic_files(flml.read_options(restart.options), restart.folder)
    for path, names_there in wanted.items():
        arrays = {restart.fields[name].array for name in names_there}
        try:
            found = read_state(path, comm, arrays, time=restart.time).fields
            if path in periodic:
                found = opened(found, periodic[path], comm)
        except CellsError:
            if all_there_are:
                continue
            raise
        for name in names_there:
            fields[name] = replace(found[restart.fields[name].array], name=name)
    raise_together(_disagreement(fields, restart), comm)
    return State(restart.time, fields)


def check_unread(restart: FluidityRestart, fields: Collection[str], comm: MPI.Comm) -> None:
    """MeshError on every rank if a field that is not among some holds a value that is not finite. Collective."""
    problem: Exception | None = None
    try:
        for name in sorted(set(restart.fields) - set(fields)):
            source = restart.fields[name]
            for piece in piece_paths(source.path)[comm.rank :: comm.size]:
                grid = read_grid(piece, [source.array])
                arrays = {**arrays_of(grid.GetPointData()), **arrays_of(grid.GetCellData())}
                if not np.isfinite(arrays[source.array]).all():
                    raise MeshError(f"{piece}: values of {name} are not finite")
    except (FileError, MeshError) as error:
        problem = error
    raise_together(problem, comm)


def _disagreement(fields, restart):
    meshes = list({f.mesh.fingerprint: f.mesh for f in fields.values()}.values())
    for mesh in meshes[1:]:
        first = meshes[0].centroids
        if mesh.n_cells != len(first) or not np.allclose(mesh.centroids, first, rtol=1e-9, atol=1e-9):
            return MeshError(
                f"{restart.folder}: the checkpoint's VTU files hold different cells or another order of them;"
                " the model would mix up the values: take the checkpoint as the model wrote it"
            )
    return None


def write_restart(
    restart: FluidityRestart,
    folder: str | Path,
    comm: MPI.Comm,
    changes: Mapping[str, Field] | None = None,
    edit: Edit | None = None,
    manifest: bool = False,
    numbers: Numbers | None = None,
) -> FluidityRestart:
    """Write a checkpoint under the names above, with some fields changed. Collective.

    Parameters
    ----------
    restart : the checkpoint (or cold start) to begin with; its files stay as they are
    folder : new folder; it appears whole or not at all
    comm : MPI communicator
    changes : {name: Field} as given by `read_fields`, with other values
    edit : function of the options tree, to change options on the way
    manifest : with a list of the files and their hashes, for :func:`coupling.common.manifest.check_manifest`
    numbers : parameters, which replace options that are there and entries of parameters.json

    Returns
    -------
    FluidityRestart in `folder`

    Raises
    ------
    MeshError
        if a value is not finite, or a field's mesh is not that of its file
    FileError
        if a parameter's option is not there, or its value is not finite
    """
    changes = dict(changes or {})
    raise_together(_refusal(changes, restart), comm)
    tree = flml.read_options(restart.options)
    for option, value in (numbers.options if numbers else {}).items():
        if isinstance(value, Series):
            raise FileError(f"{restart.options}: {option} is one number; values in time go to {PARAMETERS}")
        set_number(tree, option, value, restart.options)
    renamed, periodic = restart_names(tree), periodic_files(tree, restart.folder)
    with whole_folder(folder, comm) as beside:
        changed = {restart.fields[name].path for name in changes}
        on_rank_0(lambda: copy_unchanged(tree, restart.options, renamed, changed, beside), comm)
        for path in sorted(changed):
            new = beside / renamed[path.relative_to(restart.folder).as_posix()]
            fields = {restart.fields[n].array: f for n, f in changes.items() if restart.fields[n].path == path}
            if path in periodic:
                joined = read_state(path, comm, list(fields), time=restart.time)
                fields = {array: joined_again(field, joined[array].mesh, comm) for array, field in fields.items()}
            write_changed(path, new, fields, comm)
        if numbers and numbers.entries:
            entries, own = numbers.entries, restart.folder / PARAMETERS
            on_rank_0(lambda: write_entries(beside / PARAMETERS, entries, read_entries(own)), comm)
        on_rank_0(lambda: write_options_renamed(tree, renamed, edit, beside / "restart.flml"), comm)
        if manifest:
            write_manifest(beside, comm)
    return open_restart(Path(folder) / "restart.flml")


def _refusal(changes, restart):
    for name, field in changes.items():
        if name not in restart.fields:
            return FileError(f"{restart.options}: has no field {name!r} to change; it has {sorted(restart.fields)}")
        bad = np.unique(np.argwhere(~np.isfinite(field.values))[:, 0])
        if len(bad):
            place = field.mesh.points[bad[0]] if field.location == "point" else field.mesh.centroids[bad[0]]
            return MeshError(
                f"field {name!r}: {len(bad)} values are not finite, the first at {place.tolist()} m; the model would"
                " take them without a word, so they are not written"
            )
    return _mesh_refusal(changes, restart)


def _mesh_refusal(changes, restart):
    """All fields of a file must be on its mesh; `write_changed` checks that each piece is the same node by node."""
    for path in sorted({restart.fields[name].path for name in changes}):
        given = {name: field.mesh for name, field in changes.items() if restart.fields[name].path == path}
        if len({mesh.fingerprint for mesh in given.values()}) > 1:
            return MeshError(f"{path}: {sorted(given)} were given on different meshes; expected the file's own for all")
        n_given, n_pieces = next(iter(given.values())).n_pieces, len(piece_paths(path))
        if n_given != n_pieces:
            names = sorted(given)
            return MeshError(f"{path}: {names} were given on a mesh of {n_given} pieces, the file's has {n_pieces}")
    return None
