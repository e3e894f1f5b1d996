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

from coupling.archive.layout import GROUPS, OURS, ROOT, TYPE, VERSION
from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError, whole_shared_file
from coupling.geometry.mesh import MeshError, PolyhedralMesh, State, of_elements
from coupling.geometry.shapes import Shape
from coupling.vtk.vtu import DUPLICATE_CELL, GHOST, TIME

_CHUNK = 1 << 20  # bytes; a chunk must fit into HDF5's cache of 1 MiB per dataset
_SHARE = 1 << 17  # bytes; compressing less is not worth a rank's time


@dataclass(frozen=True)
class _StoredMesh:
    """Where a mesh begins in the file, its size, and this rank's first node and cell within it."""

    number: int
    part: int
    n_parts: int
    point: int
    cell: int
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
        self._shape: Shape | None = None  # of the first state's cells
        self._layout: dict[str, tuple[str, tuple[int, ...]]] = {}
        self._meshes: dict[str, _StoredMesh] = {}
        self._steps: list[tuple[float, _StoredMesh, dict[str, int]]] = []
        self._part_sizes: list[list[int]] = []

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
        root.attrs["Version"] = np.array(VERSION, np.int64)
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
        mesh = of_elements(next(iter(state.fields.values())).mesh, "an archive")
        if not self._layout:
            self._layout = {name: (f.location, f.values.shape[1:]) for name, f in state.fields.items()}
            self._shape = mesh.shape
            self._create(mesh)
        if mesh.fingerprint not in self._meshes:
            self._meshes[mesh.fingerprint] = self._write_mesh(mesh)
        at = self._meshes[mesh.fingerprint]
        offsets = {}
        for name, (location, _) in sorted(self._layout.items()):
            n, first = (at.n_points, at.my_point) if location == "point" else (at.n_cells, at.my_cell)
            values = self._converted(state.fields[name])
            offsets[name] = self._extend(f"{GROUPS[location]}/{name}", n, first, values, whole_chunks=True)
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
        if isinstance(mesh, PolyhedralMesh):
            return MeshError(f"state of {state.time:g} s: an archive holds finite elements, this mesh has polyhedra")
        if self._shape is not None and self._shape != mesh.shape:
            return MeshError(
                f"state of {state.time:g} s: is on {mesh.shape.name}, the archive holds {self._shape.name}; pack these "
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

    def _create(self, mesh):
        """Create the datasets; a state of this size fills its chunks, up to less than a row in each."""
        n_points, n_cells = self._comm.allreduce(np.array([mesh.n_nodes, mesh.n_cells]))
        n_points, n_cells = int(n_points), int(n_cells)
        rows = {
            "point": n_points,
            "cell": n_cells,
            "node": mesh.shape.n_nodes * n_cells,
            "offset": n_cells + mesh.n_pieces,
        }
        # a discontinuous dump repeats values from cell to cell, which gzip finds without shuffling only: half the size
        without_shuffle = {"point"} if n_points == mesh.shape.n_nodes * n_cells else set()
        arrays: list[tuple[str, str, tuple[int, ...], str | np.dtype]] = [
            ("Points", "point", (3,), "<f8"),
            ("Connectivity", "node", (), "<i8"),
            ("Offsets", "offset", (), "<i8"),
            ("Types", "cell", (), "|u1"),
            (f"{GROUPS['cell']}/{GHOST}", "cell", (), "|u1"),
        ]
        arrays += [(f"{GROUPS[at]}/{name}", at, tail, self._kind) for name, (at, tail) in sorted(self._layout.items())]
        for name, at, tail, kind in arrays:
            size = rows[at] * int(np.prod(tail)) * np.dtype(kind).itemsize
            n_chunks = max(1, -(-size // _CHUNK), min(self._comm.size, size // _SHARE))
            filters = {**self._filters, "shuffle": at not in without_shuffle} if self._filters else {}
            chunk = (max(1, -(-rows[at] // n_chunks)), *tail)
            self._file[ROOT].create_dataset(name, (0, *tail), kind, maxshape=(None, *tail), chunks=chunk, **filters)

    def _extend(self, name, n, own_first, values, whole_chunks=False):
        """Add `n` rows of which this rank has `values`, from row `own_first` on; returns the first row's number.

        whole_chunks : begin with a new chunk, so that no chunk belongs to two states
        """
        target = self._file[f"{ROOT}/{name}"]
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

    def _write_mesh(self, mesh):
        known = self._comm.allgather([_piece_sizes(p) for p in mesh.pieces])
        sizes = np.array([size for _, *size in sorted(chain(*known))])
        first = mesh.pieces[0].index if mesh.pieces else 0
        my_point, my_cell = (int(n) for n in sizes[:first].sum(axis=0))
        n_points, n_cells = (int(n) for n in sizes.sum(axis=0))
        cells = [(mesh.cells[p.cells] - p.nodes.start).ravel() for p in mesh.pieces]
        n = mesh.shape.n_nodes
        offsets = [np.arange(0, n * (p.cells.stop - p.cells.start) + 1, n) for p in mesh.pieces]
        none = np.empty(0, "<i8")
        point = self._extend("Points", n_points, my_point, np.ascontiguousarray(mesh.points, "<f8"))
        cell = self._extend("Types", n_cells, my_cell, np.full(mesh.n_cells, mesh.shape.vtk, "|u1"))
        self._extend("Connectivity", n * n_cells, n * my_cell, np.concatenate([none, *cells]))
        self._extend("Offsets", n_cells + len(sizes), my_cell + first, np.concatenate([none, *offsets]))
        self._extend(f"CellData/{GHOST}", n_cells, my_cell, mesh.ghost.astype("|u1") * np.uint8(DUPLICATE_CELL))
        part = len(self._part_sizes)
        self._part_sizes += sizes.tolist()
        return _StoredMesh(len(self._meshes), part, len(sizes), point, cell, n_points, n_cells, my_point, my_cell)

    def _write_steps(self):
        """Write the index, which is small and known after the last state."""
        root, steps = self._file[ROOT], self._file[ROOT]["Steps"]
        meshes = [at for _, at, _ in self._steps]
        steps.attrs["NSteps"] = np.int64(len(meshes))
        parts = np.array(self._part_sizes, "<i8")
        self._small(root, "NumberOfPoints", parts[:, 0])
        self._small(root, "NumberOfCells", parts[:, 1])
        assert self._shape is not None  # there is a state
        n = self._shape.n_nodes
        self._small(root, "NumberOfConnectivityIds", n * parts[:, 1])
        self._small(steps, "Values", np.array([time for time, _, _ in self._steps], "<f8"))
        self._small(steps, "PartOffsets", np.array([at.part for at in meshes], "<i8"))
        self._small(steps, "NumberOfParts", np.array([at.n_parts for at in meshes], "<i8"))
        cell = np.array([at.cell for at in meshes], "<i8")
        self._small(steps, "PointOffsets", np.array([at.point for at in meshes], "<i8"))
        self._small(steps, "CellOffsets", cell[:, None])
        self._small(steps, "ConnectivityIdOffsets", n * cell[:, None])
        for location, group in GROUPS.items():
            steps.create_group(f"{group}Offsets")
            for name in sorted(n for n, (where, _) in self._layout.items() if where == location):
                rows = np.array([offsets[name] for _, _, offsets in self._steps], "<i8")
                self._small(steps, f"{group}Offsets/{name}", rows)
        self._small(steps, f"CellDataOffsets/{GHOST}", cell)
        ours = self._file.create_group(OURS)
        self._small(ours, "fingerprints", np.array(list(self._meshes), "S32"))
        self._small(ours, "mesh", np.array([at.number for at in meshes], "<i8"))

    def _small(self, group, name, values):
        target = group.create_dataset(name, values.shape, values.dtype)
        if self._comm.rank == 0:
            target[...] = values


def _piece_sizes(piece):
    return piece.index, piece.nodes.stop - piece.nodes.start, piece.cells.stop - piece.cells.start
