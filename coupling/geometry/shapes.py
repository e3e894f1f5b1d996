"""The shapes that cells of finite elements may have: where a point is in a cell, and how much each node counts there.

Simplices, with nodes at their corners (degree 1) or also in the middle of their straight edges (degree 2), and bricks:
quadrilaterals and hexahedra, whose fields are linear in each local coordinate. Nodes are in VTK's order. Cells of two
dimensions lie in a plane of constant z.

Local coordinates are those of the corners for simplices, d + 1 barycentric ones, and d from 0 to 1 for bricks.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, product

import numpy as np
from vtkmodules import vtkCommonDataModel as vtk

_OFF_PLANE = 1e-6  # of a cell's size: how far from the plane of a flat mesh a place may be
_STEPS = 30  # of Newton's method; from a cell's centre about five are needed
_CLOSE = 1e-12  # of the cell: a smaller step ends it

Locate = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Simplex:
    """Triangles or tetrahedra.

    name : of several such cells
    vtk : VTK's number
    dimension : 2 or 3
    degree : of the polynomials, 1 or 2
    """

    name: str
    vtk: int
    dimension: int
    degree: int

    @property
    def n_corners(self) -> int:
        """Nodes at corners, which come first."""
        return self.dimension + 1

    @property
    def n_nodes(self) -> int:
        """Nodes of a cell."""
        return self.n_corners + (len(self.edges) if self.degree == 2 else 0)

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of corners, in the order of the nodes in their middle."""
        around = ((0, 1), (1, 2), (2, 0))
        return around if self.dimension == 2 else (*around, (0, 3), (1, 3), (2, 3))

    @property
    def faces(self) -> np.ndarray:
        """(n_corners, d) corners of each side: all but one."""
        return np.array([np.delete(np.arange(self.n_corners), k) for k in range(self.n_corners)])

    def locator(self, nodes: np.ndarray) -> tuple[Locate, np.ndarray]:
        """How places are found in cells.

        Parameters
        ----------
        nodes : (E, n_nodes, 3) [m]

        Returns
        -------
        locate : of (k,) cells and (k, 3) places [m], the places' (k, d + 1) local coordinates; NaN off a flat mesh
        flat : (E,) bool, cells without a volume, of which `locate` must not be asked
        """
        d = self.dimension
        edges = np.swapaxes(nodes[:, 1 : d + 1, :d] - nodes[:, :1, :d], 1, 2)
        size = np.abs(edges).max(axis=(1, 2), initial=0.0)
        flat = np.abs(np.linalg.det(edges)) <= 1e-14 * size**d
        inverse = np.zeros_like(edges)
        inverse[~flat] = np.linalg.inv(edges[~flat])

        def locate(cell, places):
            local = np.empty((len(cell), d + 1))
            local[:, 1:] = np.einsum("kij,kj->ki", inverse[cell], (places - nodes[cell, 0])[:, :d])
            local[:, 0] = 1.0 - local[:, 1:].sum(axis=1)
            return _on_plane(local, nodes[cell, 0], places, size[cell]) if d == 2 else local

        return locate, flat

    def margins(self, local: np.ndarray) -> np.ndarray:
        """(k,) how far inside places are, in parts of a cell; below zero outside."""
        return local.min(axis=1)

    def weights(self, local: np.ndarray) -> np.ndarray:
        """(k, n_nodes) weights of the nodes at places inside, rounding outwards taken back; their sum is one."""
        inside = np.maximum(local, 0.0)
        corner = inside / inside.sum(axis=1, keepdims=True)
        if self.degree == 1:
            return corner
        middle = [4.0 * corner[:, a] * corner[:, b] for a, b in self.edges]
        return np.column_stack([corner * (2.0 * corner - 1.0), *middle])

    def volumes(self, nodes: np.ndarray) -> np.ndarray:
        """(E,) volumes [m³], of flat cells areas [m²], of (E, n_nodes, 3) places of nodes [m]."""
        d = self.dimension
        return np.abs(np.linalg.det(nodes[:, 1 : d + 1, :d] - nodes[:, :1, :d])) / (6.0 if d == 3 else 2.0)

    def masses(self, nodes: np.ndarray) -> np.ndarray:
        """(E, n_nodes) integrals of the nodes' functions, [m³] or [m²]; of degree 2 not all are above zero."""
        parts = np.full(self.n_nodes, 1.0 / self.n_corners)
        if self.degree == 2:
            corner, middle = (0.0, 1 / 3) if self.dimension == 2 else (-1 / 20, 1 / 5)
            parts[: self.n_corners], parts[self.n_corners :] = corner, middle
        return self.volumes(nodes)[:, None] * parts

    def lumped(self, nodes: np.ndarray) -> np.ndarray:
        """(E, n_nodes) positive masses of the nodes whose sum is the cell's volume: `masses` of degree 1.

        Of degree 2 they are as ∫ φ_i², of which a node in the middle has 16/3 of a corner's (Hinton, Rock & Zienkiewicz
        1976).
        """
        if self.degree == 1:
            return self.masses(nodes)
        parts = np.repeat([3.0, 16.0], [self.n_corners, len(self.edges)])
        return self.volumes(nodes)[:, None] * parts / parts.sum()

    def gradients(self, nodes: np.ndarray) -> np.ndarray:
        """(E, d + 1, 3) gradients of the corners' hat functions [1/m]."""
        d = self.dimension
        last = np.zeros((len(nodes), d, 3))
        last[..., :d] = np.linalg.inv(nodes[:, 1 : d + 1, :d] - nodes[:, :1, :d]).transpose(0, 2, 1)
        return np.concatenate([-last.sum(axis=1, keepdims=True), last], axis=1)

    def weighted_gradients(self, nodes: np.ndarray) -> np.ndarray:
        """(E, 1, d + 1, 3) integrals ∫ φ_i ∇φ_j of degree 1, which are the same for all nodes i of a cell."""
        return (self.volumes(nodes)[:, None, None] / self.n_corners * self.gradients(nodes))[:, None]


