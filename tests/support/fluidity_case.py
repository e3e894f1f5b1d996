"""Checkpoints of every kind of mesh, in a folder, with the files that Fluidity writes."""

from dataclasses import replace

import numpy as np
from mpi4py import MPI
from shaped_mesh import BOX, shape_named, shaped_cells

from coupling.embedded.decompose import decompose, partition
from coupling.fluidity.halo import write_halo
from coupling.fluidity.msh import GmshMesh, write_msh
from coupling.vtk.vtu import add_array, as_grid, mark_ghosts, write_grid, write_pvtu

COMM = MPI.COMM_SELF


def sides(name, n=(4, 3, 2), **how):
    """A GmshMesh of BOX whose sides are surfaces 1 … 2 d: x low, x high, y low …"""
    points, cells = shaped_cells(name, n, **how)
    shape = shape_named(name)
    faces = cells[:, shape.faces].reshape(-1, shape.faces.shape[1])
    _, first, count = np.unique(np.sort(faces, axis=1), axis=0, return_index=True, return_counts=True)
    facets = faces[first[count == 1]]
    ids = np.zeros(len(facets), np.int64)
    for d in range(shape.dimension):
        for side in (0, 1):
            ids[(np.abs(points[facets, d] - BOX[side, d]) < 1e-9).all(axis=1)] = 1 + 2 * d + side
    return GmshMesh(points, cells, np.full(len(cells), 10), facets, ids, shape)


def joined_in_x(mesh):
    """(points, cells) as the model writes a mesh that is periodic in x: each node at one of its places."""
    places = mesh.points.copy()
    places[np.abs(places[:, 0] - BOX[1, 0]) < 1e-9, 0] = 0.0
    _, first, node = np.unique(places.round(9), axis=0, return_index=True, return_inverse=True)
    return mesh.points[first], node.ravel()[mesh.cells]


def write_fields(path, points, cells, shape, at_points=(), at_cells=()):
    """A VTU of fields, each {name: values}."""
    grid = as_grid(points, cells, shape)
    for name, values in dict(at_points).items():
        add_array(grid.GetPointData(), name, values)
    for name, values in dict(at_cells).items():
        add_array(grid.GetCellData(), name, values)
    write_grid(grid, path)


def prognostic(name, mesh, file, kind="scalar_field", options="", how="prognostic/initial_condition"):
    """A field that starts from a file."""
    outer, inner = how.split("/")
    return (
        f'<{kind} name="{name}"><{outer}><mesh name="{mesh}"/><{inner} name="WholeMesh"><from_file file_name="{file}">'
        f'<format name="vtu"/></from_file></{inner}>{options}<output/></{outer}></{kind}>'
    )


def write_options(path, meshes, phases, dimension=3):
    """Options of a checkpoint at 6 s."""
    path.write_text(
        f"<?xml version='1.0' encoding='utf-8'?>\n<fluidity_options><simulation_name><string_value>tiny_checkpoint"
        f"</string_value></simulation_name><geometry><dimension><integer_value rank='0'>{dimension}</integer_value>"
        f"</dimension>{meshes}</geometry><io><dump_format><string_value>vtk</string_value></dump_format></io>"
        "<timestepping><current_time><real_value rank='0'>6.0</real_value></current_time><timestep>"
        "<real_value rank='0'>1.0</real_value></timestep></timestepping>"
        + "".join(f'<material_phase name="{name}">{fields}</material_phase>' for name, fields in phases.items())
        + "</fluidity_options>"
    )
    return path


def from_file(name, file="mesh"):
    """A mesh that is read from a file."""
    return f'<mesh name="{name}"><from_file file_name="{file}"><format name="gmsh"/></from_file></mesh>'


def from_mesh(name, base, extra=""):
    """A mesh that is made of another."""
    return f'<mesh name="{name}"><from_mesh><mesh name="{base}"/>{extra}</from_mesh></mesh>'


EIGHT = (8, 3, 2)  # cells along the sides of BOX
PERIODIC = '<periodic_boundary_conditions name="x"/>'


