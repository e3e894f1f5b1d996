"""The boundary of a checkpoint's mesh: its marked surfaces, and where the model prescribes a field on them.

Surfaces are in the .msh files beside the options, whose nodes are those of the VTU files in the same order; which of
them prescribe a vector field is in the options. Of `prognostic/boundary_conditions` these are understood:

- type `dirichlet` with `align_bc_with_cartesian`: the components that it gives are prescribed;
- type `dirichlet` with `align_bc_with_surface`: the normal component if it gives nothing else, all three otherwise;
- type `no_normal_flow`: the component along the surface's normal.

Other types prescribe nothing. Values do not matter: an increment is to be zero where the model sets the value itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.fluidity.checkpoint import FluidityRestart, field_options, mesh_pieces
from coupling.fluidity.msh import read_msh
from coupling.fluidity.options import read_options
from coupling.geometry.mesh import Mesh, MeshError

NORMAL = "normal"
Axis = int | str  # 0, 1, 2 or NORMAL
# squared sine, nearly: normals closer than about 16 degrees are one smooth wall, not an edge
_SAME_WALL = 0.02
_SAME_PLACE = 1e-9  # × extent of the mesh


@dataclass(frozen=True)
class Boundary:
    """Marked surfaces of the pieces that this rank holds, each piece's nodes after those of the one before.

    points : (N, 3) float64 [m]
    facets : (F, k) int64, node numbers of triangles, of lines in two dimensions, or of quadrilaterals
    ids : (F,) int64, surface of each
    """

    points: np.ndarray
    facets: np.ndarray
    ids: np.ndarray

    def nodes_on(self, surfaces: Iterable[int]) -> np.ndarray:
        """(k,) numbers of the nodes on some surfaces."""
        return np.unique(self.facets[np.isin(self.ids, list(surfaces))])


def read_boundary(restart: FluidityRestart, mesh: Mesh, comm: MPI.Comm) -> Boundary:
    """Surfaces of a checkpoint. Collective.

    Parameters
    ----------
    restart : FluidityRestart
    mesh : of one of its fields; says which pieces this rank holds

    Raises
    ------
    FileError
        if a mesh file is missing or broken, or the checkpoint has no mesh or several
    """
    pieces, problem = [], None
    try:
        paths = mesh_pieces(restart)
        pieces = [read_msh(paths[piece.index]) for piece in mesh.pieces]
    except FileError as error:
        problem = error
    raise_together(problem, comm)
    starts = np.cumsum([0, *(len(piece.points) for piece in pieces)])
    width = pieces[0].facets.shape[1] if pieces else 3
    return Boundary(
        np.concatenate([np.empty((0, 3)), *(piece.points for piece in pieces)]),
        np.concatenate(
            [np.empty((0, width), np.int64), *(p.facets + start for p, start in zip(pieces, starts[:-1], strict=True))]
        ),
        np.concatenate([np.empty(0, np.int64), *(piece.facet_ids for piece in pieces)]),
    )


def check_surfaces(surfaces: Iterable[int], restart: FluidityRestart, asking: str) -> None:
    """FileError if a checkpoint's mesh lacks a surface; `asking` says where they are named. Not collective."""
    existing = set().union(*(read_msh(path).facet_ids.tolist() for path in mesh_pieces(restart)))
    missing = sorted(set(surfaces) - existing)
    if missing:
        raise FileError(f"{asking}: surfaces {missing}, which the mesh does not have; it has {sorted(existing)}")


def held_components(restart: FluidityRestart, name: str) -> dict[int, set[Axis]]:
    """Where the model sets a vector field itself.

    Returns
    -------
    {surface id: set of axes 0, 1, 2, or NORMAL}

    Raises
    ------
    FileError
        if there is no such field, or a condition names no surface
    """
    options = field_options(restart, name)
    held: dict[int, set[Axis]] = {}
    for condition in options.findall("boundary_conditions"):
        words = (condition.findtext("surface_ids/integer_value") or "").split()
        if not words or not all(word.isdigit() for word in words):
            raise FileError(
                f"{restart.options}: boundary condition {condition.get('name')!r} of {name} has surface_ids "
                f"{' '.join(words)!r}, expected surface ids"
            )
        for surface in words:
            held.setdefault(int(surface), set()).update(_held_by(condition.find("type")))
    return {surface: axes for surface, axes in held.items() if axes}


