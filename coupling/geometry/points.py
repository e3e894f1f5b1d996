"""The mesh's own nodes, or cells of polyhedra, as the points of the analysis, for meshes that do not change.

There is then no interpolation between model and analysis: P picks each node once, Q copies its value to every copy in
the pieces of a parallel run. Cells of polyhedra have no copies. Points are numbered in the order of the pieces and
divided among the ranks in contiguous runs, so that nothing depends on the number of ranks. Copies are identified by
place: two nodes of different pieces at the same place are the same node; where each cell has nodes of its own (P1DG),
those of the same cell.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from coupling.common.collective import raise_together
from coupling.geometry.grid import share_of_points
from coupling.geometry.interpolation import Interpolation, multiply, numbering, sparse_rows
from coupling.geometry.mesh import AnyMesh, Field, MeshError, PolyhedralMesh

_INT = PETSc.IntType
# odd and large, so that a place's bits spread over the ranks: any would do
_FACTORS = np.array(
    [0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9]
    + [0x27D4EB2F165667C5, 0x85EBCA77C2B2AE63, 0xFF51AFD7ED558CCD],
    np.uint64,
)


@dataclass(frozen=True)
class MeshPoints:
    """The nodes of one mesh, or its cells if they are polyhedra, each once.

    n_points : their number, over all ranks
    location : "point" or "cell", where fields on the mesh have their values
    mesh_fingerprint : of the mesh they belong to
    origin : lowest corner of its box [m]
    between : P and Q, both of zeros and ones
    own_places : (len(rows), 3) nodes, or centres of cells, of this rank's points [m]
    """

    n_points: int
    location: str
    mesh_fingerprint: str
    origin: tuple[float, float, float]
    between: Interpolation = field(repr=False)
    own_places: np.ndarray = field(repr=False)

    @property
    def fluid_points(self) -> np.ndarray:
        """(n_points,) bool, all true: nodes and cells lie in the air."""
        return np.ones(self.n_points, bool)

    def rows(self, comm: MPI.Comm) -> range:
        """The run of point numbers that this rank holds."""
        return share_of_points(self.n_points, comm)

    def places(self, comm: MPI.Comm) -> np.ndarray:
        """(len(rows), 3) places of the points that this rank holds [m]."""
        return self.own_places

    @property
    def description(self) -> dict[str, Any]:
        """What the header of a modes file records."""
        return {f"mesh {self.what}": self.n_points}

    @property
    def fingerprint(self) -> str:
        """Hash of the points: that of their mesh."""
        return self.mesh_fingerprint

    def __str__(self) -> str:
        return f"{self.n_points} mesh {self.what}"

    @property
    def what(self) -> str:
        """What the points are: nodes or cells."""
        return "nodes" if self.location == "point" else "cells"

    def interpolation(self, of: Field) -> Interpolation:
        """P and Q of a field's mesh.

        Raises
        ------
        MeshError
            if the field is on another mesh, or has its values elsewhere
        """
        if of.location != self.location or of.mesh.fingerprint != self.mesh_fingerprint:
            raise MeshError(
                f"a field at the {of.location}s of mesh {of.mesh.fingerprint[:8]} was given to an analysis on the"
                f" {self.what} of mesh {self.mesh_fingerprint[:8]};"
                " with space: mesh all states and variables share one mesh"
                f" and have their values at its {self.what}, otherwise use space: grid"
            )
        return self.between


def mesh_points(mesh: AnyMesh, comm: MPI.Comm) -> MeshPoints:
    """The points of a mesh. Collective.

    Raises
    ------
    MeshError
        if the mesh is cut into pieces and one has two nodes at the same place that their cells do not distinguish:
        copies and neighbours then look the same
    """
    location = "cell" if isinstance(mesh, PolyhedralMesh) else "point"
    offset, n_local = numbering(mesh, location, comm)
    node = np.arange(offset, offset + n_local)
    owner = _owners(mesh, node, comm)
    owned = owner == node
    n_owned = int(owned.sum())
    before = comm.exscan(n_owned) or 0  # type: ignore[attr-defined]  # ours are all intracommunicators
    numbers = PETSc.Vec().createMPI((n_local, None), comm=comm)
    numbers.array[owned] = np.arange(before, before + n_owned)
    number = _picked(numbers, owner, comm).astype(np.int64)
    n_points = comm.allreduce(n_owned)
    n_rows = len(share_of_points(n_points, comm))
    rows = np.flatnonzero(owned)
    to_points = sparse_rows(n_local, n_rows, rows, number[owned], np.ones(n_owned), comm).transpose()
    to_mesh = sparse_rows(n_local, n_rows, np.arange(n_local), number, np.ones(n_local), comm)
    origin = tuple(mesh.bounds(comm)[0].tolist())
    between = Interpolation(to_points, to_mesh)
    places = multiply(to_points, mesh.points if location == "point" else mesh.centroids)
    return MeshPoints(n_points, location, mesh.fingerprint, origin, between, places)


def _owners(mesh, node, comm):
    """(n_local,) the first of all nodes at the same place, by its number over all ranks."""
    if isinstance(mesh, PolyhedralMesh) or comm.allreduce(len(mesh.pieces)) == 1:
        return node
    places = _places(mesh, comm)
    # the rank that matches a place follows from the place's hash, so that no rank has all of them
    with np.errstate(over="ignore"):
        hashes = (places.view(np.uint64) * _FACTORS[: places.shape[1]]).sum(axis=1)
    desk = (hashes >> np.uint64(17)) % np.uint64(comm.size)
    piece = np.empty(len(node), np.int64)
    for part in mesh.pieces:
        piece[part.nodes] = part.index
    chosen = [np.flatnonzero(desk == rank) for rank in range(comm.size)]
    received = comm.alltoall([(places[c], node[c], piece[c]) for c in chosen])
    places, ids, pieces = (np.concatenate(part) for part in zip(*received, strict=True))
    _, place = np.unique(places, axis=0, return_inverse=True)
    place = place.ravel()
    twice = len(np.unique(np.stack([place, pieces]), axis=1).T) < len(ids)
    raise_together(MeshError(_TWICE) if twice else None, comm)
    first = np.full(place.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, place, ids)
    ends = np.cumsum([len(part[1]) for part in received])[:-1]
    answers = comm.alltoall(np.split(first[place], ends))
    owner = np.empty(len(node), np.int64)
    for nodes, answer in zip(chosen, answers, strict=True):
        owner[nodes] = answer
    return owner


_TWICE = "space: mesh cannot be used: a piece of the mesh has two nodes at the same place; use space: grid"


def _places(mesh, comm):
    """(n_local, 3) or (n_local, 6) float64 that distinguish a node from all others but its copies in other pieces."""
    places = mesh.points + 0.0  # no −0.0, which has other bits
    own_nodes = np.array_equal(np.sort(mesh.cells, axis=None), np.arange(len(places)))
    if not comm.allreduce(own_nodes, MPI.LAND):
        return np.ascontiguousarray(places)
    centres = np.empty_like(places)
    # copies of a cell list its nodes in the same order, so that the sums are the same bit for bit
    centres[mesh.cells] = (mesh.points[mesh.cells].sum(axis=1) + 0.0)[:, None]
    return np.ascontiguousarray(np.hstack([places, centres]))


def _picked(vector, wanted, comm):
    """(k,) entries of a PETSc Vec by their numbers. Collective."""
    into = PETSc.Vec().createSeq(len(wanted))
    source = PETSc.IS().createGeneral(wanted.astype(_INT), comm=PETSc.COMM_SELF)
    scatter = PETSc.Scatter().create(vector, source, into, None)
    scatter.scatter(vector, into)
    return into.array.copy()
