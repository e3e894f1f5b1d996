"""What of a state must come back bit for bit, and a few states to try it on."""

import hashlib

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import Field, PolyhedralMesh, State, join_pieces
from coupling.vtk.vtu import read_state

SELF = MPI.COMM_SELF
FIELDS = {"parallel": ["DGTracer", "P0Tracer", "Tracer", "Velocity"], "adaptive": ["Tracer", "Viscosity"]}
CHANGING = ("parallel/mini_2.pvtu", "adaptive/mini_3.vtu", "adaptive/mini_6.vtu", "parallel/mini_3.pvtu")


def _digest(array):
    return f"{array.dtype} {array.shape} {hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()}"


def content(state):
    """The time and all arrays of a state, to be compared with ==."""
    arrays = {}
    for name, field in state.fields.items():
        mesh = field.mesh
        arrays[name] = field.location, _digest(field.values)
        if isinstance(mesh, PolyhedralMesh):
            digests = map(_digest, (mesh.points, mesh.face_offsets, mesh.face_nodes, mesh.owner, mesh.neighbour))
        else:
            digests = map(_digest, (mesh.points, mesh.cells, mesh.ghost))
        arrays[f"mesh of {name}"] = mesh.fingerprint, mesh.n_pieces, *digests
    return state.time, arrays


def changing_states(data, comm):
    """Four states whose mesh and number of pieces change, and change back at the end."""
    for k, name in enumerate(CHANGING):
        state = read_state(data / name, comm, ["Tracer", "Velocity"])
        yield State(float(k), state.fields)


def cut_states(data):
    """Four states of two pieces, cut at another cell each time but the last, as a new partition does."""
    whole = read_state(data / "serial/mini_3.vtu", SELF, ["Tracer", "P0Tracer"])
    mesh = whole["Tracer"].mesh  # no two cells have a node in common
    for k, at in enumerate((3000, 100, 6000, 3000)):
        ghost = np.arange(mesh.n_cells) % (at // 50) == 0
        first = 0, mesh.points[: 4 * at], mesh.cells[:at], ghost[:at]
        second = 1, mesh.points[4 * at :], mesh.cells[at:] - 4 * at, ghost[at:]
        cut = join_pieces([first, second], 2, SELF)
        yield State(float(k), {name: Field(name, cut, f.values + k, f.location) for name, f in whole.fields.items()})


def small_mesh(n_cells=1):
    """A mesh of separate tetrahedra."""
    points = np.random.default_rng(1).random((4 * n_cells, 3))
    cells = np.arange(4 * n_cells).reshape(-1, 4)
    return join_pieces([(0, points, cells, np.zeros(n_cells, bool))], 1, SELF)


def small_state(time=0.0, mesh=None, **values):
    """A state of point fields, `a` if none are given."""
    mesh = mesh or small_mesh()
    values = values or {"a": np.arange(mesh.n_nodes) + time}
    return State(time, {name: Field(name, mesh, np.asarray(v, float)) for name, v in values.items()})
