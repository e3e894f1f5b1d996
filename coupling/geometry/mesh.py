"""Unstructured meshes and the fields that live on them.

A mesh may be cut into pieces, as a parallel simulation writes it. Each rank of ours holds a run of
whole pieces, and the arrays below are those pieces one after another: nothing is gathered. Nodes at
the seams occur in every piece that uses them; which *cells* are a piece's own is marked, and each
cell has exactly one owner.

Not for reading files: that is :mod:`coupling.vtk.vtu`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from mpi4py import MPI

from coupling.geometry.pieces import MeshError, Piece, bounds_of_points, fingerprint_of_pieces, share_of_pieces
from coupling.geometry.polyhedra import PolyhedralMesh
from coupling.geometry.shapes import ONE_SHAPE, SHAPES, TETRAHEDRON, Shape, Simplex

__all__ = [
    "AnyMesh",
    "Field",
    "Mesh",
    "MeshError",
    "Piece",
    "PolyhedralMesh",
    "State",
    "is_flat",
    "join_pieces",
    "of_elements",
    "piece_fingerprint",
    "share_of_pieces",
]


@dataclass(frozen=True)
class Mesh:
    """This rank's pieces of a mesh of finite elements.

    points : (N, 3) float64 [m], nodes in the order of the files
    cells : (E, n) int64, node numbers into `points`; n is 4 for tetrahedra
    ghost : (E,) bool, true where another piece owns the cell
    pieces : the rank's pieces, in rising order of their index
    n_pieces : number of pieces over all ranks
    fingerprint : hash of all pieces' points, cells and owners, the same on every rank
    shape : of the cells
    """

    points: np.ndarray
    cells: np.ndarray
    ghost: np.ndarray
    pieces: tuple[Piece, ...]
    n_pieces: int
    fingerprint: str
    shape: Shape = TETRAHEDRON

    @property
    def n_nodes(self) -> int:
        """Nodes on this rank, seam nodes counted in each piece."""
        return len(self.points)

    @property
    def n_cells(self) -> int:
        """Cells on this rank, ghosts included."""
        return len(self.cells)

    @cached_property
    def centroids(self) -> np.ndarray:
        """(E, 3) centres of the cells [m]: the means of their corners."""
        return self.points[self.cells[:, : self.shape.n_corners]].mean(axis=1)

    @cached_property
    def volumes(self) -> np.ndarray:
        """(E,) volumes of the cells [m³], in two dimensions areas [m²]."""
        return self.shape.volumes(self.points[self.cells])

    @cached_property
    def cell_reach(self) -> np.ndarray:
        """(E,) how far a cell's corners are from its centre [m]."""
        return np.linalg.norm(self.points[self.cells] - self.centroids[:, None], axis=2).max(axis=1, initial=0.0)

    @cached_property
    def gradients(self) -> np.ndarray:
        """(E, n, 3) gradients of the cells' hat functions [1/m], one for each corner; of linear simplices only."""
        if not isinstance(self.shape, Simplex) or self.shape.degree != 1:
            raise MeshError(f"gradients are known of linear triangles and tetrahedra, this mesh has {self.shape.name}")
        return self.shape.gradients(self.points[self.cells])

    def bounds(self, comm: MPI.Comm) -> np.ndarray:
        """(2, 3) lowest and highest coordinates over all ranks [m]. Collective."""
        return bounds_of_points(self.points, comm)


AnyMesh = Mesh | PolyhedralMesh


def is_flat(mesh: AnyMesh) -> bool:
    """Whether a mesh is of two dimensions: it then lies in a plane of constant z."""
    return isinstance(mesh, Mesh) and mesh.shape.dimension == 2


def of_elements(mesh: AnyMesh, what: str) -> Mesh:
    """The mesh, if it is one of finite elements.

    Raises
    ------
    MeshError
        if it is of polyhedra; the message begins with `what`
    """
    if isinstance(mesh, PolyhedralMesh):
        raise MeshError(f"{what} needs a mesh of finite elements; this one has polyhedra, given by their faces")
    return mesh


