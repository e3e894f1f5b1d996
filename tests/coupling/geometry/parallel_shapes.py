"""Run by test_shapes under mpirun: P, Q and sampling of every shape on all ranks equal those on one."""

import sys

import numpy as np
from mpi4py import MPI
from shaped_mesh import BOX, EVERY_SHAPE, shaped_mesh

from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply, sampling
from coupling.geometry.mass import lumped_mass

PLACES = np.random.default_rng(1).uniform(*BOX, (50, 3))


def results(name, comm):
    """Values on the grid, the mesh and at places, gathered on every rank."""
    mesh = shaped_mesh(name, 2, comm)  # of three ranks one has none
    flat = mesh.shape.dimension == 2
    grid = make_grid(mesh.bounds(comm), spacing=0.3)
    grid = grid.with_fluid(fluid_points(grid, mesh, comm))
    arrays = [grid.fluid.ravel().astype(float)]
    for location, places in (("point", mesh.points), ("cell", mesh.centroids)):
        values = np.sin(places @ [1.0, 2.0, 3.0])
        both = interpolation(mesh, location, grid, comm)
        on_grid = multiply(both.to_grid, values)
        matrix, inside = sampling(mesh, location, PLACES * (1, 1, not flat), comm)
        parts = [on_grid, multiply(both.to_mesh, on_grid), multiply(matrix, values)]
        parts.append(lumped_mass(mesh, location, comm))
        arrays += [np.concatenate(comm.allgather(part)) for part in parts]
        arrays.append(inside.astype(float))
    return [np.frombuffer(mesh.fingerprint.encode(), np.uint8), *arrays]


for shape in EVERY_SHAPE:
    alone, together = results(shape, MPI.COMM_SELF), results(shape, MPI.COMM_WORLD)
    for one, all_ in zip(alone, together, strict=True):
        np.testing.assert_allclose(all_, one, rtol=1e-12, atol=1e-12)
sys.stdout.write("same\n")
