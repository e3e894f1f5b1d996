"""The layout of a temporal VTKHDF file of an UnstructuredGrid, and its checks.

Part p of a step has `NumberOfPoints[p]` rows of /VTKHDF/Points, and so on; a step's parts follow each
other, beginning at the rows given in the group Steps. Steps on one mesh give the same row. Each part
has one more entry in Offsets than it has cells.

In addition to what VTK reads there is a group of our own, with the fingerprint of every mesh; files of
other programs lack it and can be read all the same.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from coupling.archive.cells import OURS, ROOT, SIDES
from coupling.common.files import FileError
from coupling.common.hdf5 import claim_problem
from coupling.geometry.shapes import ONE_SHAPE, SHAPES, TETRAHEDRON, Shape
from coupling.vtk.cells import wrong_kinds
from coupling.vtk.vtu import GHOST, TIME

TYPE = "UnstructuredGrid"
VERSION = (2, 0)
VERSION_OF_POLYHEDRA = (2, 5)  # the first that has them
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
    faces : FaceRows of polyhedra, else None
    shape : of all cells; of polyhedra None
    fields : {name: FieldLayout}
    fingerprints : (S,) of each step's mesh, or None in files of other programs
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
    faces: "FaceRows | None"
    shape: Shape | None
    fields: dict[str, FieldLayout]
    fingerprints: np.ndarray | None

    def mesh_key(self, step: int) -> tuple[int, ...]:
        """Equal for steps whose mesh is stored in the same rows."""
        places = (self.part, self.n_parts, self.point, self.cell, self.connectivity)
        return tuple(int(a[step]) for a in (*places, *([] if self.ghost is None else [self.ghost])))

    def sizes(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Points and cells of each part of a step."""
        parts = slice(self.part[step], self.part[step] + self.n_parts[step])
        return self.part_points[parts], self.part_cells[parts]


@dataclass(frozen=True)
class FaceRows:
    """Where the faces of a mesh of polyhedra lie, each cell's own.

    node, face : (S,) first rows of a step in FaceConnectivity, and in PolyhedronToFaces and `SIDES`
    offset : (S,) first row in FaceOffsets
    part_nodes, part_faces : (P,) rows of each part
    """

    node: np.ndarray
    face: np.ndarray
    offset: np.ndarray
    part_nodes: np.ndarray
    part_faces: np.ndarray


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
        part_points, faces = self._numbers("NumberOfPoints"), self._faces()
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
            faces=faces,
            shape=self._shape() if faces is None else None,
            fields={},
            fingerprints=self._fingerprints(),
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
        return _by_step(index.part_points if location == "point" else index.part_cells, index)

    def _check_meshes(self, index):
        sizes = index.part_points, index.part_cells
        if len(sizes[0]) != len(sizes[1]) or min(s.min(initial=0) for s in sizes) < 0:
            raise FileError(f"{self.path}: NumberOfPoints and NumberOfCells do not fit each other")
        # each by itself first: the sum of two large numbers may be a small one
        most = max(index.part.max(), index.n_parts.max(), (index.part + index.n_parts).max())
        if index.part.min() < 0 or index.n_parts.min() < 1 or most > len(sizes[0]):
            raise FileError(f"{self.path}: Steps names parts beyond the {len(sizes[0])} there are")
        shape = self._dataset("Points").shape
        if shape[1:] != (3,) or sizes[0].max() > shape[0] or sizes[1].max() > len(self._dataset("Types")):
            raise FileError(f"{self.path}: Points has shape {shape}, expected (N, 3) with room for every part")
        points, cells = self._rows(index, "point"), self._rows(index, "cell")
        self._check_rows(f"{ROOT}/Points", index.point, points)
        self._check_rows(f"{ROOT}/Types", index.cell, cells)
        self._check_rows(f"{ROOT}/Offsets", index.cell + index.part, cells + index.n_parts)
        if index.faces is None:
            self._check_nodes(index, index.shape, cells)
        else:
            self._check_faces(index, index.faces, cells)

    def _check_nodes(self, index, shape, cells):
        n = shape.n_nodes
        if not np.array_equal(self._numbers("NumberOfConnectivityIds"), n * index.part_cells):
            raise FileError(f"{self.path}: has cells without the {n} nodes of {shape.name}; {ONE_SHAPE}")
        self._check_rows(f"{ROOT}/Connectivity", index.connectivity, n * cells)

    def _faces(self):
        """FaceRows, or None where there are no faces."""
        if node(self.file, f"{ROOT}/NumberOfFaces", self.path) is None or not self._numbers("NumberOfFaces").any():
            return None
        if node(self.file, SIDES, self.path) is None:
            raise FileError(
                f"{self.path}: polyhedra of another program: {SIDES} is missing, without which two cells' faces are not"
                " known to be one; pack the simulation's own files with plugin.archive"
            )
        return FaceRows(
            node=self._by_step("FaceConnectivityOffsets"),
            face=self._by_step("PolyhedronToFaceIdOffsets"),
            offset=self._by_step("FaceOffsetsOffsets"),
            part_nodes=self._numbers("NumberOfFaceConnectivityIds"),
            part_faces=self._numbers("NumberOfPolyhedronToFaceIds"),
        )

    def _check_faces(self, index, faces, cells):
        sides = len(dataset(self.file, SIDES, self.path))
        for sizes, n_rows in ((faces.part_nodes, len(self._dataset("FaceConnectivity"))), (faces.part_faces, sides)):
            # each by itself first: the sum of large numbers may be a small one
            if len(sizes) != len(index.part_cells) or sizes.min(initial=0) < 0 or sizes.max(initial=0) > n_rows:
                raise FileError(f"{self.path}: the numbers of faces and their nodes do not fit its parts")
        n_faces, n_nodes = (_by_step(sizes, index) for sizes in (faces.part_faces, faces.part_nodes))
        self._check_rows(f"{ROOT}/FaceConnectivity", faces.node, n_nodes)
        self._check_rows(SIDES, faces.face, n_faces)
        self._check_rows(f"{ROOT}/FaceOffsets", faces.offset, n_faces + index.n_parts)
        self._check_rows(f"{ROOT}/PolyhedronOffsets", index.cell + index.part, cells + index.n_parts)

    def _check_rows(self, name, first, count):
        n_rows = len(dataset(self.file, name, self.path))
        last = max(first.max(), (first + count).max())
        if first.min() < 0 or last > n_rows:
            raise FileError(f"{self.path}: Steps has rows {first.min()} … {last} of {name}, which has {n_rows}")


def _by_step(sizes, index):
    """(S,) sums of parts' sizes."""
    total = np.concatenate([[0], np.cumsum(sizes)])
    return total[index.part + index.n_parts] - total[index.part]
