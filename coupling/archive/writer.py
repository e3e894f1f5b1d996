"""Write states into an archive, one after another."""

import ctypes
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpi4py import MPI

from coupling.archive.cells import MARKS, OURS, ROOT, arrays_of_piece, stored_arrays
from coupling.archive.layout import GROUPS, TYPE, VERSION, VERSION_OF_POLYHEDRA
from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError, whole_shared_file
from coupling.geometry.mesh import MeshError, PolyhedralMesh, State
from coupling.vtk.vtu import GHOST, TIME

_CHUNK = 1 << 20  # bytes; a chunk must fit into HDF5's cache of 1 MiB per dataset
_SHARE = 1 << 17  # bytes; compressing less is not worth a rank's time
_POLYHEDRA = "polyhedra"


@dataclass(frozen=True)
class _StoredMesh:
    """Where a mesh's arrays begin in the file, its size, and this rank's first node and cell within it."""

    number: int
    part: int
    n_parts: int
    first: dict[str, int]
    n_points: int
    n_cells: int
    my_point: int
    my_cell: int


class ArchiveWriter:
    """Writes a temporal VTKHDF file in a `with` block; the file appears when the block succeeds. Collective.

    path : the file
    comm : MPI communicator; each rank appends its own pieces
    precision : "float64", or "float32" for smaller files; points are always float64
    compression : 0 (none) … 9, of gzip
    replace : whether `path` may be there already; it is looked at again when the file is to appear

    Raises
    ------
    FileExistsError
        if `path` is there and must not be replaced
    FileError
        if there are several ranks and h5py was built without MPI, or if no state was appended
    OSError
        if the file cannot be written
    """

    def __init__(
        self,
        path: str | Path,
        comm: MPI.Comm,
        precision: str = "float64",
        compression: int = 4,
        replace: bool = True,
    ) -> None:
        if precision not in ("float64", "float32"):
            raise ValueError(f"precision {precision!r}, expected 'float64' or 'float32'")
        if compression not in range(10):
            raise ValueError(f"compression {compression!r}, expected 0 … 9")
        self.path, self._comm, self._replace = Path(path), comm, replace
        self._kind = np.dtype(precision).newbyteorder("<")
        self._filters = {"compression": "gzip", "compression_opts": compression} if compression else {}
        self._file: h5py.File = None  # opened at the beginning of the block
        self._block: AbstractContextManager[ArchiveWriter] | None = None
        self._transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
        self._cells = ""  # what those of the first state are
        self._layout: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._meshes: dict[str, _StoredMesh] = {}
        self._steps: list[tuple[float, _StoredMesh, dict[str, int]]] = []
        self._part_sizes: list[dict[str, int]] = []

    def __enter__(self) -> "ArchiveWriter":
        self._block = self._opened()
        return self._block.__enter__()

    def __exit__(self, *error: Any) -> bool | None:
        assert self._block is not None
        return self._block.__exit__(*error)

    @contextmanager
    def _opened(self) -> Iterator["ArchiveWriter"]:
        how = {}
        if self._comm.size > 1:
            if not h5py.get_config().mpi:
                raise FileError(
                    f"{self.path}: h5py was built without MPI and writes from one rank only, there are "
                    f"{self._comm.size}; start on one rank, or install h5py on parallel HDF5"
                )
            how = {"driver": "mpio", "comm": self._comm}
            # filters need all ranks in each write
            self._transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
        with whole_shared_file(self.path, self._comm, self._replace) as beside:
            # one rank tries first: an MPI open that fails may leave ranks waiting
            on_rank_0(beside.touch, self._comm)
            self._file = h5py.File(beside, "w", **how)
            try:
                self._create_groups()
                yield self
                if not self._steps:
                    raise FileError(f"{self.path}: no state was appended; an archive needs one or more")
                self._write_steps()
            except BaseException:
                # closing waits for all ranks, and those that did not fail may not come
                if self._comm.size > 1:
                    # never released: at its exit, too, Python would close it before MPI can end the job
                    ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._file.id))
                else:
                    self._file.close()
                raise
            self._file.close()

    def _create_groups(self):
        root = self._file.create_group(ROOT)
        root.attrs["Type"] = np.bytes_(TYPE)
        for group in (*GROUPS.values(), "Steps"):
            root.create_group(group)

    def append(self, state: State) -> None:
        """Add a state. Collective.

        Parameters
        ----------
        state : State, later than the last one, all its fields on one mesh, and the same fields in all states

        Raises
        ------
        MeshError
            on every rank, if the state does not fit; nothing is added
        """
        raise_together(self._refusal(state), self._comm)
        mesh = next(iter(state.fields.values())).mesh
        if mesh.fingerprint not in self._meshes:
            begins = not self._layout
            if begins:
                self._layout = {name: (f.location, f.values.shape[1:]) for name, f in state.fields.items()}
                self._cells = _name_of_cells(mesh)
            arrays = self._arrays_of(mesh)
            if begins:
                self._create(mesh, arrays[0])
            self._meshes[mesh.fingerprint] = self._write_mesh(mesh, *arrays)
        at = self._meshes[mesh.fingerprint]
        offsets = {}
        for name, (location, _) in sorted(self._layout.items()):
            n, first = (at.n_points, at.my_point) if location == "point" else (at.n_cells, at.my_cell)
            values = self._converted(state.fields[name])
            offsets[name] = self._extend(f"{ROOT}/{GROUPS[location]}/{name}", n, first, values, whole_chunks=True)
        self._steps.append((state.time, at, offsets))

    def _converted(self, field):
        with np.errstate(over="ignore"):  # tested in _refusal
            return np.ascontiguousarray(field.values, dtype=self._kind)

    def _refusal(self, state):
        meshes = {f.mesh.fingerprint: f.mesh for f in state.fields.values()}
        if not state.fields:
            return MeshError(f"state of {state.time:g} s: has no fields, an archive needs one or more")
        if len(meshes) != 1:
            return MeshError(f"state of {state.time:g} s: {len(meshes)} meshes, an archive holds states on one")
        (mesh,) = meshes.values()
        if self._cells not in ("", _name_of_cells(mesh)):
            return MeshError(
                f"state of {state.time:g} s: is on {_name_of_cells(mesh)}, the archive holds {self._cells}; pack these "
                "states into an archive of their own"
            )
        if not np.isfinite(state.time) or (self._steps and not state.time > self._steps[-1][0]):
            last = f"after {self._steps[-1][0]!r} s" if self._steps else "finite"
            return MeshError(f"state of {state.time!r} s: its time must be {last}")
        layout = {name: (f.location, f.values.shape[1:]) for name, f in state.fields.items()}
        if self._layout and layout != self._layout:
            return MeshError(f"state of {state.time:g} s: fields {layout}, the archive holds {self._layout}")
        for name, f in state.fields.items():
            if "/" in name or name in (".", "", TIME) or (name, f.location) == (GHOST, "cell"):
                return MeshError(f"field {name!r}: an archive cannot hold that name; rename the field")
            if self._kind.itemsize < f.values.itemsize:
                broken = np.isinf(self._converted(f)) & np.isfinite(f.values)
                if broken.any():
                    return MeshError(f"field {name!r}: {f.values[broken][0]:g} is too large for float32; use float64")
        numbers = [p.index for p in mesh.pieces]
        if numbers and numbers != list(range(numbers[0], numbers[0] + len(numbers))):
            return MeshError(f"pieces {numbers} on rank {self._comm.rank}, expected a run of them")
        return None

    def _create(self, mesh, own):
        """Create the datasets; a state of this size fills its chunks, up to less than a row in each."""
        root = self._file[ROOT]
        root.attrs["Version"] = np.array(VERSION_OF_POLYHEDRA if self._cells == _POLYHEDRA else VERSION, np.int64)
        n_points, n_cells, *lengths = self._comm.allreduce(
            np.array([mesh.n_nodes, mesh.n_cells, *map(len, own.values())])
        )
        discontinuous = self._cells != _POLYHEDRA and n_points == mesh.shape.n_nodes * n_cells
        # a discontinuous dump repeats values from cell to cell, which gzip finds without shuffling only: half the size
        without_shuffle = (f"{ROOT}/Points", f"{ROOT}/{GROUPS['point']}/") if discontinuous else ()
        arrays = [(a.name, int(n), a.tail, np.dtype(a.kind)) for a, n in zip(self._stored, lengths, strict=True)]
        for name, (at, tail) in sorted(self._layout.items()):
            arrays.append(
                (f"{ROOT}/{GROUPS[at]}/{name}", int(n_points if at == "point" else n_cells), tail, self._kind)
            )
        for name, rows, tail, kind in arrays:
            size = rows * int(np.prod(tail)) * kind.itemsize
            n_chunks = max(1, -(-size // _CHUNK), min(self._comm.size, size // _SHARE))
            filters = {**self._filters, "shuffle": not name.startswith(without_shuffle)} if self._filters else {}
            chunk = (max(1, -(-rows // n_chunks)), *tail)
            self._file.create_dataset(name, (0, *tail), kind, maxshape=(None, *tail), chunks=chunk, **filters)

    def _extend(self, name, n, own_first, values, whole_chunks=False):
        """Add `n` rows of which this rank has `values`, from row `own_first` on; returns the first row's number.

        whole_chunks : begin with a new chunk, so that no chunk belongs to two states
        """
        target = self._file[name]
        first = target.shape[0]
        if whole_chunks:
            first = -(-first // target.chunks[0]) * target.chunks[0]
        target.resize(first + n, axis=0)
        in_file, in_memory = target.id.get_space(), h5py.h5s.create_simple(values.shape)
        if len(values):
            in_file.select_hyperslab((first + own_first, *(0,) * (values.ndim - 1)), values.shape)
        else:
            in_file.select_none()
            in_memory.select_none()
        # h5py's own assignment has no way for a rank to write nothing
        target.id.write(in_memory, in_file, values, dxpl=self._transfer)
        return first

    @property
    def _stored(self):
        return stored_arrays(self._cells == _POLYHEDRA)

    def _arrays_of(self, mesh):
        """{name: this rank's rows} of a mesh's arrays, and [(index, {name: rows})] of its pieces."""
        pieces = [arrays_of_piece(mesh, p) for p in mesh.pieces]
        sizes = [(p.index, {name: len(a) for name, a in of.items()}) for p, of in zip(mesh.pieces, pieces, strict=True)]
        none = {a.name: np.empty((0, *a.tail), a.kind) for a in self._stored}
        whole = {name: np.concatenate([empty, *(of[name] for of in pieces)]) for name, empty in none.items()}
        return {a.name: np.ascontiguousarray(whole[a.name], a.kind) for a in self._stored}, sizes

    def _write_mesh(self, mesh, own, mine):
        sizes = [of for _, of in sorted(chain(*self._comm.allgather(mine)), key=lambda of: of[0])]
        first = mesh.pieces[0].index if mesh.pieces else 0
        before = {name: sum(of[name] for of in sizes[:first]) for name in own}
        total = {name: sum(of[name] for of in sizes) for name in own}
        rows = {name: self._extend(name, total[name], before[name], values) for name, values in own.items()}
        part = len(self._part_sizes)
        self._part_sizes += sizes
        points, cells = f"{ROOT}/Points", f"{ROOT}/Types"
        ends = total[points], total[cells], before[points], before[cells]
        return _StoredMesh(len(self._meshes), part, len(sizes), rows, *ends)

    def _write_steps(self):
        """Write the index, which is small and known after the last state."""
        root, steps = self._file[ROOT], self._file[ROOT]["Steps"]
        meshes = [at for _, at, _ in self._steps]
        steps.attrs["NSteps"] = np.int64(len(meshes))
        self._small(steps, "Values", np.array([time for time, _, _ in self._steps], "<f8"))
        self._small(steps, "PartOffsets", np.array([at.part for at in meshes], "<i8"))
        self._small(steps, "NumberOfParts", np.array([at.n_parts for at in meshes], "<i8"))
        for array in self._stored:
            if array.size is not None:
                self._small(
                    root, array.size, np.array([of[array.name] - array.extra for of in self._part_sizes], "<i8")
                )
            if array.place is not None:
                rows = np.array([at.first[array.name] for at in meshes], "<i8")
                # as VTK has it: a column for each kind of cell, and no columns for points
                self._small(steps, array.place, rows if array.tail else rows[:, None])
        for location, group in GROUPS.items():
            steps.create_group(f"{group}Offsets")
            for name in sorted(n for n, (where, _) in self._layout.items() if where == location):
                rows = np.array([offsets[name] for _, _, offsets in self._steps], "<i8")
                self._small(steps, f"{group}Offsets/{name}", rows)
        self._small(steps, f"CellDataOffsets/{GHOST}", np.array([at.first[MARKS] for at in meshes], "<i8"))
        ours = self._file.require_group(OURS)
        self._small(ours, "fingerprints", np.array(list(self._meshes), "S32"))
        self._small(ours, "mesh", np.array([at.number for at in meshes], "<i8"))

    def _small(self, group, name, values):
        target = group.create_dataset(name, values.shape, values.dtype)
        if self._comm.rank == 0:
            target[...] = values


def _name_of_cells(mesh):
    return _POLYHEDRA if isinstance(mesh, PolyhedralMesh) else mesh.shape.name
