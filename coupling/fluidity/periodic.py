"""Fields of periodic meshes, opened: on the mesh that theirs was made of, each node at each of its places.

A node of a periodic mesh stands for all nodes of the mesh file that periodicity makes one. In a checkpoint's VTU it
lies at one of their places, so that cells at the seam reach across the domain: points would be found in the wrong
cells. The mesh file has the same cells in the same order, each where it is. Fields whose cells have nodes of their own
(P1DG, P0) are written where they are, and stay as they are.

Increments at the places of a node differ, as they come from different sides of the domain: joined again, it gets their
mean, which lets a field that is the same at all places of its nodes come back bit for bit. Of a mesh in pieces the mean
is over the places in all of them, so that copies in halos, which the model does not refresh, are their owners' values.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from lxml import etree
from mpi4py import MPI
from scipy.sparse.csgraph import connected_components

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.fluidity.msh import GmshMesh, read_msh
from coupling.fluidity.named_files import field_elements, file_name, mesh_file, pieces_of
from coupling.geometry.mesh import AnyMesh, Field, Mesh, Piece, join_pieces, of_elements
from coupling.vtk.cells import CellsError

_SAME_PLACE = 1e-9  # × extent of the mesh, as in the model


def periodic_files(tree: etree._ElementTree, folder: Path) -> dict[Path, list[Path]]:
    """{file of fields on a periodic mesh: the .msh files that the mesh is made of, by piece}; none if in no file."""
    files = {}
    for _, element in field_elements(tree):
        base, periodic = mesh_file(tree, element.getparent().getparent().find("mesh").get("name"))
        if periodic:
            path = folder / file_name(element)
            cut = base is not None and path.suffix == ".pvtu"
            files[path] = [] if base is None else pieces_of(folder, base) if cut else [folder / f"{base}.msh"]
    return files


def opened(fields: Mapping[str, Field], meshes: Sequence[Path], comm: MPI.Comm) -> dict[str, Field]:
    """The fields of one file on the mesh of the mesh files, if theirs is joined. Collective.

    Parameters
    ----------
    fields : {name: Field} of one VTU or PVTU, one or more
    meshes : the .msh files, in the order of the pieces, as of `periodic_files`
    comm : MPI communicator

    Raises
    ------
    FileError
        on every rank, if a mesh file is broken; a CellsError if it is not what the fields' mesh was made of
    """
    joined = of_elements(next(iter(fields.values())).mesh, "a periodic mesh")
    if not meshes:
        raise CellsError(
            f"{', '.join(fields)}: on a periodic mesh, and the mesh that this was made of is in no file; remove "
            f"{'it' if len(fields) == 1 else 'them'} from `variables`, or run in serial on the mesh of before periodise"
        )
    extent = np.ptp(joined.bounds(comm), axis=0).max()
    files, problem = [], None
    try:
        files = [_same_cells(joined, piece, meshes[piece.index]) for piece in joined.pieces]
    except FileError as error:
        problem = error
    raise_together(problem, comm)
    apart = [np.abs(msh.points[msh.cells] - joined.points[cells]).max(initial=0.0) for msh, cells in files]
    if not comm.allreduce(any(off > _SAME_PLACE * extent for off in apart), MPI.LOR):
        return dict(fields)
    several = [meshes[p.index] for p, (msh, cells) in zip(joined.pieces, files, strict=True) if _in_two(msh, cells)]
    raise_together(CellsError(f"{several[0]}: a node of it is two of the fields'; {_TAKE}") if several else None, comm)
    parts = [
        (piece.index, msh.points, msh.cells, joined.ghost[piece.cells])
        for piece, (msh, _) in zip(joined.pieces, files, strict=True)
    ]
    mesh = join_pieces(parts, joined.n_pieces, comm, joined.shape if parts else None)
    node = _joined_nodes(mesh, joined)
    return {
        name: Field(name, mesh, of.values[node] if of.location == "point" else of.values, of.location)
        for name, of in fields.items()
    }


def joined_again(field: Field, joined: AnyMesh, comm: MPI.Comm) -> Field:
    """A field as `opened` gave it, with other values, on its file's own mesh; one of another mesh as it is. Collective.

    Only nodes of several places are sent to other ranks.
    """
    own, joined = of_elements(field.mesh, "a periodic mesh"), of_elements(joined, "a periodic mesh")
    other = own.cells.shape != joined.cells.shape
    if field.mesh.fingerprint == joined.fingerprint or comm.allreduce(other, MPI.LOR):
        return field  # whoever writes it compares the meshes
    if field.location == "cell":
        return Field(field.name, joined, field.values, "cell")
    node = _joined_nodes(own, joined)
    values = np.empty((joined.n_nodes, *field.values.shape[1:]))
    values[node] = field.values
    several = np.bincount(node, minlength=joined.n_nodes)[node] > 1
    places, means = _means(own.points[several], node[several], field.values[several], comm)
    if len(places):
        at = {place.tobytes(): k for k, place in enumerate(places)}
        which = np.array([at.get(place.tobytes(), -1) for place in own.points + 0.0])
        values[node[which >= 0]] = means[which[which >= 0]]
    return Field(field.name, joined, values, "point")


def _means(points, node, values, comm):
    """(places (P, 3) of nodes that have several, over all ranks; the mean over the places of each one's node)."""
    of_rank = comm.allgather((points, node, values))
    # numbers of nodes are a rank's own
    first = np.cumsum([0, *(nodes.max(initial=-1) + 1 for _, nodes, _ in of_rank)])
    points, values = (np.concatenate([rank[k] for rank in of_rank]) for k in (0, 2))
    node = np.concatenate([nodes + begin for (_, nodes, _), begin in zip(of_rank, first, strict=False)])
    places, at, place = np.unique(points + 0.0, axis=0, return_index=True, return_inverse=True)  # -0.0 is 0.0
    if len(places) == 0:
        return places, values
    # a node of one piece and a node of another that have a place in common are one
    n = len(places)
    ones = np.ones(len(node), np.int8)
    graph = sp.coo_matrix((ones, (place.ravel(), n + node)), (n + node.max() + 1,) * 2)
    one = np.unique(connected_components(graph, directed=False)[1][:n], return_inverse=True)[1].ravel()
    begin = values[at][np.unique(one, return_index=True)[1]]
    # the mean as a difference from the first, so that equal values give themselves
    apart = np.zeros_like(begin)
    np.add.at(apart, one, values[at] - begin[one])
    number = np.bincount(one).reshape(-1, *(1,) * (begin.ndim - 1))
    return places, (begin + apart / number)[one]


def _joined_nodes(own: Mesh, joined: Mesh) -> np.ndarray:
    """(N,) the joined mesh's node of each node; a cell's nodes are in the same order in both."""
    node = np.zeros(own.n_nodes, np.int64)
    node[own.cells] = joined.cells
    return node


def _same_cells(joined: Mesh, piece: Piece, path: Path) -> tuple[GmshMesh, np.ndarray]:
    """A mesh file, and (E, n) the joined mesh's cells of the same piece."""
    msh, cells = read_msh(path), joined.cells[piece.cells]
    if msh.shape is not joined.shape or msh.cells.shape != cells.shape:
        raise CellsError(
            f"{path}: has {len(msh.cells)} {msh.shape.name}, the periodic mesh of the fields {len(cells)} "
            f"{joined.shape.name}; {_TAKE}"
        )
    return msh, cells


def _in_two(msh: GmshMesh, cells: np.ndarray) -> bool:
    """Whether a node of a mesh file is several nodes of the fields' cells."""
    node = np.zeros(len(msh.points), np.int64)
    node[msh.cells] = cells
    return bool((node[msh.cells] != cells).any())


_TAKE = "of periodic meshes only linear fields can be analysed, as the model wrote them, beside their mesh file"
