"""Fields of periodic meshes: read where their cells are, and joined again as the model takes them back."""

import filecmp

import numpy as np
import pytest
from fluidity_case import BOX, PERIODIC, from_file, from_mesh, periodic_case, prognostic, sides, write_options
from mpi4py import MPI
from vtkmodules.util.numpy_support import vtk_to_numpy

from coupling.common.files import FileError
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.msh import write_msh
from coupling.fluidity.nodes import check_nodes
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply
from coupling.geometry.mesh import MeshError
from coupling.vtk.cells import arrays_of
from coupling.vtk.vtu import read_grid, read_state, write_grid

COMM = MPI.COMM_SELF


@pytest.fixture(params=["triangles", "quadrilaterals", "tetrahedra", "hexahedra"])
def restart(request, tmp_path):
    return open_restart(periodic_case(tmp_path / "case", request.param))


def test_cells_lie_where_they_are(restart):
    check_nodes(restart, COMM)
    state = read_fields(restart, COMM)
    size = np.ptp(BOX, axis=0)[: state["Tracer"].mesh.shape.dimension].prod()
    for name in ("Tracer", "DG", "P0", "Velocity"):
        assert state[name].mesh.volumes.sum() == pytest.approx(size, rel=1e-12), name
    joined = read_state(restart.fields["Tracer"].path, COMM, time=0.0)["Tracer"].mesh
    assert joined.volumes.sum() > 1.2 * size and joined.n_nodes < state["Tracer"].mesh.n_nodes


def test_values_are_those_of_the_nodes_and_the_grid_is_continuous_over_the_seam(restart):
    tracer = read_fields(restart, COMM, ["Tracer"])["Tracer"]
    np.testing.assert_allclose(tracer.values, np.sin(2 * np.pi * tracer.mesh.points[:, 0] / BOX[1, 0]), atol=1e-12)
    grid = make_grid(tracer.mesh.bounds(COMM), spacing=0.25)
    grid = grid.with_fluid(fluid_points(grid, tracer.mesh, COMM))
    on_grid = multiply(interpolation(tracer.mesh, "point", grid, COMM).to_grid, tracer.values).reshape(grid.shape)
    assert grid.fluid.all()
    np.testing.assert_allclose(on_grid[0], on_grid[-1], atol=1e-9)


def test_an_untouched_field_comes_back_bit_for_bit(restart, tmp_path):
    state = read_fields(restart, COMM)
    written = write_restart(restart, tmp_path / "new", COMM, state.fields)
    for name, source in restart.fields.items():
        old, new = read_grid(source.path), read_grid(written.fields[name].path)
        for values, after in ((old.GetPointData(), new.GetPointData()), (old.GetCellData(), new.GetCellData())):
            for array in arrays_of(values):
                np.testing.assert_array_equal(arrays_of(after)[array], arrays_of(values)[array])


def test_a_node_gets_the_mean_over_its_places(restart, tmp_path):
    rng = np.random.default_rng(1)
    state = read_fields(restart, COMM)
    changes = {name: state[name].replaced(rng.standard_normal(state[name].values.shape)) for name in state.fields}
    written = write_restart(restart, tmp_path / "new", COMM, changes)
    check_nodes(written, COMM)
    again = read_fields(written, COMM)
    for name in ("DG", "P0"):
        np.testing.assert_array_equal(again[name].values, changes[name].values)
    points = changes["Tracer"].mesh.points.copy()
    points[np.abs(points[:, 0] - BOX[1, 0]) < 1e-9, 0] = 0.0
    _, node = np.unique(points.round(9), axis=0, return_inverse=True)
    for name in ("Tracer", "Velocity"):
        values = changes[name].values.reshape(len(points), -1)
        sums = np.stack([np.bincount(node.ravel(), column) for column in values.T], axis=1)
        mean = (sums / np.bincount(node.ravel())[:, None])[node.ravel()]
        np.testing.assert_allclose(again[name].values.reshape(len(points), -1), mean, atol=1e-14)


def test_nodes_elsewhere_are_refused(restart):
    path = restart.fields["Tracer"].path
    grid = read_grid(path)
    vtk_to_numpy(grid.GetPoints().GetData())[3] += 0.01
    write_grid(grid, path)
    with pytest.raises(MeshError, match=r"p1.vtu: node \d+ is at .*, in mesh.msh beside it at"):
        check_nodes(restart, COMM)


def test_a_mesh_file_of_other_cells_can_only_be_copied(restart, tmp_path):
    name = restart.fields["Tracer"].path.parent / "mesh.msh"
    write_msh(sides("tetrahedra", (2, 2, 2)), name)
    assert read_fields(restart, COMM).fields == {}
    with pytest.raises(FileError, match="mesh.msh: has 48 tetrahedra, the periodic mesh of the fields .*; of periodic"):
        read_fields(restart, COMM, ["Tracer"])


def test_a_mesh_whose_file_is_periodic_can_only_be_copied(tmp_path):
    """As after `periodise`, for runs in parallel: the mesh without periodicity is in no file."""
    options = periodic_case(tmp_path / "case")
    removed = PERIODIC.replace("/>", "><remove_periodicity/></periodic_boundary_conditions>")
    meshes = from_file("PeriodicMesh") + from_mesh("CoordinateMesh", "PeriodicMesh", removed)
    fields = prognostic("Tracer", "PeriodicMesh", "p1.vtu")
    restart = open_restart(write_options(options, meshes, {"Air": fields}, 2))
    with pytest.raises(
        FileError, match="Tracer: on a periodic mesh, and the mesh that this was made of is in no file; remove it"
    ):
        read_fields(restart, COMM, ["Tracer"])
    assert read_fields(restart, COMM).fields == {}
    written = write_restart(restart, tmp_path / "new", COMM)
    assert filecmp.cmp(written.fields["Tracer"].path, restart.fields["Tracer"].path, shallow=False)