@dataclass(frozen=True)
class Brick:
    """Quadrilaterals or hexahedra.

    name, vtk, dimension : as of `Simplex`
    """

    name: str
    vtk: int
    dimension: int
    degree: int = 1

    @property
    def n_corners(self) -> int:
        """Nodes at corners."""
        return 2**self.dimension

    @property
    def n_nodes(self) -> int:
        """Nodes of a cell."""
        return self.n_corners

    @property
    def corners(self) -> np.ndarray:
        """(n_nodes, d) local coordinates of the nodes."""
        around = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)]
        return np.array(around if self.dimension == 2 else [(*xy, z) for z in (0.0, 1.0) for xy in around])

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """Pairs of corners."""
        at = self.corners
        return tuple((a, b) for a, b in combinations(range(len(at)), 2) if np.abs(at[a] - at[b]).sum() == 1.0)

    @property
    def faces(self) -> np.ndarray:
        """(2 d, 2^(d − 1)) corners of each side, not in their order around it."""
        sides = [self.corners[:, k] == end for k in range(self.dimension) for end in (0.0, 1.0)]
        return np.array([np.flatnonzero(side) for side in sides])

    def locator(self, nodes: np.ndarray) -> tuple[Locate, np.ndarray]:
        """How places are found in cells, by Newton's method; see `Simplex.locator`, with (k, d) local coordinates."""
        d = self.dimension
        size = np.ptp(nodes, axis=1).max(axis=1, initial=0.0)
        flat = self.volumes(nodes) <= 1e-14 * size**d

        def locate(cell, places):
            local, apart = np.full((len(cell), d), 0.5), np.full(len(cell), np.inf)
            wanted = np.arange(len(cell))
            for _ in range(_STEPS):
                at, where = nodes[cell[wanted]][:, :, :d], local[wanted]
                away = np.einsum("kn,knj->kj", self._weights(where), at) - places[wanted][:, :d]
                slope = np.einsum("kni,knj->kji", self._slopes(where), at)
                step = _solved(slope, away)
                local[wanted] = np.clip(where - step, -1.0, 2.0)  # a place further outside is not sought
                apart[wanted] = np.abs(step).max(axis=1)
                wanted = wanted[~(apart[wanted] <= _CLOSE)]
            local[~(apart <= 1e3 * _CLOSE)] = np.nan
            return _on_plane(local, nodes[cell, 0], places, size[cell]) if d == 2 else local

        return locate, flat

    def margins(self, local: np.ndarray) -> np.ndarray:
        """See `Simplex`."""
        return np.minimum(local, 1.0 - local).min(axis=1)

    def weights(self, local: np.ndarray) -> np.ndarray:
        """See `Simplex`."""
        return self._weights(np.clip(local, 0.0, 1.0))

    def volumes(self, nodes: np.ndarray) -> np.ndarray:
        """See `Simplex`."""
        return self.masses(nodes).sum(axis=1)

    def masses(self, nodes: np.ndarray) -> np.ndarray:
        """See `Simplex`; Gauss's two points for each coordinate are exact."""
        d = self.dimension
        at = np.array(list(product((0.5 - 0.5 / np.sqrt(3), 0.5 + 0.5 / np.sqrt(3)), repeat=d)))
        slope = np.einsum("gni,enj->egji", self._slopes(at), nodes[:, :, :d])
        return np.abs(np.einsum("eg,gn->en", np.linalg.det(slope), self._weights(at))) / len(at)

    def lumped(self, nodes: np.ndarray) -> np.ndarray:
        """See `Simplex`."""
        return self.masses(nodes)

    def weighted_gradients(self, nodes: np.ndarray) -> np.ndarray:
        """(E, n, n, 3) integrals ∫ φ_i ∇φ_j; Gauss's three points for each coordinate are exact."""
        d, n = self.dimension, self.n_nodes
        lines = np.array([0.5 - np.sqrt(0.15), 0.5, 0.5 + np.sqrt(0.15)]), np.array([5.0, 8.0, 5.0]) / 18.0
        at, parts = (np.array(list(product(line, repeat=d))) for line in lines)
        integrals = np.zeros((len(nodes), n, n, 3))
        for weights, slopes, part in zip(self._weights(at), self._slopes(at), parts.prod(axis=1), strict=True):
            slope = np.einsum("ni,enj->eji", slopes, nodes[:, :, :d])  # of the place by the local coordinates
            gradients = np.einsum("ni,eij->enj", slopes, np.linalg.inv(slope))
            size = part * np.abs(np.linalg.det(slope))
            integrals[..., :d] += np.einsum("e,i,ejd->eijd", size, weights, gradients)
        return integrals

    def _weights(self, local):
        """(k, n_nodes) products of the coordinates' two linear functions."""
        return np.where(self.corners, local[:, None], 1.0 - local[:, None]).prod(axis=2)

    def _slopes(self, local):
        """(k, n_nodes, d) derivatives of `_weights`."""
        factors = np.where(self.corners, local[:, None], 1.0 - local[:, None])
        signs, slopes = np.where(self.corners, 1.0, -1.0), np.empty_like(factors)
        for k in range(self.dimension):
            slopes[..., k] = signs[:, k] * np.delete(factors, k, axis=2).prod(axis=2)
        return slopes


