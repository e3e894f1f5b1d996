"""The options file: known options are read, others are refused by their path."""

import numpy as np
import pytest
from embedded_case import change, insert

from coupling.common.files import FileError
from coupling.embedded.functions import FunctionError
from coupling.embedded.options import read_case
from coupling.vtk.xml import parse_xml

TRACER = "material_phase/scalar_field[@name='Tracer']/prognostic"
VELOCITY = "material_phase/vector_field/prognostic"
BC = (
    '<boundary_conditions name="more"><surface_ids><integer_value rank="1" shape="1">3</integer_value></surface_ids>'
    '<type name="{}">{}</type></boundary_conditions>'
)
CONSTANT = '<constant><real_value rank="0">{}</real_value></constant>'


def test_the_case_is_read_as_it_is_written(case):
    options = read_case(case / "case.flml")
    assert (options.name, options.coordinate_mesh, options.mesh_file) == ("case", "CoordinateMesh", "mesh")
    assert (options.time, options.timestep, options.finish, options.dump_period) == (0.0, 0.5, 8.0, 2.0)
    assert options.checkpoint_period == 2 and options.flags == {"checkpoint_at_end"}
    assert options.velocity.relaxation == 5.0 and options.velocity.walls.ids == (4, 5)
    assert options.velocity.walls.directions == {4: (2,), 5: (0, 1, 2)}
    tracer, smoke = options.tracers
    assert (tracer.name, tracer.mesh, smoke.name, smoke.mesh) == ("Tracer", "VelocityMesh", "Smoke", "SmokeMesh")
    assert tracer.diffusivity == 0.8 and tracer.shown == {"", "Source", "Diffusivity"}
    assert smoke.diffusivity == 0.0 and smoke.source is None and smoke.dirichlet == ()
    assert [ids for ids, _ in tracer.dirichlet] == [(1,)]


def test_python_is_called_with_a_place_and_a_time(case):
    tracer = read_case(case / "case.flml").tracers[0]
    expected = 1 + 0.5 * np.sin(2 * np.pi * 11 / 83)
    assert tracer.source.at([(25.0, 40.0, 5.0)], 11.0)[0, 0] == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize(
    "parent, xml, path",
    [
        (".", "<ocean_forcing/>", "/ocean_forcing"),
        ("io", "<dump_period_in_timesteps/>", "/io/dump_period_in_timesteps"),
        ("timestepping", "<adaptive_timestep/>", "/timestepping/adaptive_timestep"),
        ("geometry", '<mesh name="DG"><from_mesh><mesh_shape/></from_mesh></mesh>', "/mesh::DG/from_mesh/mesh_shape"),
        ("material_phase", '<scalar_field name="Pressure"><prognostic><scheme/></prognostic></scalar_field>',
         "/material_phase::Air/scalar_field::Pressure/prognostic/scheme"),
        ("material_phase", "<equation_of_state/>", "/material_phase::Air/equation_of_state"),
        (VELOCITY, '<tensor_field name="Viscosity"/>', "/vector_field::Velocity/prognostic/tensor_field"),
        (TRACER, "<subgridscale_parameterisation/>", "/scalar_field::Tracer/prognostic/subgridscale_parameterisation"),
        (f"{TRACER}/tensor_field/prescribed/value", "<anisotropic/>", "/value::WholeMesh/anisotropic"),
        (VELOCITY, BC.format("dirichlet", "<align_bc_with_surface/>"), "::more/type::dirichlet/align_bc_with_surface"),
    ],
)  # fmt: skip
def test_an_unknown_option_is_refused_by_its_path(case, parent, xml, path):
    insert(case / "case.flml", parent, xml)
    with pytest.raises(FileError) as caught:
        read_case(case / "case.flml")
    assert path in str(caught.value) and "case.flml" in str(caught.value) and "it knows" in str(caught.value)


