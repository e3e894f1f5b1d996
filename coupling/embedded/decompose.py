"""Cut a mesh for a parallel run: python -m coupling.embedded.decompose mesh.msh N.

It writes mesh_0.msh, mesh_0.halo … mesh_{N-1}.halo beside the mesh, as Fluidity's own decomposer does:
each process gets its own nodes first, then those that share a cell with them (level 1), then one layer
more (level 2), and all cells that touch a node of its own or of level 1: its own cells first (the
lowest process that owns one of a cell's nodes owns the cell), then others' that touch its nodes.
Running it again cuts the same way.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from coupling.common.files import FileError
from coupling.common.text import printable
from coupling.fluidity.halo import Halo, HaloLevel, write_halo
from coupling.fluidity.msh import GmshMesh, read_msh, write_msh


def node_graph(cells: np.ndarray, n_nodes: int) -> sp.csr_matrix:
    """(N, N) csr with an entry for every two nodes that share a cell, and none on the diagonal."""
    i, j = np.nonzero(~np.eye(cells.shape[1], dtype=bool))
    ones = np.ones(len(cells) * len(i), np.int8)
    graph = sp.csr_matrix((ones, (cells[:, i].ravel(), cells[:, j].ravel())), (n_nodes, n_nodes))
    graph.sort_indices()
    return graph


def partition(points: np.ndarray, n_processes: int) -> np.ndarray:
    """Share out nodes by recursive coordinate bisection (Berger & Bokhari 1987).

    It halves the nodes across the longest side of their box, and again. A graph partitioner would leave
    somewhat smaller halos, but Scotch, which is what PETSc brings on Debian, keeps its random state from
    call to call and cuts another way each time.

    Parameters
    ----------
    points : (N, 3) float64 [m]

    Returns
    -------
    (N,) int64: the process that is to own each node; their numbers of nodes differ by one at most

    Raises
    ------
    FileError
        if there are fewer nodes than processes, or no process
    """
    if not 1 <= n_processes <= len(points):
        raise FileError(f"cannot be cut for {n_processes} processes: expected 1 … {len(points)}, its number of nodes")
    owners = np.empty(len(points), np.int64)
    waiting = [(np.arange(len(points)), 0, n_processes)]
    while waiting:
        nodes, first, parts = waiting.pop()
        if parts == 1:
            owners[nodes] = first
            continue
        axis = np.argmax(np.ptp(points[nodes], axis=0))
        along = nodes[np.argsort(points[nodes, axis], kind="stable")]
        cut = len(nodes) * (parts // 2) // parts
        waiting += [(along[:cut], first, parts // 2), (along[cut:], first + parts // 2, parts - parts // 2)]
    return owners


def decompose(mesh: GmshMesh, owners: np.ndarray) -> list[tuple[GmshMesh, Halo]]:
    """Cut a mesh by the owners of its nodes.

    Parameters
    ----------
    mesh : GmshMesh
    owners : (N,) int64, process of each node, 0 … n − 1

    Returns
    -------
    list of (GmshMesh, Halo), one per process
    """
    graph = node_graph(mesh.cells, len(mesh.points))
    reach = (graph + sp.identity(len(mesh.points), np.int8)).astype(bool).astype(np.int32)
    n_processes = int(owners.max()) + 1
    layers = [_layers(owners == process, reach) for process in range(n_processes)]
    cell_of = _cells_of_facets(mesh)
    return [_piece(mesh, owners, layers, process, cell_of) for process in range(n_processes)]


def _layers(own, reach):
    """Own nodes, halo nodes of level 1, and those only in level 2; each in the mesh's order."""
    near = (reach @ own.astype(np.int32)) > 0
    far = (reach @ near.astype(np.int32)) > 0
    return [np.flatnonzero(own), np.flatnonzero(near & ~own), np.flatnonzero(far & ~near)]


def _cells_of_facets(mesh):
    """(F,) int64: the cell that each boundary facet belongs to."""
    corners = mesh.shape.faces
    faces = np.sort(mesh.cells[:, corners].reshape(-1, corners.shape[1]), axis=1)
    both = np.concatenate([faces, np.sort(mesh.facets, axis=1)])
    _, first, inverse = np.unique(both, axis=0, return_index=True, return_inverse=True)
    place = first[inverse.ravel()[len(faces) :]]
    if (place >= len(faces)).any():
        raise FileError(
            f"a facet of the boundary is a side of none of its {mesh.shape.name}; mesh again, with one Physical Volume"
        )
    return place // len(corners)


def _piece(mesh, owners, layers, process, cell_of):
    nodes = np.concatenate(layers[process])
    own, near, _ = layers[process]
    core = np.zeros(len(mesh.points), bool)
    core[own] = core[near] = True
    inside = core[mesh.cells].any(axis=1)
    facets_inside = inside[cell_of]
    # Fluidity takes it for granted that a process's own cells come first
    corner_owners = owners[mesh.cells[inside]]
    first = np.lexsort(((corner_owners != process).all(axis=1), corner_owners.min(axis=1) != process))
    local = np.full(len(mesh.points), -1)
    local[nodes] = np.arange(len(nodes))
    piece = GmshMesh(
        mesh.points[nodes],
        local[mesh.cells[inside][first]],
        mesh.cell_ids[inside][first],
        local[mesh.facets[facets_inside]],
        mesh.facet_ids[facets_inside],
        mesh.shape,
    )
    levels = {}
    for level in (1, 2):
        send, receive = {}, {}
        for other in range(len(layers)):
            if other == process:
                continue
            # both sides list the nodes in the order of the whole mesh
            sent = _halo_nodes(layers[other], level)
            sent = sent[owners[sent] == process]
            received = _halo_nodes(layers[process], level)
            received = received[owners[received] == other]
            if len(sent):
                send[other] = local[sent]
            if len(received):
                receive[other] = local[received]
        levels[level] = HaloLevel(send, receive)
    return piece, Halo(process, len(layers), len(own), levels)


def _halo_nodes(layers, level):
    return np.sort(np.concatenate(layers[1 : level + 1]))


def main(words: Sequence[str] | None = None) -> int:
    """Run the program."""
    parser = argparse.ArgumentParser(prog="python -m coupling.embedded.decompose", description=__doc__.split("\n")[0])
    parser.add_argument("mesh", help="mesh to cut (.msh)")
    parser.add_argument("processes", type=int, help="number of processes")
    arguments = parser.parse_args(words)
    try:
        mesh = read_msh(arguments.mesh)
        base = Path(arguments.mesh).with_suffix("")
        for piece, halo in decompose(mesh, partition(mesh.points, arguments.processes)):
            write_msh(piece, Path(f"{base}_{halo.process}.msh"))
            write_halo(halo, Path(f"{base}_{halo.process}.halo"))
    except (FileError, OSError) as error:
        sys.stderr.write(printable(f"{arguments.mesh}: {error}\n"))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
