"""Points of a mesh on some ranks: their coordinates, in their order, gathered into a file: DUMP or polyhedra, FILE."""

import sys

import numpy as np
from mpi4py import MPI
from polyhedra import street_in_pieces

from coupling.geometry.interpolation import multiply
from coupling.geometry.mesh import Field
from coupling.geometry.points import mesh_points
from coupling.vtk.vtu import read_state

comm = MPI.COMM_WORLD
if sys.argv[1] == "polyhedra":
    mesh = street_in_pieces(comm)
    of = Field("T", mesh, mesh.centroids[:, 0], "cell")
else:
    of = read_state(sys.argv[1], comm, ["Tracer"], time=0.0)["Tracer"]
places = of.mesh.points if of.location == "point" else of.mesh.centroids
points = mesh_points(of.mesh, comm)
between = points.interpolation(of)
there = multiply(between.to_grid, places)
assert np.array_equal(multiply(between.to_mesh, there), places)
assert np.array_equal(points.places(comm), there)
whole = comm.gather(there)
if comm.rank == 0:
    np.save(sys.argv[2], np.concatenate(whole))