def cut_periodic_case(folder, name="triangles", n=2):
    """The Tracer and Velocity (P1) of a `periodic_case` of EIGHT cells, cut in n as for so many processes; its options.

    Cells of both sides of the seam are in a piece as copies, where its nodes are one.
    """
    options, mesh = periodic_case(folder, name, EIGHT), sides(name, EIGHT)
    points, cells = joined_in_x(mesh)
    # pieces begin a quarter from the seam: then one's outer halo has nodes of the seam, but the cells of one side alone
    owners = partition(np.column_stack([(points[:, 0] + BOX[1, 0] / 4) % BOX[1, 0], points[:, 1:]]), n)
    numbered = GmshMesh(points, cells, np.arange(len(cells)), mesh.facets[:0], mesh.facet_ids[:0], mesh.shape)
    angle = 2 * np.pi * points[:, 0] / BOX[1, 0]
    wind = np.stack([np.sin(angle), np.cos(angle), points[:, 1]], axis=1)
    (folder / "p1").mkdir()
    for piece, halo in decompose(numbered, owners):
        which, k = piece.cell_ids, halo.process
        nodes, local = np.unique(mesh.cells[which], return_inverse=True)
        part = replace(mesh, points=mesh.points[nodes], cells=local.reshape(len(which), -1), cell_ids=which)
        none = {"facets": mesh.facets[:0], "facet_ids": mesh.facet_ids[:0]}
        write_msh(replace(part, **none), folder / f"mesh_{k}.msh")
        write_halo(halo, folder / f"mesh_{k}.halo")
        own = np.full(len(points), -1)
        own[cells[which].ravel()] = piece.cells.ravel()
        of = np.argsort(own)[np.searchsorted(np.sort(own), np.arange(len(piece.points)))]
        grid = as_grid(points[of], piece.cells, mesh.shape)
        for array, values in (("Tracer", np.sin(angle)), ("Velocity", wind)):
            add_array(grid.GetPointData(), array, values[of])
        mark_ghosts(grid, owners[cells[which]].min(axis=1) != k)
        write_grid(grid, folder / f"p1/p1_{k}.vtu")
    write_pvtu(folder / "p1.pvtu", [f"p1/p1_{k}.vtu" for k in range(n)], [("Tracer", 1), ("Velocity", 3)])
    for left in ("mesh.msh", "p1.vtu", "dg.vtu", "p0.vtu"):
        (folder / left).unlink()
    meshes = from_file("CoordinateMesh") + from_mesh("PeriodicMesh", "CoordinateMesh", PERIODIC)
    fields = prognostic("Tracer", "VelocityMesh", "p1.pvtu")
    fields += prognostic("Velocity", "VelocityMesh", "p1.pvtu", "vector_field")
    meshes += from_mesh("VelocityMesh", "PeriodicMesh")
    return write_options(options, meshes, {"Air": fields}, mesh.shape.dimension)


def periodic_case(folder, name="triangles", counts=(4, 3, 2)):
    """A checkpoint with Tracer and Velocity (P1), DG (P1DG) and P0 on a mesh that is periodic in x; its options."""
    folder.mkdir(parents=True, exist_ok=True)
    mesh = sides(name, counts)
    write_msh(mesh, folder / "mesh.msh")
    points, cells = joined_in_x(mesh)
    angle = 2 * np.pi * points[:, 0] / BOX[1, 0]
    wind = np.stack([np.sin(angle), np.cos(angle), points[:, 1]], axis=1)
    write_fields(folder / "p1.vtu", points, cells, mesh.shape, {"Tracer": np.sin(angle), "Velocity": wind})
    own = np.arange(mesh.cells.size).reshape(mesh.cells.shape)
    write_fields(folder / "dg.vtu", mesh.points[mesh.cells.ravel()], own, mesh.shape, {"DG": np.arange(1.0 * own.size)})
    p0 = np.arange(1.0 * len(mesh.cells))
    write_fields(folder / "p0.vtu", mesh.points, mesh.cells, mesh.shape, {}, {"P0": p0})
    meshes = from_file("CoordinateMesh") + from_mesh("PeriodicMesh", "CoordinateMesh", PERIODIC)
    meshes += "".join(from_mesh(of, "PeriodicMesh") for of in ("VelocityMesh", "DGMesh", "P0Mesh"))
    fields = prognostic("Tracer", "VelocityMesh", "p1.vtu") + prognostic("DG", "DGMesh", "dg.vtu")
    fields += prognostic("P0", "P0Mesh", "p0.vtu") + prognostic("Velocity", "VelocityMesh", "p1.vtu", "vector_field")
    return write_options(folder / "tiny_3_checkpoint.flml", meshes, {"Air": fields}, mesh.shape.dimension)
