"""The layout of a temporal VTKHDF file of an UnstructuredGrid, and its checks.

Part p of a step has `NumberOfPoints[p]` rows of /VTKHDF/Points, and so on; a step's parts follow each
other, beginning at the rows given in the group Steps. Steps on one mesh give the same row. Each part
has one more entry in Offsets than it has cells.

In addition to what VTK reads there is a group of our own, with the fingerprint of every mesh; files of
other programs lack it and can be read all the same.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from coupling.common.files import FileError
from coupling.common.hdf5 import claim_problem
from coupling.geometry.shapes import ONE_SHAPE, SHAPES, TETRAHEDRON, Shape
from coupling.vtk.vtu import GHOST, TIME, wrong_kinds

ROOT = "VTKHDF"
OURS = "FluidityDA"
TYPE = "UnstructuredGrid"
VERSION = (2, 0)
GROUPS = {"point": "PointData", "cell": "CellData"}


@dataclass(frozen=True)
class FieldLayout:
    """Where a field lies: row `offsets[k]` and on of its dataset is step k.

    tail : () for scalars, (3,) for vectors, (9,) for tensors
    kind : type of the stored numbers, as numpy writes it
    """

    name: str
    location: str
    tail: tuple[int, ...]
    kind: str
    offsets: np.ndarray

    @property
    def dataset(self) -> str:
        """Path of its dataset."""
        return f"{ROOT}/{GROUPS[self.location]}/{self.name}"


@dataclass(frozen=True)
class Index:
    """An archive's small arrays, read before the large ones. (S,) arrays are by step, (P,) by part.

    times : (S,) [s], rising
    part, n_parts : (S,) a step's first part and how many it has
    point, cell, connectivity : (S,) first rows of a step's mesh
    ghost : (S,) first row of the step's ghost marks, or None where there are none
    part_points, part_cells : (P,) sizes of the parts
    fields : {name: FieldLayout}
    fingerprints : (S,) of each step's mesh, or None in files of other programs
    shape : of all cells
    """

    times: np.ndarray
    part: np.ndarray
    n_parts: np.ndarray
    point: np.ndarray
    cell: np.ndarray
    connectivity: np.ndarray
    ghost: np.ndarray | None
    part_points: np.ndarray
    part_cells: np.ndarray
    fields: dict[str, FieldLayout]
    fingerprints: np.ndarray | None
    shape: Shape

    def mesh_key(self, step: int) -> tuple[int, ...]:
        """Equal for steps whose mesh is stored in the same rows."""
        places = (self.part, self.n_parts, self.point, self.cell, self.connectivity)
        return tuple(int(a[step]) for a in (*places, *([] if self.ghost is None else [self.ghost])))

    def sizes(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Points and cells of each part of a step."""
        parts = slice(self.part[step], self.part[step] + self.n_parts[step])
        return self.part_points[parts], self.part_cells[parts]


@dataclass(frozen=True)
class FieldInfo:
    """A field and the space it takes; see :func:`describe`."""

    name: str
    location: str
    components: int
    kind: str
    raw_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class MeshInfo:
    """A mesh and the steps that are on it; nodes and cells of all parts, ghosts included."""

    nodes: int
    cells: int
    parts: int
    steps: int
    first_step: int
    fingerprint: str | None


def describe(path: str | Path) -> tuple[np.ndarray, tuple[FieldInfo, ...], tuple[MeshInfo, ...]]:
    """(times, fields, meshes) of an archive: (S,) [s], tuple of FieldInfo, tuple of MeshInfo. Not collective."""
    index = read_index(path)
    meshes: dict[tuple[int, ...], list[int]] = {}
    for step in range(len(index.times)):
        n_points, n_cells = index.sizes(step)
        numbers = [n_points.sum(), n_cells.sum(), len(n_points), 0, step]
        meshes.setdefault(index.mesh_key(step), numbers)[3] += 1
    fields = []
    with opened(path) as file, damage_named(path):
        for f in index.fields.values():
            stored = dataset(file, f.dataset, path)
            sizes = math.prod(stored.shape) * stored.dtype.itemsize, stored.id.get_storage_size()
            fields.append(FieldInfo(f.name, f.location, int(np.prod(f.tail)), f.kind, *sizes))
    prints = index.fingerprints
    infos = []
    for nodes, cells, parts, steps, first in (map(int, numbers) for numbers in meshes.values()):
        infos.append(MeshInfo(nodes, cells, parts, steps, first, None if prints is None else str(prints[first])))
    return index.times, tuple(fields), tuple(infos)


