"""What users' checkpoints have besides one phase on one mesh: extrusion, phases, prescribed and diagnostic fields."""

import filecmp

import numpy as np
import pytest
from fluidity_case import from_file, from_mesh, prognostic, sides, write_fields, write_options
from mpi4py import MPI
from shaped_mesh import shaped_mesh
from vtkmodules.util.numpy_support import vtk_to_numpy

from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.fluidity.boundary import check_surfaces, read_boundary
from coupling.fluidity.checkpoint import mesh_pieces, open_restart, read_fields, restart_files, write_restart
from coupling.fluidity.msh import write_msh
from coupling.fluidity.nodes import check_nodes
from coupling.fluidity.remarks import remarks
from coupling.geometry.mesh import Field, MeshError, State
from coupling.simulation.advice import Plan
from coupling.vtk.cells import arrays_of
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import dump_time, read_grid, read_state, write_grid

COMM = MPI.COMM_SELF
EVERY = ["triangles", "quadrilaterals", "tetrahedra", "hexahedra"]


def one_phase(folder, name="tetrahedra", fields="", meshes=None):
    """A checkpoint of Tracer and what else is given; its options."""
    mesh = sides(name)
    folder.mkdir(parents=True)
    write_msh(mesh, folder / "mesh.msh")
    arrays = {of: mesh.points[:, 0] + k for k, of in enumerate(("Tracer", "Terrain", "Mean"))}
    write_fields(folder / "p1.vtu", mesh.points, mesh.cells, mesh.shape, arrays)
    meshes = meshes or from_file("CoordinateMesh") + from_mesh("VelocityMesh", "CoordinateMesh")
    fields = prognostic("Tracer", "VelocityMesh", "p1.vtu") + fields
    return write_options(folder / "tiny_3_checkpoint.flml", meshes, {"Air": fields}, mesh.shape.dimension)


def edited(restart, folder, names=("Tracer",)):
    """The restart with random values, and these."""
    state, rng = read_fields(restart, COMM), np.random.default_rng(1)
    changes = {name: state[name].replaced(rng.standard_normal(state[name].values.shape)) for name in names}
    return write_restart(restart, folder, COMM, changes), changes


@pytest.mark.parametrize("name", EVERY)
def test_fields_on_cells_of_every_shape_come_back_bit_for_bit(name, tmp_path):
    restart = open_restart(one_phase(tmp_path / "case", name))
    check_nodes(restart, COMM)
    written, changes = edited(restart, tmp_path / "new")
    check_nodes(written, COMM)
    again = read_fields(written, COMM)["Tracer"]
    np.testing.assert_array_equal(again.values, changes["Tracer"].values)
    assert again.mesh.shape.name == name and again.mesh.fingerprint == changes["Tracer"].mesh.fingerprint


@pytest.mark.parametrize("name", EVERY)
def test_boundaries_of_every_shape(name, tmp_path):
    restart = open_restart(one_phase(tmp_path / "case", name))
    boundary = read_boundary(restart, read_fields(restart, COMM)["Tracer"].mesh, COMM)
    assert np.ptp(boundary.points[boundary.nodes_on([1])][:, 0]) == 0
    check_surfaces([1, 4], restart, "here")
    with pytest.raises(FileError, match=r"here: surfaces \[9\], which the mesh does not have"):
        check_surfaces([4, 9], restart, "here")


@pytest.mark.parametrize(("name", "other"), [("triangles", "quadrilaterals"), ("tetrahedra", "hexahedra")])
def test_a_field_on_cells_of_another_shape_than_its_mesh_is_refused(name, other, tmp_path):
    restart = open_restart(one_phase(tmp_path / "case", name))
    mesh, n = sides(other), len(sides(name).cells)
    cells = np.resize(mesh.cells, (n, mesh.cells.shape[1]))
    write_fields(tmp_path / "case/p1.vtu", mesh.points, cells, mesh.shape, {"Tracer": mesh.points[:, 0]})
    with pytest.raises(
        MeshError, match=rf"p1.vtu: cells of VTK types \[{mesh.shape.vtk}\], mesh.msh beside it has {name}"
    ):
        check_nodes(restart, COMM)