Shape = Simplex | Brick

TRIANGLE = Simplex("triangles", vtk.VTK_TRIANGLE, 2, 1)
TETRAHEDRON = Simplex("tetrahedra", vtk.VTK_TETRA, 3, 1)
QUADRATIC_TRIANGLE = Simplex("quadratic triangles", vtk.VTK_QUADRATIC_TRIANGLE, 2, 2)
QUADRATIC_TETRAHEDRON = Simplex("quadratic tetrahedra", vtk.VTK_QUADRATIC_TETRA, 3, 2)
QUADRILATERAL = Brick("quadrilaterals", vtk.VTK_QUAD, 2)
HEXAHEDRON = Brick("hexahedra", vtk.VTK_HEXAHEDRON, 3)

SHAPES: dict[int, Shape] = {
    shape.vtk: shape
    for shape in (TRIANGLE, TETRAHEDRON, QUADRATIC_TRIANGLE, QUADRATIC_TETRAHEDRON, QUADRILATERAL, HEXAHEDRON)
}

KNOWN_SHAPES = ", ".join(f"{of.name} ({of.vtk})" for of in SHAPES.values())
ONE_SHAPE = "expected cells of one shape: write such parts of a mesh as triangles or tetrahedra"


def linear(shape: Shape) -> Shape:
    """The shape of a cell's corners."""
    like = (of for of in SHAPES.values() if type(of) is type(shape) and of.dimension == shape.dimension)
    return next(of for of in like if of.degree == 1)


def bent(shape: Shape, nodes: np.ndarray) -> np.ndarray:
    """(E,) bool: cells of degree 2 with an edge whose middle node is not in its middle, of (E, n_nodes, 3) places."""
    if shape.degree == 1:
        return np.zeros(len(nodes), bool)
    first, second = (nodes[:, [edge[k] for edge in shape.edges]] for k in (0, 1))
    off = np.abs(nodes[:, shape.n_corners :] - (first + second) / 2).max(axis=(1, 2), initial=0.0)
    return off > _OFF_PLANE * np.abs(second - first).max(axis=(1, 2), initial=0.0)


def _on_plane(local, node, places, size):
    """Local coordinates, NaN where places are not at the height of a flat cell's node."""
    off = np.abs(places[:, 2] - node[:, 2]) > _OFF_PLANE * size
    local[off] = np.nan
    return local


def _solved(matrices, right):
    """(k, d) solutions of k small systems; NaN where a matrix is singular."""
    singular = np.linalg.det(matrices) == 0.0
    matrices = np.where(singular[:, None, None], np.eye(matrices.shape[1]), matrices)
    solutions = np.linalg.solve(matrices, right[..., None])[..., 0]
    solutions[singular] = np.nan
    return solutions