def opened(path: str | Path) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    FileError
        if there is no such file or it is no HDF5 file
    """
    path = Path(path)
    if not path.is_file():
        raise FileError(f"{path}: no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise FileError(f"{path}: not a whole HDF5 file ({error}); expected a temporal VTKHDF archive") from None


@contextmanager
def damage_named(path: str | Path) -> Iterator[None]:
    """HDF5's reading errors become FileErrors that name the file."""
    try:
        yield
    except FileError:
        raise
    # MemoryError: an impossible size
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError) as error:
        raise FileError(f"{path}: is damaged, or not what VTKHDF is: {error}") from None


def node(file: h5py.File, name: str, path: str | Path) -> h5py.Group | h5py.Dataset | None:
    """Open a group or dataset, or return None if it is missing. Only what is in this file itself is opened.

    Raises
    ------
    FileError
        for a link, which may lead to any file of this machine
    """
    at = file
    for word in name.split("/"):
        if not isinstance(at, h5py.Group) or not at.id.links.exists(word.encode()):
            return None
        if at.id.links.get_info(word.encode()).type != h5py.h5l.TYPE_HARD:
            raise FileError(f"{path}: {name} is a link, which is refused; copy what it leads to into the file")
        at = at[word]
    return at


def dataset(file: h5py.File, name: str, path: str | Path, kinds: str = "fiu") -> h5py.Dataset:
    """Open a dataset that must be there, of numbers or of other `kinds` of numpy's, with its values in this file.

    Raises
    ------
    FileError
        if it is missing, a group, a link, keeps its values elsewhere, or claims more than the file can hold
    """
    values = node(file, name, path)
    if not isinstance(values, h5py.Dataset):
        raise FileError(f"{path}: no dataset {name}; expected a temporal VTKHDF archive of type {TYPE}")
    if values.is_virtual or values.external:
        raise FileError(f"{path}: {name} keeps its values in other files, which is refused; copy them into this file")
    if values.dtype.kind not in kinds:
        raise FileError(f"{path}: {name} holds {values.dtype}, expected {'numbers' if kinds == 'fiu' else 'texts'}")
    if (problem := claim_problem(values)) is not None:
        raise FileError(f"{path}: {name} {problem}; was it written whole?")
    return values


def read_index(path: str | Path) -> Index:
    """Read and check an archive's index. Not collective.

    Raises
    ------
    FileError
        if the file is not a temporal VTKHDF archive of an UnstructuredGrid, or contradicts itself
    """
    with opened(path) as file, damage_named(path):
        _check_kind(file, path)
        return _Indexing(file, path).index()


def _check_kind(file, path):
    root = node(file, ROOT, path)
    if not isinstance(root, h5py.Group):
        raise FileError(f"{path}: HDF5 with {sorted(file)}, but no group {ROOT}; expected a temporal VTKHDF archive")
    kind = root.attrs.get("Type", b"nothing")
    kind = kind.decode(errors="replace") if isinstance(kind, bytes) else str(kind)
    if kind != TYPE:
        raise FileError(f"{path}: VTKHDF of type {kind}, expected {TYPE}")
    version = np.ravel(root.attrs.get("Version", [0, 0])).tolist()
    if version[:1] != [VERSION[0]]:
        raise FileError(f"{path}: VTKHDF version {'.'.join(map(str, version))}, expected {VERSION[0]}.x")
    if not isinstance(node(file, f"{ROOT}/Steps", path), h5py.Group):
        raise FileError(f"{path}: has no group Steps: one state without a time; expected a temporal VTKHDF archive")


