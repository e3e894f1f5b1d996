"""Numbers of an options file by their path."""

import pytest

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.option_paths import number_at, numbers, set_number, spelled

OPTIONS = """<?xml version='1.0' encoding='utf-8'?>
<fluidity_options>
  <timestepping><timestep><real_value rank="0">2.0</real_value></timestep></timestepping>
  <material_phase name="Air">
    <vector_field name="Velocity"><prognostic>
      <relaxation><real_value rank="0">30.0</real_value></relaxation>
      <initial_condition name="WholeMesh">
        <constant><real_value rank="1">0.0 1.0 0.0</real_value></constant>
      </initial_condition>
      <boundary_conditions name="inflow">
        <type name="dirichlet"><python><string_value>def val(X, t): return 1</string_value></python></type>
      </boundary_conditions>
      <boundary_conditions name="sky">
        <flux><constant><real_value rank="0">1.5</real_value></constant></flux>
      </boundary_conditions>
    </prognostic></vector_field>
    <scalar_field name="Tracer"><prognostic>
      <diffusivity><constant><real_value rank="0">0.8</real_value></constant></diffusivity>
      <layer><real_value rank="0">1.0</real_value></layer>
      <layer><real_value rank="0">2.0</real_value></layer>
    </prognostic></scalar_field>
  </material_phase>
</fluidity_options>
"""
TRACER = "/material_phase::Air/scalar_field::Tracer/prognostic"
VELOCITY = "/material_phase::Air/vector_field::Velocity/prognostic"


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "case.flml"
    path.write_text(OPTIONS)
    return flml.read_options(path)


@pytest.mark.parametrize("end", ["", "/constant", "/constant/real_value", "/"])
@pytest.mark.parametrize("phase", ["material_phase::Air", "material_phase[0]", "material_phase"])
def test_a_number_by_any_spelling(tree, phase, end):
    path = f"/{phase}/scalar_field::Tracer/prognostic/diffusivity{end}"
    assert number_at(tree, path, "case.flml").text == "0.8"


def test_one_of_several_by_its_number(tree):
    assert [number_at(tree, f"{TRACER}/layer[{k}]", "case.flml").text for k in range(2)] == ["1.0", "2.0"]


def test_setting_changes_nothing_else(tree, tmp_path):
    set_number(tree, f"{VELOCITY}/relaxation", 1.0 / 3.0, "case.flml")
    flml.write_options(tree, tmp_path / "new.flml")
    flml.write_options(flml.read_options(tmp_path / "case.flml"), tmp_path / "same.flml")
    assert (tmp_path / "new.flml").read_text() == (tmp_path / "same.flml").read_text().replace("30.0", repr(1.0 / 3.0))


def test_every_number_that_is_offered_is_one(tree):
    offered = numbers(tree)
    assert offered == [
        f"{VELOCITY}/relaxation",
        f"{VELOCITY}/boundary_conditions::sky/flux/constant",
        f"{TRACER}/diffusivity/constant",
        f"{TRACER}/layer[0]",
        f"{TRACER}/layer[1]",
    ]
    assert [spelled(number_at(tree, path, "case.flml")) for path in offered] == [f"{p}/real_value" for p in offered]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (f"{TRACER}/difusivity", f"there is no 'difusivity' below {TRACER}, which has diffusivity, layer.*"
         rf"did you mean '{TRACER}/diffusivity/constant'\?"),
        ("/material_phase::Water/x", "there is no 'material_phase::Water' below the root, which has timestepping"),
        (f"{TRACER}/layer", r"2 elements are 'layer'; name one as 'layer\[0\]'"),
        (f"{TRACER}/layer[2]", r"there is no 'layer\[2\]'"),
        (f"{VELOCITY}/initial_condition::WholeMesh", "holds '0.0 1.0 0.0', expected one real number"),
        (f"{VELOCITY}/boundary_conditions::inflow/type::dirichlet", "holds a Python function .*parameters.json"),
        (TRACER, "holds no number in <prognostic>"),
        ("/timestepping/timestep", "cannot be a parameter; expected one below material_phase::Air"),
        ("/", "cannot be a parameter"),
        (f"{TRACER}/diff[usivity", r"there is no 'diff\[usivity'"),
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(tree, path, message):
    with pytest.raises(FileError, match=message):
        number_at(tree, path, "case.flml")


def test_a_text_is_no_number(tree):
    number_at(tree, f"{TRACER}/diffusivity", "case.flml").text = "much"
    with pytest.raises(FileError, match="is 'much', expected a number"):
        number_at(tree, f"{TRACER}/diffusivity", "case.flml")
