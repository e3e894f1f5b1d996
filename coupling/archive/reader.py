"""Read states from an archive."""

import operator
from collections.abc import Collection
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI
from vtkmodules.vtkCommonDataModel import VTK_POLYHEDRON

from coupling.archive.cells import ROOT, SIDES, polyhedra_of
from coupling.archive.layout import GROUPS, damage_named, dataset, opened, read_index
from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError
from coupling.geometry.mesh import AnyMesh, Field, MeshError, State, join_pieces, share_of_pieces
from coupling.geometry.polyhedra import checked_cells, join_polyhedra
from coupling.vtk.cells import wrong_kinds
from coupling.vtk.vtu import DUPLICATE_CELL, GHOST


class Archive:
    """A temporal VTKHDF file, open for reading. Collective.

    The number of ranks need not be that of the writer. Steps on one mesh share one Mesh object.

    path : the file
    comm : MPI communicator
    times : (S,) [s], rising
    field_names : tuple of str

    Raises
    ------
    FileError
        on every rank, if the file is not such an archive; the message says what it is
    """

    def __init__(self, path: str | Path, comm: MPI.Comm) -> None:
        self.path, self._comm = path, comm
        self._index = on_rank_0(lambda: read_index(path), comm)
        self.times = self._index.times
        self.times.flags.writeable = False
        self.field_names = tuple(sorted(self._index.fields))
        self._mesh: AnyMesh | None = None
        self._mesh_key: tuple[int, ...] | None = None
        self._file: h5py.File | None = None
        problem = None
        try:
            self._file = opened(path)
        except FileError as error:
            problem = error
        raise_together(problem, comm)

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; states that were read remain valid."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def read(self, step: int, names: Collection[str] | None = None) -> State:
        """Read one state; each rank reads its own pieces. Collective.

        Parameters
        ----------
        step : 0 … S − 1, or from −S to count from the end
        names : fields to read; None reads all

        Returns
        -------
        State, all its fields on one Mesh, float64

        Raises
        ------
        FileError
            if the file lacks one of `names` (it lists what there is), is damaged or closed, or has cells of several
            shapes
        IndexError
            if there is no such step
        """
        if self._file is None:
            raise FileError(f"{self.path}: is closed; open it again")
        number, n_steps = operator.index(step), len(self)
        if not -n_steps <= number < n_steps:
            raise IndexError(f"{self.path}: no step {number}; it has {n_steps}, counted from 0")
        step = number % n_steps
        names = self.field_names if names is None else tuple(names)
        missing = [name for name in names if name not in self._index.fields]
        if missing:
            raise FileError(f"{self.path}: no array {missing[0]!r}; it has {list(self.field_names)}")
        key, parts, values, problem = self._index.mesh_key(step), None, {}, None
        try:
            with damage_named(self.path):
                if key != self._mesh_key:
                    shape, faces = self._index.shape, self._index.faces
                    parts = self._read_parts(step, shape) if shape else self._read_polyhedra(step, faces)
                values = {name: self._read_field(self._index.fields[name], step) for name in names}
        except FileError as error:
            problem = error
        raise_together(problem, self._comm)
        mesh = self._mesh if parts is None else self._take_mesh(step, key, parts)
        assert mesh is not None
        fields = {name: Field(name, mesh, v, self._index.fields[name].location) for name, v in values.items()}
        return State(float(self.times[step]), fields)

    def _take_mesh(self, step: int, key: tuple[int, ...], parts: list) -> AnyMesh:
        mesh: AnyMesh
        n_pieces = int(self._index.n_parts[step])
        if self._index.shape is not None:
            mesh = join_pieces(parts, n_pieces, self._comm, self._index.shape)
        else:
            mesh = join_polyhedra(parts, n_pieces, self._comm)
        if self._index.fingerprints is not None and mesh.fingerprint != self._index.fingerprints[step]:
            raise FileError(
                f"{self.path}: the mesh of step {step} is not the one that was stored: fingerprint {mesh.fingerprint}, "
                f"expected {self._index.fingerprints[step]}; the file was changed or is damaged"
            )
        # files of other programs may store one mesh many times
        if self._mesh is None or self._mesh.fingerprint != mesh.fingerprint:
            self._mesh = mesh
        self._mesh_key = key
        return self._mesh

    def _rows(self, name, first, count):
        return self._rows_of(f"{ROOT}/{name}", first, count)

    def _rows_of(self, path, first, count):
        return dataset(self._file, path, self.path)[first : first + count]

    def _mine(self, sizes):
        """(first, count) of this rank's rows, where pieces have `sizes`."""
        share = share_of_pieces(len(sizes), self._comm)
        return int(sizes[: share.start].sum()), int(sizes[share.start : share.stop].sum())

    def _read_field(self, layout, step):
        points, cells = self._index.sizes(step)
        first, count = self._mine(points if layout.location == "point" else cells)
        values = self._rows(f"{GROUPS[layout.location]}/{layout.name}", layout.offsets[step] + first, count)
        return values.reshape(count, *layout.tail).astype(np.float64, copy=False)

    def _read_parts(self, step, shape):
        """[(index, points, cells, ghost)] of this rank's pieces."""
        index = self._index
        n_points, n_cells = index.sizes(step)
        (point, p_count), (cell, c_count) = self._mine(n_points), self._mine(n_cells)
        share = share_of_pieces(len(n_cells), self._comm)
        points = self._rows("Points", index.point[step] + point, p_count).astype(np.float64, copy=False)
        n = shape.n_nodes
        cells = self._rows("Connectivity", index.connectivity[step] + n * cell, n * c_count)
        cells = cells.reshape(-1, n).astype(np.int64, copy=False)
        before = index.cell[step] + index.part[step] + cell + share.start
        own = n_cells[share.start : share.stop]
        self._check_types(step, index.cell[step] + cell, int(own.sum()), shape.vtk)
        self._check_offsets(step, before, own, shape)
        ghost = np.zeros(c_count, bool)
        if index.ghost is not None:
            marks = self._rows(f"CellData/{GHOST}", index.ghost[step] + cell, c_count)
            ghost = (marks.astype(np.uint8) & DUPLICATE_CELL).astype(bool)
        at_points = np.split(points, np.cumsum(n_points[share.start : share.stop])[:-1])
        at_cells = np.cumsum(n_cells[share.start : share.stop])[:-1]
        # np.split gives a rank without pieces one empty array
        parts = list(zip(share, at_points, np.split(cells, at_cells), np.split(ghost, at_cells), strict=False))
        for number, p, c, _ in parts:
            if len(c) and (c.min() < 0 or c.max() >= len(p)):
                raise FileError(f"{self.path}: step {step}, part {number}: cells name nodes beyond the {len(p)} it has")
        return parts

    def _read_polyhedra(self, step, faces):
        """[(index, PolyhedralPart)] of this rank's pieces."""
        index = self._index
        of_step = slice(index.part[step], index.part[step] + index.n_parts[step])
        n_points, n_cells = index.sizes(step)
        n_nodes, n_faces = faces.part_nodes[of_step], faces.part_faces[of_step]
        parts, share = [], share_of_pieces(len(n_cells), self._comm)
        for k in share:
            before = [int(sizes[:k].sum()) for sizes in (n_points, n_cells, n_nodes, n_faces)]
            point, cell, node, face = before
            name = f"{self.path}: step {step}, part {k}"
            self._check_types(step, index.cell[step] + cell, n_cells[k], VTK_POLYHEDRON)
            arrays = (
                self._rows("Points", index.point[step] + point, n_points[k]).astype(np.float64, copy=False),
                self._rows("PolyhedronOffsets", index.cell[step] + index.part[step] + cell + k, n_cells[k] + 1),
                self._rows("FaceOffsets", faces.offset[step] + face + k, n_faces[k] + 1),
                self._rows("FaceConnectivity", faces.node[step] + node, n_nodes[k]),
                self._rows_of(SIDES, faces.face[step] + face, n_faces[k]),
            )
            part = polyhedra_of(*arrays, name)
            try:
                checked_cells(part, name)
            except MeshError as error:
                raise FileError(str(error)) from None
            parts.append((k, part))
        return parts

    def _check_types(self, step, cell, count, expected):
        kinds = np.unique(self._rows("Types", cell, count)).tolist()
        if not set(kinds) <= {expected}:
            raise FileError(wrong_kinds(f"{self.path}: step {step}", sorted({expected, *kinds})))

    def _check_offsets(self, step, offset, sizes, shape):
        expected = [np.arange(0, shape.n_nodes * n + 1, shape.n_nodes) for n in sizes]
        offsets = self._rows("Offsets", offset, int(sizes.sum()) + len(sizes))
        if not np.array_equal(offsets, np.concatenate([np.empty(0, np.int64), *expected])):
            raise FileError(f"{self.path}: step {step}: Offsets are not those of {shape.name} one after another")
