"""Restarts of OpenFOAM: a case folder and one of its times, opened, read, listed, changed and written as a whole.

    CASE/system    CASE/constant/polyMesh    CASE/TIME/U p phi T …                    in serial
    CASE/processorN/constant/polyMesh        CASE/processorN/TIME/U p phi T …         cut by decomposePar

Each rank of ours reads and writes its share of the processors' folders; nothing is gathered. Fields keep OpenFOAM's own
names: U, p, T. All that is not changed is copied byte for byte; a changed list of numbers replaces its own bytes
(:mod:`coupling.openfoam.edit` says what goes along with it).
"""

import os
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError, whole_folder
from coupling.common.manifest import write_manifest
from coupling.geometry.mesh import Field, MeshError, State
from coupling.geometry.pieces import share_of_pieces
from coupling.geometry.polyhedra import join_polyhedra
from coupling.openfoam.controls import controls_of, set_back
from coupling.openfoam.dictionary import read_header
from coupling.openfoam.edit import refusal, write_changes
from coupling.openfoam.fields import AT_CELLS, ON_FACES, read_field
from coupling.openfoam.mesh import PolyMesh, find_file, read_mesh
from coupling.openfoam.numbers import set_numbers
from coupling.openfoam.restart import OpenFoamRestart
from coupling.openfoam.times import pieces_of, time_folders
from coupling.simulation.parameters import PARAMETERS, Numbers, read_entries, write_entries

_OLD = ("_0", "_0_0")  # what backward and CrankNicolson keep of the steps before


def open_restart(case: str | Path, time_name: str | None = None) -> OpenFoamRestart:
    """Open a case at one of its times.

    Parameters
    ----------
    case : the case folder
    time_name : the time folder; None takes that which `startFrom` of the case's controlDict means

    Raises
    ------
    FileError
        if the case is broken, has no such time, or is one that is not read here
    """
    case = Path(case)
    controls = controls_of(case)
    pieces = pieces_of(case)
    for piece in pieces:
        if not (piece / "constant/polyMesh").is_dir():
            raise FileError(f"{piece}: has no constant/polyMesh; make the mesh first (blockMesh, decomposePar)")
    times = time_folders(pieces)
    if not times:
        raise FileError(f"{case}: has no time folder{'' if len(pieces) == 1 else ' that all its processors have'}")
    if time_name is None:
        time_name = controls.start_of(times)
    if time_name not in times:
        raise FileError(f"{case}: has no time {time_name}; it has {', '.join(times)}")
    for piece in pieces:
        if (piece / time_name / "polyMesh/points").exists() or (piece / time_name / "polyMesh/points.gz").exists():
            raise FileError(f"{piece / time_name}: has a mesh of its own; meshes that move or change are not read here")
    fields = {}
    for path in sorted((pieces[0] / time_name).iterdir()):
        name = path.name.removesuffix(".gz")
        if not path.is_file() or name.endswith(_OLD) or name.startswith(("ddt0(", ".")):
            continue
        if read_header(path).get("class") in AT_CELLS:
            fields[name] = path.name
    if not fields:
        raise FileError(f"{pieces[0] / time_name}: has no field in cells (volScalarField, volVectorField …)")
    timestep = controls.timestep(pieces[0] / time_name)
    return OpenFoamRestart(case, time_name, controls.application, timestep, pieces, fields)


def wrong_processes(restart: OpenFoamRestart, processes: int) -> str | None:
    """Why OpenFOAM cannot start on so many processes from here, None if it can."""
    cut = len(restart.pieces)
    if cut == processes:
        return None
    advice = "have decomposePar cut it" if processes > 1 else "remove its processor folders to run it whole"
    number = f"{cut} process{'' if cut == 1 else 'es'}"
    return f"{restart.case}: made for {number}, the model is to run on {processes}; {advice}, or change model.processes"


def restart_files(restart: OpenFoamRestart) -> list[Path]:
    """Paths of all files that a restart consists of, each once."""
    names = _common_names(restart) + [name for piece in _cut_pieces(restart) for name in _piece_names(restart, piece)]
    return [restart.case / name for name in sorted(names)]


def read_meshes(restart: OpenFoamRestart, comm: MPI.Comm) -> dict[int, PolyMesh]:
    """{number: mesh} of this rank's pieces. Collective."""
    meshes, problem = {}, None
    try:
        for k in share_of_pieces(len(restart.pieces), comm):
            meshes[k] = read_mesh(restart.pieces[k] / "constant/polyMesh")
    except (FileError, OSError) as error:
        problem = error
    raise_together(problem, comm)
    return meshes


def read_fields(restart: OpenFoamRestart, comm: MPI.Comm, names: Collection[str] | None = None) -> State:
    """Read fields in cells; each rank reads its own pieces. Collective.

    Parameters
    ----------
    restart : the case and its time
    comm : MPI communicator
    names : of fields; None reads all

    Raises
    ------
    FileError
        if there is no such field, or a file is missing or broken
    """
    names = sorted(restart.fields) if names is None else list(names)
    unknown = [name for name in names if name not in restart.fields]
    if unknown:
        raise FileError(
            f"{restart.case}: time {restart.time_name} has no field {unknown[0]!r}; it has {sorted(restart.fields)}"
        )
    meshes = read_meshes(restart, comm)
    mesh = join_polyhedra([(k, m.part) for k, m in meshes.items()], len(restart.pieces), comm)
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    problem = None
    try:
        for k, m in meshes.items():
            for name in names:
                path = find_file(restart.pieces[k] / restart.time_name, name)
                if path is None:
                    raise FileError(f"{restart.pieces[k] / restart.time_name}: lacks the field {name}")
                parts[name].append(read_field(path, AT_CELLS).internal(m.n_cells))
    except (FileError, OSError) as error:
        problem = error
    raise_together(problem, comm)
    shapes = {name: comm.allgather(values[0].shape[1:] if values else None) for name, values in parts.items()}
    fields = {}
    for name, values in parts.items():
        shape = next(s for s in shapes[name] if s is not None)
        joined = np.concatenate([np.empty((0, *shape)), *values])
        fields[name] = Field(name, mesh, joined, "cell")
    return State(restart.time, fields)