EXTRUDED = "<extrude>{}</extrude>"
TO_FILE = '<checkpoint_from_file file_name="solid"><format name="gmsh"/></checkpoint_from_file>'


def extruded_case(folder, to_file=TO_FILE):
    """A checkpoint on a mesh that is extruded from triangles."""
    meshes = from_file("InputMesh", "flat") + from_mesh("CoordinateMesh", "InputMesh", EXTRUDED.format(to_file))
    options = one_phase(folder, "tetrahedra", meshes=meshes + from_mesh("VelocityMesh", "CoordinateMesh"))
    (folder / "mesh.msh").rename(folder / "solid.msh")
    write_msh(sides("triangles"), folder / "flat.msh")
    return options


def test_the_file_of_an_extruded_mesh_goes_along_and_is_compared(tmp_path):
    restart = open_restart(extruded_case(tmp_path / "case"))
    check_nodes(restart, COMM)
    assert mesh_pieces(restart) == [tmp_path / "case/solid.msh"]
    written, _ = edited(restart, tmp_path / "new")
    names = {path.name for path in restart_files(written)}
    assert names == {"restart.flml", "restart_InputMesh.msh", "restart_CoordinateMesh.msh", "restart_VelocityMesh.vtu"}
    check_nodes(written, COMM)
    grid = read_grid(tmp_path / "case/p1.vtu")
    vtk_to_numpy(grid.GetPoints().GetData())[3] += 0.01
    write_grid(grid, tmp_path / "case/p1.vtu")
    with pytest.raises(MeshError, match="p1.vtu: .* is at .*, in solid.msh beside it at"):
        check_nodes(restart, COMM)


def test_a_mesh_that_the_model_extrudes_anew_is_not_compared_and_that_is_said(tmp_path):
    restart = open_restart(extruded_case(tmp_path / "case", ""))
    check_nodes(restart, COMM)
    with pytest.raises(FileError, match="CoordinateMesh is extruded when the model starts, and its surfaces are in no"):
        mesh_pieces(restart)
    said = [of for of in remarks(restart.options, plan()) if "is extruded anew at each start" in of.text]
    assert len(said) == 1 and said[0].level == "warn" and "as the model wrote it" in said[0].advice


def plan(*variables):
    return Plan(window=2.0, variables=variables or ("Tracer",), dumped=False, within="", fixed_mesh=False)


def fails(options, *variables):
    return [(of.text, of.advice) for of in remarks(options, plan(*variables)) if of.level == "fail"]


PRESCRIBED = prognostic("Terrain", "VelocityMesh", "p1.vtu", how="prescribed/value")
DIAGNOSTIC = (
    '<scalar_field name="Mean"><diagnostic><algorithm name="time_averaged_scalar"/><mesh name="VelocityMesh"/>'
    "<output><checkpoint/></output></diagnostic></scalar_field>"
)


def test_prescribed_and_diagnostic_fields_beside_prognostic_ones(tmp_path):
    """One file holds all three; only the first kind starts from it, the second keeps its values."""
    options = one_phase(tmp_path / "case", fields=PRESCRIBED + DIAGNOSTIC)
    restart = open_restart(options)
    assert set(restart.fields) == {"Tracer"} and not fails(options, "Tracer")
    for name in ("Terrain", "Mean"):
        ((text, advice),) = fails(options, name)
        assert f"{name} is not prognostic" in text and "remove it from `variables`" in advice
    written, _ = edited(restart, tmp_path / "new")
    assert filecmp.cmp(tmp_path / "case/p1.vtu", tmp_path / "new/p1.vtu", shallow=False)
    old, new = (
        arrays_of(read_grid(path).GetPointData()) for path in (tmp_path / "case/p1.vtu", written.fields["Tracer"].path)
    )
    assert not np.array_equal(old["Tracer"], new["Tracer"])
    for name in ("Terrain", "Mean"):
        np.testing.assert_array_equal(old[name], new[name])


def test_a_field_that_is_left_out_of_checkpoints_is_named(tmp_path):
    options = one_phase(tmp_path / "case")
    text = options.read_text().replace("<output/>", "<output/><exclude_from_checkpointing/>", 1)
    options.write_text(text)
    ((said, advice),) = fails(options, "Tracer")
    assert "Tracer is left out of checkpoints" in said and "exclude_from_checkpointing" in advice