class _Indexing:
    """Reads the small arrays of one open file."""

    def __init__(self, file: h5py.File, path: str | Path) -> None:
        self.file, self.path = file, path
        values = dataset(file, f"{ROOT}/Steps/Values", path)
        self.n_steps = int(file[f"{ROOT}/Steps"].attrs.get("NSteps", len(values)))
        if self.n_steps < 1:
            raise FileError(f"{path}: has no steps; expected a temporal VTKHDF archive of one step or more")

    def index(self) -> Index:
        """The checked index."""
        part_points = self._numbers("NumberOfPoints")
        index = Index(
            times=self._times(),
            part=self._by_step("PartOffsets"),
            n_parts=self._by_step("NumberOfParts", np.full(self.n_steps, len(part_points))),
            point=self._by_step("PointOffsets"),
            cell=self._by_step("CellOffsets"),
            connectivity=self._by_step("ConnectivityIdOffsets"),
            ghost=None,
            part_points=part_points,
            part_cells=self._numbers("NumberOfCells"),
            fields={},
            fingerprints=self._fingerprints(),
            shape=self._shape(),
        )
        self._check_meshes(index)
        fields, ghost = {}, None
        for layout in self._layouts(index):
            self._check_rows(layout.dataset, layout.offsets, self._rows(index, layout.location))
            if layout.location == "cell" and layout.name == GHOST:
                ghost = layout.offsets
            elif layout.name in fields:
                raise FileError(f"{self.path}: {layout.name} is there at points and at cells; rename one of them")
            elif layout.name not in (TIME, GHOST):  # the time is in the steps; marks at points are no field
                fields[layout.name] = layout
        return Index(**{**vars(index), "fields": fields, "ghost": ghost})

    def _dataset(self, name):
        return dataset(self.file, f"{ROOT}/{name}", self.path)

    def _numbers(self, name):
        return self._dataset(name)[...].astype(np.int64).ravel()

    def _by_step(self, name, otherwise=None):
        if otherwise is not None and node(self.file, f"{ROOT}/Steps/{name}", self.path) is None:
            return otherwise
        values = self._dataset(f"Steps/{name}")
        if len(values) < self.n_steps or values.size != len(values):
            raise FileError(f"{self.path}: Steps/{name} has shape {values.shape}, expected one value for each step")
        return values[: self.n_steps].astype(np.int64).ravel()

    def _times(self):
        values = self._dataset("Steps/Values")[: self.n_steps].astype(np.float64).ravel()
        if len(values) != self.n_steps or not np.isfinite(values).all() or (np.diff(values) <= 0).any():
            raise FileError(f"{self.path}: Steps/Values are not {self.n_steps} rising times")
        return values

    def _fingerprints(self):
        if node(self.file, OURS, self.path) is None:
            return None
        prints = dataset(self.file, f"{OURS}/fingerprints", self.path, "S")
        mesh = dataset(self.file, f"{OURS}/mesh", self.path)[...]
        if len(mesh) != self.n_steps:
            raise FileError(f"{self.path}: its group {OURS} does not fit its {self.n_steps} steps; remove the group")
        if mesh.min() < 0 or mesh.max() >= len(prints):
            raise FileError(f"{self.path}: {OURS}/mesh names meshes that {OURS}/fingerprints has not")
        return prints[...].astype(str)[mesh]

    def _shape(self):
        """The shape of the first cell; whether it is that of all is looked at as they are read."""
        kinds = self._dataset("Types")[:1].tolist() or [TETRAHEDRON.vtk]
        if kinds[0] not in SHAPES:
            raise FileError(wrong_kinds(self.path, kinds))
        return SHAPES[kinds[0]]

    def _layouts(self, index):
        for location, group in GROUPS.items():
            names = node(self.file, f"{ROOT}/{group}", self.path)
            for name in sorted(names or ()):
                values = node(self.file, f"{ROOT}/{group}/{name}", self.path)
                if isinstance(values, h5py.Dataset) and values.dtype.kind in "fiu" and values.ndim in (1, 2):
                    tail = values.shape[1:] if values.shape[1:] != (1,) else ()
                    # as in VTK, arrays without offsets of their own have the mesh's
                    place = index.point if location == "point" else index.cell
                    offsets = self._by_step(f"{group}Offsets/{name}", place)
                    yield FieldLayout(name, location, tail, values.dtype.str, offsets)

    def _rows(self, index, location):
        total = np.concatenate([[0], np.cumsum(index.part_points if location == "point" else index.part_cells)])
        return total[index.part + index.n_parts] - total[index.part]

    def _check_meshes(self, index):
        sizes = index.part_points, index.part_cells
        if len(sizes[0]) != len(sizes[1]) or min(s.min(initial=0) for s in sizes) < 0:
            raise FileError(f"{self.path}: NumberOfPoints and NumberOfCells do not fit each other")
        # each by itself first: the sum of two large numbers may be a small one
        most = max(index.part.max(), index.n_parts.max(), (index.part + index.n_parts).max())
        if index.part.min() < 0 or index.n_parts.min() < 1 or most > len(sizes[0]):
            raise FileError(f"{self.path}: Steps names parts beyond the {len(sizes[0])} there are")
        n = index.shape.n_nodes
        if not np.array_equal(self._numbers("NumberOfConnectivityIds"), n * sizes[1]):
            raise FileError(f"{self.path}: has cells without the {n} nodes of {index.shape.name}; {ONE_SHAPE}")
        shape = self._dataset("Points").shape
        if shape[1:] != (3,) or sizes[0].max() > shape[0] or sizes[1].max() > len(self._dataset("Types")):
            raise FileError(f"{self.path}: Points has shape {shape}, expected (N, 3) with room for every part")
        points, cells = self._rows(index, "point"), self._rows(index, "cell")
        self._check_rows(f"{ROOT}/Points", index.point, points)
        self._check_rows(f"{ROOT}/Types", index.cell, cells)
        self._check_rows(f"{ROOT}/Connectivity", index.connectivity, n * cells)
        self._check_rows(f"{ROOT}/Offsets", index.cell + index.part, cells + index.n_parts)

    def _check_rows(self, name, first, count):
        n_rows = len(dataset(self.file, name, self.path))
        last = max(first.max(), (first + count).max())
        if first.min() < 0 or last > n_rows:
            raise FileError(f"{self.path}: Steps has rows {first.min()} … {last} of {name}, which has {n_rows}")
