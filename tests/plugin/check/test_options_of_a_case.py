"""The doctor: what it says of the model's options, and the changes that it makes."""

import copy

import pytest
from cycle_case import ROOT, files, settings
from lxml import etree

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.remarks import Change, remarks_on, write_fixed
from plugin.case.configuration import Case
from plugin.check.case.settings import plan_of_cycle
from plugin.check.finding import FAIL, OK, WARN


def case_of(tmp_path, **changes):
    """A Case that points to nothing that is read."""
    return Case.model_validate(settings(tmp_path, tmp_path / "run", **changes))


def options(case, tree):
    """(remark, changes that help) for each remark on a tree of options."""
    return [(remark, remark.changes) for remark in remarks_on(tree, plan_of_cycle(case))]


def tree_of(*changes):
    tree = flml.read_options(ROOT / "tests/data/embedded/case.flml")
    for change in changes:
        change(tree)
    return tree


def add(path):
    return lambda tree: flml.set_flag(tree, path)


def dumps_in_timesteps(number):
    def change(tree):
        flml.remove_option(tree, "io/dump_period")
        flml.set_option(tree, "io/dump_period_in_timesteps/constant", number)

    return change


def test_dumps_in_timesteps_may_be_enough(tmp_path):
    within = case_of(tmp_path, observations__window="interpolate")
    assert {finding.level for finding, _ in options(within, tree_of(dumps_in_timesteps(4)))} == {OK}


def test_readings_of_before_ask_for_dumps_where_they_are_within_a_window(tmp_path):
    rare = tree_of(lambda tree: flml.set_option(tree, "io/dump_period/constant", 8.0))
    for lag, level in ((4.0, {OK, WARN}), (8.0, {OK})):
        given = {"file": "a.csv", "window": "lagged", "lagged": {"lags": [lag]}}
        assert {finding.level for finding, _ in options(case_of(tmp_path, observations=given), rare)} == level


def test_solvers_that_may_fail_are_named_and_mended(tmp_path):
    def ignore(tree):
        (solver,) = tree.getroot().iter("solver")
        solver.remove(solver.find("never_ignore_solver_failures"))
        etree.SubElement(solver, "ignore_all_solver_failures")
        velocity = tree.getroot().find("material_phase/vector_field/prognostic")
        velocity.append(copy.deepcopy(solver))

    tree = tree_of(ignore)
    found = [(f, changes) for f, changes in options(case_of(tmp_path), tree) if f.level == WARN]
    assert len(found) == 2 and all("a solver may fail" in finding.text for finding, _ in found)
    for _, changes in found:
        for change in changes:
            change.make(tree)
    assert {finding.level for finding, _ in options(case_of(tmp_path), tree)} == {OK}
    solvers = list(tree.getroot().iter("solver"))
    assert all(solver.find("never_ignore_solver_failures") is not None for solver in solvers)
    assert not any(solver.find("ignore_all_solver_failures") is not None for solver in solvers)


def test_fields_of_several_phases_have_the_phase_in_their_names(tmp_path):
    def second(tree):
        phase = tree.getroot().find("material_phase")
        phase.set("name", "Air")
        other = etree.SubElement(tree.getroot(), "material_phase", name="Dust")
        etree.SubElement(etree.SubElement(other, "scalar_field", name="Tracer"), "prognostic")

    for variables, level in ((["Dust::Tracer", "Air::Velocity"], OK), (["Tracer"], FAIL), (["Dust::Velocity"], FAIL)):
        found = [f for f, _ in options(case_of(tmp_path, variables=variables), tree_of(second))]
        assert max((f.level for f in found), key=[OK, WARN, FAIL].index) == level
    assert "it has Air::" in next(f.text for f in found if f.level == FAIL)


def test_the_options_of_a_sound_case_pass(tmp_path):
    found = options(case_of(tmp_path), tree_of())
    assert {finding.level for finding, _ in found} == {OK} and not any(changes for _, changes in found)