def test_an_array_of_another_name_is_read_and_written(tmp_path):
    options = one_phase(tmp_path / "case")
    text = options.read_text()
    named = '<format name="vtu"><field_name><string_value>Mean</string_value></field_name></format>'
    options.write_text(text.replace('<format name="vtu"/>', named, 1))
    restart = open_restart(options)
    assert restart.fields["Tracer"].array == "Mean"
    written, changes = edited(restart, tmp_path / "new")
    np.testing.assert_array_equal(read_fields(written, COMM)["Tracer"].values, changes["Tracer"].values)


def test_meshes_of_other_formats_are_refused_with_what_to_do(tmp_path):
    options = one_phase(tmp_path / "case")
    options.write_text(options.read_text().replace('<format name="gmsh"/>', '<format name="triangle"/>'))
    with pytest.raises(
        FileError, match="CoordinateMesh is read from a file of format 'triangle', expected 'gmsh'; write"
    ):
        open_restart(options)


def two_phases(folder):
    """A checkpoint of two phases with a Tracer each."""
    mesh = sides("triangles")
    folder.mkdir(parents=True)
    write_msh(mesh, folder / "mesh.msh")
    phases = {}
    for k, phase in enumerate(("Air", "Dust")):
        values = {"Tracer": mesh.points[:, 0] + 10.0 * k}
        write_fields(folder / f"{phase}.vtu", mesh.points, mesh.cells, mesh.shape, values)
        phases[phase] = prognostic("Tracer", "VelocityMesh", f"{phase}.vtu")
    meshes = from_file("CoordinateMesh") + from_mesh("VelocityMesh", "CoordinateMesh")
    return write_options(folder / "tiny_3_checkpoint.flml", meshes, phases, 2)


def test_the_same_field_in_two_phases(tmp_path):
    restart = open_restart(two_phases(tmp_path / "case"))
    state = read_fields(restart, COMM)
    assert {name: field.name for name, field in state.fields.items()} == {n: n for n in ("Air::Tracer", "Dust::Tracer")}
    assert state["Dust::Tracer"].values.min() == 10.0 and not fails(restart.options, "Dust::Tracer")
    ((text, _),) = fails(restart.options, "Tracer")
    assert "'Tracer' is no field of the model; it has Air::Tracer, Dust::Tracer" in text
    written, changes = edited(restart, tmp_path / "new", ("Dust::Tracer",))
    again = read_fields(written, COMM)
    np.testing.assert_array_equal(again["Dust::Tracer"].values, changes["Dust::Tracer"].values)
    np.testing.assert_array_equal(again["Air::Tracer"].values, state["Air::Tracer"].values)
    assert written.fields["Air::Tracer"].path.name == "restart_Air_VelocityMesh.vtu"


@pytest.fixture
def phase_dumps(tmp_path):
    """Dumps of two phases, as the model writes them: the time is the first phase's."""
    mesh = shaped_mesh("triangles")
    for k in range(2):
        fields = {f"{of}::Tracer": Field(f"{of}::Tracer", mesh, mesh.points[:, 0] + k) for of in ("Air", "Dust")}
        path = write_dump(State(4.0 + k, fields), tmp_path / f"tiny_{k}", COMM)
        grid = read_grid(path)
        grid.GetPointData().GetArray("Time").SetName("Air::Time")
        write_grid(grid, path)
    return tmp_path


def test_dumps_of_several_phases_have_their_time_under_the_first_phases_name(phase_dumps):
    assert dump_time(phase_dumps / "tiny_1.vtu") == 5.0
    state = read_state(phase_dumps / "tiny_0.vtu", COMM, ["Dust::Tracer"])
    assert state.time == 4.0 and set(state.fields) == {"Dust::Tracer"}
    series = open_series(phase_dumps, COMM)
    assert series.times.tolist() == [4.0, 5.0] and series.field_names == ("Air::Tracer", "Dust::Tracer")
    assert set(series.read(0).fields) == {"Air::Tracer", "Dust::Tracer"}