def check_linear(restart: FluidityRestart, name: str) -> None:
    """FileError if the options put a field on elements whose divergence gates cannot take out: not P1 or Q1.

    A mesh that is made of another has its degree and continuity unless it says otherwise.
    """
    tree = read_options(restart.options)
    meshes = {mesh.get("name"): mesh for mesh in tree.getroot().findall("geometry/mesh")}
    first = of = field_options(restart, name).find("mesh").get("name")
    degree = continuity = None
    known = set()
    while of in meshes and of not in known:
        known.add(of)
        made = meshes[of].find("from_mesh")
        if made is None:
            break
        degree = degree or made.findtext("mesh_shape/polynomial_degree/integer_value")
        continuity = continuity or made.findtext("mesh_continuity/string_value")
        above = made.find("mesh")
        of = None if above is None else above.get("name")
    found = [words for words, ours in ((degree, "1"), (continuity, "continuous")) if words and words.strip() != ours]
    if found:
        said = f"of degree {found[0].strip()}" if degree in found else found[0].strip()
        raise FileError(
            f"gates.divergence_free: {restart.options}: {name} is on {first}, which is {said}; expected continuous "
            "elements of degree 1: leave the gate out"
        )


def _held_by(kind):
    name = None if kind is None else kind.get("name")
    if name == "no_normal_flow":
        return {NORMAL}
    if name != "dirichlet":
        return set()
    given = {part.tag for part in kind.iterfind("align_bc_with_surface/*")}
    if given:
        return {NORMAL} if given == {"normal_component"} else {0, 1, 2}
    return {
        axis
        for axis, letter in enumerate("xyz")
        if kind.find(f"align_bc_with_cartesian/{letter}_component") is not None
    }


def held_squares(boundary: Boundary, mesh: Mesh, held: Mapping[int, set[Axis]], comm: MPI.Comm) -> np.ndarray:
    """Sums of e eᵀ over the directions e that are held at a node, of every facet that meets there. Collective.

    Parameters
    ----------
    boundary : Boundary
    mesh : Mesh of the field, its nodes those of the boundary
    held : as of `held_components`

    Returns
    -------
    (N, 3, 3) float64, of this rank's facets; what other pieces' copies of a node have is to be added

    Raises
    ------
    MeshError
        if the mesh's nodes are not those of the boundary
    """
    extent = np.ptp(mesh.bounds(comm), axis=0).max()
    same = mesh.points.shape == boundary.points.shape
    same = same and np.abs(mesh.points - boundary.points).max(initial=0.0) <= _SAME_PLACE * extent
    raise_together(None if same else MeshError(_OTHER_NODES), comm)
    squares = np.zeros((mesh.n_nodes, 3, 3))
    normals = unit_normals(boundary.points[boundary.facets])
    for surface, axes in held.items():
        on_surface = boundary.ids == surface
        facet_squares = np.zeros((on_surface.sum(), 3, 3))
        for axis in (axis for axis in axes if isinstance(axis, int)):
            facet_squares[:, axis, axis] = 1
        if NORMAL in axes:
            facet_squares += normals[on_surface][:, :, None] * normals[on_surface][:, None, :]
        for nodes in boundary.facets[on_surface].T:
            np.add.at(squares, nodes, facet_squares)
    return squares


_OTHER_NODES = (
    "the field has other nodes than the mesh file of its checkpoint, as where each cell has nodes of its own (P1DG);"
    " its divergence is known for continuous fields only"
)


def unit_normals(corners: np.ndarray) -> np.ndarray:
    """(F, 3) normals of triangles with (F, 3, 3) corners, or of lines in a plane of constant z with (F, 2, 3)."""
    along = corners[:, 1] - corners[:, 0]
    normals = np.cross(along, (0.0, 0.0, 1.0) if corners.shape[1] == 2 else corners[:, 2] - corners[:, 0])
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def free_directions(squares: np.ndarray) -> np.ndarray:
    """(N, 3, 3) projections onto the directions in which nodes are free, of (N, 3, 3) sums of e eᵀ over the others."""
    sizes, axes = np.linalg.eigh(squares)
    across = (sizes > _SAME_WALL * np.trace(squares, axis1=1, axis2=2)[:, None]).astype(float)
    free = np.eye(3) - np.einsum("nik,nk,njk->nij", axes, across, axes)
    return np.where(np.abs(free) < 1e-14, 0.0, free)