@pytest.mark.parametrize(
    ("change", "section", "level", "said", "fix"),
    [
        (add("timestepping/final_timestep"), {}, FAIL, "ends the model", "remove /timestepping/final_timestep"),
        (add("timestepping/steady_state"), {}, FAIL, "changes little", "remove /timestepping/steady_state"),
        (add("timestepping/wall_time_limit"), {}, WARN, "model.timeout", "remove /timestepping/wall_time_limit"),
        (lambda tree: flml.set_option(tree, "io/dump_format", "gmsh"), {}, FAIL, "VTU", "set /io/dump_format to vtk"),
        (
            lambda tree: flml.set_option(tree, "io/dump_period/constant", 8.0),
            {"observations__window": "interpolate"}, WARN, "few for readings", "set /io/dump_period/constant to 2.0",
        ),
        (
            dumps_in_timesteps(16), {"observations__window": "interpolate"}, WARN,
            "dumps every 8 s (16 time steps of 0.5 s) are few", "set /io/dump_period_in_timesteps/constant to 4",
        ),
        (add("mesh_adaptivity"), {"grid": {"space": "mesh"}}, FAIL, "changes its mesh", None),
        (add("io/nothing"), {"variables": ["Tracer", "Heat"]}, FAIL, "'Heat' is no field", None),
        (add("io/nothing"), {"variables": ["Pressure.x"]}, FAIL, "'Pressure' is no field", None),
        (add("io/nothing"), {"cycle__window": 7.75}, WARN, "no whole number of time steps", None),
        (add("io/nothing"), {"cycle__window": 0.25}, FAIL, "a time step is 0.5 s", None),
    ],
)  # fmt: skip
def test_options_that_would_spoil_a_cycle(tmp_path, change, section, level, said, fix):
    found = [(f, changes) for f, changes in options(case_of(tmp_path, **section), tree_of(change)) if f.level != OK]
    ((finding, changes),) = found
    assert finding.level == level and said in finding.text and finding.advice
    assert [str(c) for c in changes] == ([fix] if fix else [])


def test_fields_that_the_model_does_not_carry_on_fail(tmp_path):
    def prescribed(tree):
        tree.getroot().find(".//scalar_field[@name='Tracer']/prognostic").tag = "prescribed"

    def hidden(tree):
        of = tree.getroot().find(".//scalar_field[@name='Tracer']/prognostic")
        etree.SubElement(etree.SubElement(of, "output"), "exclude_from_vtu")

    (found,) = [f for f, _ in options(case_of(tmp_path), tree_of(prescribed)) if f.level == FAIL]
    assert "not prognostic" in found.text
    assert {f.level for f, _ in options(case_of(tmp_path), tree_of(hidden))} == {OK}
    within = case_of(tmp_path, observations__window="nearest")
    ((found, (change,)),) = [(f, c) for f, c in options(within, tree_of(hidden)) if f.level == FAIL]
    changed = tree_of(hidden)
    change.make(changed)
    assert not any(f.level == FAIL for f, _ in options(within, changed))


def test_a_fixed_copy_takes_no_file_s_place(tmp_path):
    folder = tmp_path / "start-1"
    folder.mkdir()
    flml.write_options(tree_of(add("timestepping/final_timestep")), folder / "case.flml")
    case = case_of(tmp_path)
    before = files(tmp_path)
    with pytest.raises(FileError, match="is there already"):
        write_fixed(case.model.start, [Change("timestepping/final_timestep")], folder / "case.flml")
    with pytest.raises(FileError, match="choose a name in"):
        write_fixed(case.model.start, [Change("timestepping/final_timestep")], tmp_path / "other.flml")
    assert files(tmp_path) == before
    write_fixed(case.model.start, [Change("timestepping/final_timestep")], folder / "fixed.flml")
    assert {f.level for f, _ in options(case, flml.read_options(folder / "fixed.flml"))} == {OK}
