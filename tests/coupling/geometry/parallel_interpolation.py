"""Run by test_interpolation under mpirun: P, Q and sampling on all ranks equal those on one."""

import sys

import numpy as np
from mpi4py import MPI
from places import DATA
from polyhedra import street_in_pieces

from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply, sampling
from coupling.geometry.mesh import Field, PolyhedralMesh, State
from coupling.geometry.reconstruction import following_slopes
from coupling.vtk.vtu import read_state

PLACES = np.array([[20.0, 20, 10], [130, 155, 10], [300, 200, 80], [170, 100, 2], [225, 155, 61]])


def polyhedra(comm):
    """Fields in warped cells of a mesh in five pieces."""
    mesh = street_in_pieces(comm, size=(40.0, 40.0, 20.0))
    wave = np.sin(mesh.centroids / 30.0)
    values = {"T": wave.sum(axis=1), "U": wave}
    return State(0.0, {name: Field(name, mesh, of, "cell") for name, of in values.items()})


def results(read, comm):
    """Values on the grid, the mesh and at places, gathered on every rank."""
    state = read(comm)
    mesh = next(iter(state.fields.values())).mesh
    grid = make_grid(mesh.bounds(comm), shape=(24, 17, 9))
    grid = grid.with_fluid(fluid_points(grid, mesh, comm))
    arrays = [grid.fluid.ravel().astype(float)]
    for field in state.fields.values():
        both = interpolation(mesh, field.location, grid, comm)
        on_grid = multiply(both.to_grid, field.values)
        matrix, inside = sampling(mesh, field.location, PLACES, comm)
        parts = [on_grid, multiply(both.to_mesh, on_grid), multiply(matrix, field.values)]
        if isinstance(mesh, PolyhedralMesh):
            parts.append(multiply(following_slopes(both.to_grid, mesh, grid, comm), field.values))
        for part in parts:
            arrays.append(np.concatenate(comm.allgather(part.reshape(len(part), int(np.prod(part.shape[1:]))))))
        arrays.append(inside.astype(float))
    return arrays


def dump(name):
    """A reader of a dump's fields."""
    return lambda comm: read_state(DATA / name, comm, ["Tracer", "Velocity", "P0Tracer"])


for read in (dump("serial/mini_3.vtu"), dump("parallel/mini_3.pvtu"), polyhedra):
    alone = results(read, MPI.COMM_SELF)
    together = results(read, MPI.COMM_WORLD)
    for one, all_ in zip(alone, together, strict=True):
        np.testing.assert_allclose(all_, one, rtol=1e-12, atol=1e-12)
sys.stdout.write("same\n")