def piece_fingerprint(
    points: np.ndarray, cells: np.ndarray, ghost: np.ndarray, shape: Shape | None = TETRAHEDRON
) -> str:
    """Hash of one piece's geometry, connectivity and cell owners (hex, 16 bytes); no cells, no shape."""
    digest = hashlib.sha256()
    if len(cells) == 0:
        cells = np.empty((0, TETRAHEDRON.n_nodes), np.int64)
    elif shape is not None and shape is not TETRAHEDRON:  # whose hashes are in files of before
        digest.update(shape.name.encode())
    for array, kind in ((points, "<f8"), (cells, "<i8"), (ghost, "|b1")):
        digest.update(np.ascontiguousarray(array, dtype=kind).tobytes())
        digest.update(str(array.shape).encode())
    return digest.hexdigest()[:32]


def join_pieces(
    parts: Sequence[tuple[int, np.ndarray, np.ndarray, np.ndarray]],
    n_pieces: int,
    comm: MPI.Comm,
    shape: Shape | None = TETRAHEDRON,
) -> Mesh:
    """Make the rank's mesh of the pieces it read. Collective.

    Parameters
    ----------
    parts : list of (index, points, cells, ghost), the rank's pieces in rising order
    n_pieces : number of pieces over all ranks
    comm : MPI communicator
    shape : of the cells, None where this rank has none

    Returns
    -------
    Mesh

    Raises
    ------
    MeshError
        if the pieces over all ranks are not 0 … n_pieces − 1, each once, or have cells of several shapes
    """
    shapes = sorted({of.vtk for of in comm.allgather(shape) if of is not None})
    if len(shapes) > 1:
        raise MeshError(f"pieces of {' and of '.join(SHAPES[k].name for k in shapes)}; {ONE_SHAPE}")
    shape = SHAPES[shapes[0]] if shapes else TETRAHEDRON
    pieces, n_nodes, n_cells = [], 0, 0
    for index, points, cells, ghost in parts:
        pieces.append(
            Piece(
                index,
                slice(n_nodes, n_nodes + len(points)),
                slice(n_cells, n_cells + len(cells)),
                piece_fingerprint(points, cells, ghost, shape),
            )
        )
        n_nodes += len(points)
        n_cells += len(cells)
    fingerprint = fingerprint_of_pieces(pieces, n_pieces, comm)

    def stack(arrays, empty):
        return np.concatenate([empty, *arrays]) if parts else empty

    n = shape.n_nodes
    numbers = [c.reshape(-1, n) + s.nodes.start for (_, _, c, _), s in zip(parts, pieces, strict=True)]
    return Mesh(
        points=stack([p for _, p, _, _ in parts], np.empty((0, 3))),
        cells=stack(numbers, np.empty((0, n), np.int64)),
        ghost=stack([g for _, _, _, g in parts], np.empty(0, bool)),
        pieces=tuple(pieces),
        n_pieces=n_pieces,
        fingerprint=fingerprint,
        shape=shape,
    )


@dataclass(frozen=True)
class Field:
    """A field and the mesh it lives on.

    values : (N,) or (N, k) float64 at the nodes, or the same over cells when `location` is "cell"
    """

    name: str
    mesh: AnyMesh
    values: np.ndarray
    location: str = "point"

    def __post_init__(self) -> None:
        if self.location not in ("point", "cell"):
            raise MeshError(f"field {self.name}: location {self.location!r}, expected 'point' or 'cell'")
        if self.location == "point" and isinstance(self.mesh, PolyhedralMesh):
            raise MeshError(f"field {self.name}: has values at points; on polyhedra values are those of cells")
        expected = self.mesh.n_nodes if self.location == "point" else self.mesh.n_cells
        if len(self.values) != expected:
            raise MeshError(f"field {self.name}: {len(self.values)} values for {expected} {self.location}s of its mesh")

    @property
    def components(self) -> int:
        """1 for a scalar, 3 for a vector, 9 for a tensor."""
        return 1 if self.values.ndim == 1 else self.values.shape[1]

    def replaced(self, values: np.ndarray) -> "Field":
        """The same field with other values."""
        return Field(self.name, self.mesh, np.ascontiguousarray(values, dtype=np.float64), self.location)


@dataclass(frozen=True)
class State:
    """Fields of one time; they may live on several meshes.

    time : s since the simulation's own zero
    fields : {name: Field}
    """

    time: float
    fields: Mapping[str, Field]

    def __getitem__(self, name: str) -> Field:
        try:
            return self.fields[name]
        except KeyError:
            raise MeshError(f"no field {name!r} at time {self.time:g} s; there are {sorted(self.fields)}") from None