def check_unread(restart: OpenFoamRestart, start: OpenFoamRestart, comm: MPI.Comm) -> None:
    """Check what `read_fields` leaves alone and OpenFOAM goes on from: fluxes, and what is kept of steps before.

    Collective; FileError on every rank if a file is broken, holds a value that is not finite, or there is no phi though
    the start has one.
    """
    problem: Exception | None = None
    try:
        for k in share_of_pieces(len(restart.pieces), comm):
            folder = restart.pieces[k] / restart.time_name
            if find_file(start.pieces[k] / start.time_name, "phi") and not find_file(folder, "phi"):
                raise FileError(f"{folder}: lacks the flux phi, which its start has")
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.name.removesuffix(".gz") not in restart.fields:
                    _check_finite(path)
    except (FileError, OSError) as error:
        problem = error
    raise_together(problem, comm)


def _check_finite(path):
    kinds = {**AT_CELLS, **ON_FACES}
    if read_header(path).get("class") in kinds:
        bad = sum(int((~np.isfinite(values)).sum()) for values in read_field(path, kinds).lists())
        if bad:
            raise FileError(f"{path}: {bad} values are not finite")


def write_restart(
    restart: OpenFoamRestart,
    folder: str | Path,
    comm: MPI.Comm,
    changes: Mapping[str, Field] | None = None,
    manifest: bool = False,
    numbers: Numbers | None = None,
) -> OpenFoamRestart:
    """Write a case with one time, some of its fields changed. Collective.

    Parameters
    ----------
    restart : the case and its time; its files stay as they are
    folder : new folder; it appears whole or not at all
    comm : MPI communicator
    changes : {name: Field} as given by `read_fields`, with other values
    manifest : with a list of the files and their hashes, for :func:`coupling.common.manifest.check_manifest`
    numbers : parameters: entries of dictionaries, see :mod:`coupling.openfoam.numbers`, and of parameters.json

    Raises
    ------
    MeshError
        if a value is not finite, a field's mesh is not that of the case, or OpenFOAM would forget the change
    FileError
        if a parameter's entry is not there, or its value is not finite
    """
    changes = dict(changes or {})
    problem: Exception | None = None
    unknown = sorted(set(changes) - set(restart.fields))
    if unknown:
        problem = FileError(f"{restart.case}: has no field {unknown[0]!r} to change; it has {sorted(restart.fields)}")
    elif message := refusal(changes):
        problem = MeshError(message)
    raise_together(problem or _not_finite(changes), comm)
    with whole_folder(folder, comm) as beside:
        on_rank_0(lambda: _copy(restart, beside, _common_names(restart)), comm)
        cut = _cut_pieces(restart)
        for piece in [cut[k] for k in share_of_pieces(len(cut), comm)]:
            _copy(restart, beside, _piece_names(restart, piece))
        comm.Barrier()
        if changes:
            write_changes(restart, read_meshes(restart, comm), beside, changes, comm)
        on_rank_0(lambda: set_back(beside, restart.case), comm)
        if numbers:
            on_rank_0(lambda: _set_numbers(restart, beside, numbers), comm)
        if manifest:
            write_manifest(beside, comm)
    # by one for all: another might look at a file that the first already changes for its run
    return on_rank_0(lambda: open_restart(folder, restart.time_name), comm)


def _set_numbers(restart, beside, numbers):
    set_numbers(beside, restart.time_name, numbers.options)
    if numbers.entries:
        write_entries(beside / PARAMETERS, numbers.entries, read_entries(restart.case / PARAMETERS))


def _not_finite(changes):
    for name, field in changes.items():
        bad = np.unique(np.argwhere(~np.isfinite(field.values))[:, 0])
        if len(bad):
            place = field.mesh.centroids[bad[0]].tolist()
            return MeshError(
                f"field {name!r}: {len(bad)} values are not finite, the first at {place} m; OpenFOAM would end with "
                "signal 8, so they are not written"
            )
    return None


def _cut_pieces(restart):
    """The processor folders; none of a case that is whole."""
    return restart.pieces if restart.is_cut else ()


def _common_names(restart):
    """Names within the case of the files that are no processor's: dictionaries, and mesh and time of a whole case."""
    tops = ["system", "constant"] if restart.is_cut else ["system", "constant", restart.time_name]
    return [path.name for path in (restart.case / PARAMETERS,) if path.is_file()] + _names_under(restart, tops)


def _piece_names(restart, piece):
    """Names of the files of one processor, within the case: its mesh and one time; not other times."""
    return _names_under(restart, [f"{piece.name}/constant", f"{piece.name}/{restart.time_name}"])


def _names_under(restart, tops):
    names = []
    for top in tops:
        # links are followed: decomposePar makes some, and users link a mesh that several cases share
        for folder, _, files in os.walk(restart.case / top, followlinks=True):
            inside = Path(folder).relative_to(restart.case)
            names += [(inside / file).as_posix() for file in files]
    return names


def _copy(restart, beside, names):
    for name in names:
        target = beside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(restart.case / name, target)