@pytest.mark.parametrize(
    "parent, xml, expected",
    [
        (".", '<material_phase name="Water"/>', "2 material phases"),
        ("material_phase", '<vector_field name="Spin"><prognostic/></vector_field>', "expected one: Velocity"),
        ("material_phase", '<scalar_field name="Heat"/>', "scalar_field::Heat is not prognostic"),
        ("material_phase", '<scalar_field name="Heat"><prognostic/></scalar_field>', "Heat/prognostic/mesh is None"),
        (VELOCITY, BC.format("dirichlet", f"<align_bc_with_cartesian><x_component>{CONSTANT.format(1)}</x_component>"
                             "</align_bc_with_cartesian>"), "second inflow"),
        (VELOCITY, BC.format("no_normal_flow", "").replace(">3<", ">1<"), r"surfaces \[1\] are inflow and impermeable"),
        (VELOCITY, BC.format("free_surface", ""), "'free_surface', the embedded model knows dirichlet, no_normal_flow"),
        (VELOCITY, BC.format("dirichlet", ""), "gives no component"),
        (TRACER, BC.format("neumann", CONSTANT.format(1)), "'neumann', the embedded model knows dirichlet"),
        (TRACER, BC.format("dirichlet", CONSTANT.format("1 2")), r"'1 2', expected 1 number\(s\)"),
        (TRACER, BC.format("dirichlet", CONSTANT.format(1)).replace(">3<", ">x<"), "'x', expected surface ids"),
        (TRACER, '<initial_condition name="Left"><constant/></initial_condition>', "one initial_condition::WholeMesh"),
    ],
)  # fmt: skip
def test_known_options_in_an_unknown_sense_are_refused(case, parent, xml, expected):
    insert(case / "case.flml", parent, xml)
    with pytest.raises(FileError, match=expected):
        read_case(case / "case.flml")


@pytest.mark.parametrize(
    "path, text, expected",
    [
        ("problem_type", "oceans", "problem_type is 'oceans', the embedded model knows fluids"),
        ("geometry__dimension", "2", "geometry/dimension is 2"),
        ("timestepping__timestep", "0", "timestepping/timestep is 0, expected a number above zero"),
        ("timestepping__timestep", "soon", "'soon', expected float"),
        ("io__dump_period__constant", "-1", "dump_period/constant is -1"),
        (
            "material_phase__scalar_field__prognostic__temporal_discretisation__theta",
            "0.5",
            "theta is '0.5', .* knows 1",
        ),
        ("material_phase__vector_field__prognostic__embedded_relaxation_time", "-1", "expected seconds, zero or more"),
    ],
)
def test_impossible_values_are_refused(case, path, text, expected):
    change(case / "case.flml", **{path: text})
    with pytest.raises(FileError, match=expected):
        read_case(case / "case.flml")


def test_a_missing_option_is_named(case):
    tree = parse_xml(case / "case.flml")
    tree.getroot().remove(tree.getroot().find("timestepping"))
    tree.write(str(case / "case.flml"))
    with pytest.raises(FileError, match="timestepping/current_time is not set"):
        read_case(case / "case.flml")


def test_real_fluidity_cases_are_refused_and_not_misread(fluidity_data):
    for name in ("serial/mini.flml", "serial/mini_3_checkpoint.flml"):
        with pytest.raises(FileError, match="does not know option /"):
            read_case(fluidity_data / name)


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("def val(X, t):", "def val(X, t)", "SyntaxError"),
        ("def val(X, t):", "def value(X, t):", r"defines \['value'\], expected def val"),
        ("def val(X, t):", "import nothing_of_this_name\ndef val(X, t):", "ModuleNotFoundError"),
    ],
)
def test_python_that_cannot_be_used_is_refused_by_its_path(case, old, new, expected):
    text = (case / "case.flml").read_text().replace(old, new, 1)
    (case / "case.flml").write_text(text)
    with pytest.raises(FunctionError, match=expected) as caught:
        read_case(case / "case.flml")
    assert "/x_component/python" in str(caught.value)


def test_python_that_fails_when_called_is_named(case):
    text = (case / "case.flml").read_text().replace("r2 = ", "r2 = [] + ", 1)
    (case / "case.flml").write_text(text)
    source = read_case(case / "case.flml").tracers[0].source
    with pytest.raises(FunctionError, match=r"scalar_field::Source.*val\(X, 3.0\) raised TypeError"):
        source.at([(0.0, 0.0, 0.0)], 3.0)


def test_options_that_cannot_alter_an_answer_are_ignored(case):
    insert(case / "case.flml", TRACER + "/solver", "<diagnostics><monitors/></diagnostics>")
    insert(case / "case.flml", "io", "<detectors><static_detector/></detectors>")
    assert read_case(case / "case.flml").tracers[0].name == "Tracer"
