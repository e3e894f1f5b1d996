"""What an analysis goes through before the model goes on from it."""

import json
import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from gated_analysis import ALL, LOW, LOW_OF_ALL, gates_of, make_analysis
from mpi4py import MPI
from shaped_mesh import shaped_mesh

from coupling.common.files import FileError
from coupling.fluidity.boundary import read_boundary
from coupling.fluidity.checkpoint import read_fields
from coupling.fluidity.divergence import weak_divergence
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.mass import lumped_mass
from coupling.geometry.mesh import Field, State
from plugin.case.configuration import ConfigurationError
from plugin.case.gates import GatesSection
from plugin.state.transfer import Transfer, values_at, variables_of
from plugin.window.assimilate import WindowAnalysis
from plugin.window.gates.apply import RESIDUAL, GateError, Gates, make_gates
from plugin.window.gates.mesh_operators import MeshOperators, check_boundary, check_gates
from plugin.window.gates.summary import gates_summary

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def analysis():
    return make_analysis(COMM)


def passed(analysis, **asked):
    """(State let through, what is told, WindowAnalysis) by gates of their own."""
    background, state, restart, found = analysis
    through = gates_of(background, **asked).passed(found, state, restart, {"a Tracer": 0.1})
    json.dumps(through.gates, allow_nan=False)
    return State(state.time, through.changes), through.gates, through


def increment(analysis, of, name):
    return of[name].values - analysis[1][name].values


def test_without_gates_the_analysis_stays_as_it_is(analysis):
    _, told, through = passed(analysis)
    assert told == {} and through is analysis[3]
    _, told, through = passed(analysis, largest={"Velocity": 1e3}, bounds={"Tracer": [-1e3, 1e3]})
    assert through.changes == analysis[3].changes and told["largest"]["factor"] == 1.0
    assert all(row[RESIDUAL] == row["residual"] for row in through.table)


def test_bounds_keep_the_mass_and_tell_what_they_did(analysis):
    _, state, _, found = analysis
    of, told, _ = passed(analysis, bounds={"Tracer": [LOW, None]})
    before, after = found.changes["Tracer"].values, of["Tracer"].values
    mass = lumped_mass(state["Tracer"].mesh, "point", COMM)
    told = told["bounds"]["Tracer"]
    assert told["below"] == ((before < LOW) & (mass > 0)).sum() > 0 and told["lowest"] == before.min() < LOW
    assert after.min() == LOW and mass @ after == pytest.approx(mass @ before, rel=1e-12)
    assert told["mass"] == pytest.approx(mass @ before) and told["mass_kept"] and told["mass_moved"] > 0
    assert told["below_in_forecast"] == ((state["Tracer"].values < LOW) & (mass > 0)).sum()
    assert told["above"] == told["above_in_forecast"] == 0
    assert of["Velocity"] is found.changes["Velocity"]


@pytest.mark.parametrize("cells", ["quadratic triangles", "quadratic tetrahedra"])
@pytest.mark.parametrize("n_pieces", [1, 3])
def test_bounds_of_quadratic_fields_hold_at_all_nodes_and_keep_the_integral(cells, n_pieces):
    mesh = shaped_mesh(cells, n_pieces)
    values = np.sin(3.0 * mesh.points @ [1.0, 2.0, 1.5]) + 0.4
    state = State(0.0, {"T": Field("T", mesh, values)})
    transfer = SimpleNamespace(variables=variables_of(["T"], state), comm=COMM)
    gates = Gates(GatesSection(bounds={"T": [0.0, 1.2]}), transfer, MeshOperators(COMM, "has none"))
    through = gates.bounded(state)["T"].values
    assert values.min() < 0.0 and values.max() > 1.2 and through.min() == 0.0 and through.max() == 1.2
    own = mesh.cells[~mesh.ghost]
    masses = mesh.shape.masses(mesh.points[own])
    assert (masses * through[own]).sum() == pytest.approx((masses * values[own]).sum(), rel=1e-12)
    # copies of a node in other pieces go along
    _, first, which = np.unique(mesh.points.round(9), axis=0, return_index=True, return_inverse=True)
    np.testing.assert_array_equal(through, through[first][which.ravel()])


def test_a_mass_that_no_field_within_bounds_has_is_told(analysis):
    of, told, _ = passed(analysis, bounds={"Tracer": [0.0, None]})
    before = analysis[3].changes["Tracer"].values
    np.testing.assert_array_equal(of["Tracer"].values, np.maximum(before, 0.0))
    assert told["bounds"]["Tracer"]["mass"] < 0 and not told["bounds"]["Tracer"]["mass_kept"]
    assert re.search(
        r"Tracer: \d+ values below bounds, 0 above; no field within them has the mass -", gates_summary(told)
    )


def test_bounds_of_one_component_leave_the_others(analysis):
    of, told, _ = passed(analysis, bounds={"Velocity.x": [None, 1.0]})
    before = analysis[3].changes["Velocity"].values
    assert of["Velocity"].values[:, 0].max() <= 1.0 < before[:, 0].max() and told["bounds"]["Velocity.x"]["above"] > 0
    np.testing.assert_array_equal(of["Velocity"].values[:, 1:], before[:, 1:])


def test_tracers_by_cell_and_with_nodes_of_their_own_in_each_cell_go_through_too(analysis):
    background, _, restart, _ = analysis
    state = read_fields(restart, COMM, ["DGTracer", "P0Tracer"])
    transfer = Transfer(background.transfer.grid, variables_of(list(state.fields), state), COMM)
    changes = {}
    for name, of in state.fields.items():
        places = of.mesh.points if of.location == "point" else of.mesh.centroids
        changes[name] = of.replaced(of.values + 0.1 + 0.2 * np.sin(0.1 * places).sum(axis=1))
    found = WindowAnalysis(changes, None, [])
    asked = GatesSection(
        bounds={"DGTracer": [0, None], "P0Tracer": [0, 0.4]}, taper={"surfaces": [2], "distance": 30.0}
    )
    through = make_gates(asked, transfer, FLUIDITY.boundary).passed(found, state, restart)
    for name, (low, high) in asked.bounds.items():
        of, told = through.changes[name], through.gates["bounds"][name]
        assert told["below"] > 0 and told["mass_kept"] and of.values.min() == low
        assert high is None or of.values.max() == high
        mass = lumped_mass(of.mesh, of.location, COMM)
        assert mass @ of.values == pytest.approx(told["mass"], rel=1e-12)
        assert 0 < through.gates["taper"][name]["kept"] < 1


def test_an_increment_that_is_too_large_is_made_smaller_as_a_whole(analysis):
    of, told, _ = passed(analysis, largest={"Velocity": 0.1, "Tracer": 1e3})
    size = np.linalg.norm(increment(analysis, State(0.0, analysis[3].changes), "Velocity"), axis=1).max()
    assert told["largest"]["increment"]["Velocity"] == size > 0.1
    assert told["largest"]["factor"] == 0.1 / size
    assert np.linalg.norm(increment(analysis, of, "Velocity"), axis=1).max() == pytest.approx(0.1)
    whole = increment(analysis, State(0.0, analysis[3].changes), "Tracer")
    np.testing.assert_allclose(increment(analysis, of, "Tracer"), 0.1 / size * whole, atol=1e-12)


def test_biases_go_as_far_as_the_increment(analysis):
    background, state, restart, found = analysis
    biased = replace(found, biases={"a Tracer": 0.3, "b Tracer": 0.2})
    factor = {}
    for kind in ("scale", "refuse"):
        gates = gates_of(background, largest={"Velocity": 0.1}, too_large=kind)
        through = gates.passed(biased, state, restart, {"a Tracer": 0.1})
        factor[kind] = through.gates["largest"]["factor"], through.biases
    f, biases = factor["scale"]
    assert biases == pytest.approx({"a Tracer": 0.1 + 0.2 * f, "b Tracer": 0.2 * f})
    assert factor["refuse"] == (0.0, {"a Tracer": 0.1})


def test_or_it_is_given_up(analysis):
    of, told, through = passed(analysis, largest={"Velocity.y": 0.01}, too_large="refuse", bounds={"Tracer": [0, None]})
    assert of.fields == {} and told["largest"]["factor"] == 0.0 and "bounds" not in told
    assert through.analysis is analysis[3].analysis
    assert all(row[RESIDUAL] == row["innovation"] for row in through.table)


def test_it_fades_towards_the_surfaces_that_are_named(analysis):
    _, state, restart, found = analysis
    of, told, _ = passed(analysis, taper={"surfaces": [2, 3], "distance": 40.0})
    mesh = state["Velocity"].mesh
    boundary = read_boundary(restart, mesh, COMM)
    there = boundary.nodes_on([2, 3])
    far = np.array([np.linalg.norm(boundary.points[there] - place, axis=1).min() for place in mesh.points])
    for name in ("Tracer", "Velocity"):
        before, after = found.changes[name].values, of[name].values
        assert np.abs(increment(analysis, of, name)[there]).max() == 0.0
        np.testing.assert_allclose(after[far >= 40.0], before[far >= 40.0], atol=1e-14)
        assert 0 < told["taper"][name]["kept"] < 1
    half = np.abs(far - 20.0).argmin()
    s = far[half] / 40.0
    expected = s * s * (3 - 2 * s) * increment(analysis, State(0.0, found.changes), "Tracer")[half]
    assert increment(analysis, of, "Tracer")[half] == pytest.approx(expected, rel=1e-9)


def test_the_velocity_gets_no_divergence_and_nothing_where_the_model_sets_it(analysis):
    _, state, restart, _ = analysis
    of, told, _ = passed(analysis, divergence_free="Velocity")
    mesh, du = state["Velocity"].mesh, increment(analysis, of, "Velocity")
    boundary = read_boundary(restart, mesh, COMM)
    assert (du[boundary.nodes_on([1, 5])] == 0).all() and (du[boundary.nodes_on([4]), 2] == 0).all()
    assert np.abs(du).max() > 0.01
    told = told["divergence"]
    assert told["after"] < 1e-9 * told["before"] and 0.1 < told["kept"] < 1
    places, number = np.unique(mesh.points, axis=0, return_inverse=True)
    weak = np.bincount(number.ravel(), weak_divergence(mesh, du), minlength=len(places))
    assert np.abs(weak).max() < 1e-9 * told["before"] * lumped_mass(mesh, "point", COMM).max()
    assert of["Tracer"] is analysis[3].changes["Tracer"]


def test_all_of_them_keep_what_the_others_did(analysis):
    _, state, restart, _ = analysis
    of, told, _ = passed(analysis, **ALL)
    du = increment(analysis, of, "Velocity")
    assert np.linalg.norm(du, axis=1).max() == pytest.approx(0.2) and told["largest"]["factor"] < 1
    boundary = read_boundary(restart, state["Velocity"].mesh, COMM)
    assert (du[boundary.nodes_on([1, 5])] == 0).all() and told["divergence"]["after"] < 1e-9 * told["divergence"][
        "before"
    ]
    assert of["Tracer"].values.min() == LOW_OF_ALL and told["bounds"]["Tracer"]["mass_kept"]
    assert list(told) == ["taper", "divergence", "largest", "bounds", "residual"]


def test_residuals_of_what_is_written_are_told(analysis):
    background, _, _, found = analysis
    of, told, through = passed(analysis, **ALL)
    position = [[row[axis] for axis in "xyz"] for row in found.table]
    variable = np.array([row["variable"] for row in found.table])
    value, inside = values_at(of, background.transfer, position, variable)
    for row, old, seen, is_inside in zip(through.table, found.table, value, inside, strict=True):
        assert {name: row[name] for name in old} == old
        expected = pytest.approx(row["value"] - seen, abs=1e-12) if is_inside else None
        assert row[RESIDUAL] == expected
    used = [row for row in through.table if row["used"] == "yes" and row["variable"] == "Tracer"]
    assert told["residual"]["Tracer"] == pytest.approx(np.sqrt(np.mean([row[RESIDUAL] ** 2 for row in used])))
    assert RESIDUAL not in found.table[0]


def test_two_ranks_let_the_same_through(analysis, mpirun, tmp_path):
    of, told, through = passed(analysis, **ALL)
    mpirun(2, "tests/plugin/window/parallel_gates.py", tmp_path / "two.npz")
    two = np.load(tmp_path / "two.npz")
    one = {name: field.values for name, field in of.fields.items()}
    one["residual"] = np.array([row[RESIDUAL] for row in through.table], float)
    for name, values in one.items():
        assert np.nanmax(np.abs(two[name] - values)) <= 1e-10 * np.nanmax(np.abs(values)), name
    there, here = json.loads(str(two["told"]))["bounds"]["Tracer"], told["bounds"]["Tracer"]
    assert there["below"] == here["below"] > 0 and there["mass_moved"] == pytest.approx(here["mass_moved"], rel=1e-9)
    assert there["mass"] == pytest.approx(here["mass"], rel=1e-10)


# What it refuses


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_go_no_further(analysis, value):
    background, state, restart, found = analysis
    values = found.changes["Tracer"].values.copy()
    values[7] = value
    broken = replace(found, changes={**found.changes, "Tracer": found.changes["Tracer"].replaced(values)})
    with pytest.raises(GateError, match=r"the analysis: 1 values of Tracer are not finite, one is at \["):
        gates_of(background, bounds={"Tracer": [0, None]}).passed(broken, state, restart)


def test_a_forecast_or_an_analysis_out_of_range_is_an_error(analysis):
    background, state, restart, found = analysis
    gates = gates_of(background, range={"Tracer": [-1e3, 1e3], "Velocity.x": [-50.0, 50.0]})
    gates.check(state, "the forecast", FileError)
    assert gates.passed(found, state, restart) is found
    values = state["Velocity"].values.copy()
    values[3, 0], values[4, 0] = 51.0, -63.0
    spoilt = State(state.time, {**state.fields, "Velocity": state["Velocity"].replaced(values)})
    told = r"the forecast: 2 values of Velocity.x are outside -50 to 50 \(gates.range\), the worst, -63, at \["
    with pytest.raises(FileError, match=told):
        gates.check(spoilt, "the forecast", FileError)
    with pytest.raises(GateError, match=r"the analysis: 2 values of Velocity.x are outside"):
        gates.passed(replace(found, changes=spoilt.fields), state, restart)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"largest": {"Velocity.z": 1.0}}, r"gates.largest: 'Velocity.z' is not analysed; .*\['Tracer', 'Velocity', "),
        ({"bounds": {"Velocity": [0, 1]}}, r"gates.bounds: 'Velocity' is not analysed; .*\['Tracer', 'Velocity.x', "),
        ({"range": {"Trace": [0, 1]}}, "gates.range: 'Trace' is not analysed"),
        (
            {"divergence_free": "Tracer"},
            r"gates.divergence_free: 'Tracer' is not analysed; expected one of \['Velocity'",
        ),
    ],
)
def test_gates_for_what_is_not_analysed_are_named(analysis, asked, told):
    with pytest.raises(ConfigurationError, match=told):
        gates_of(analysis[0], **asked)


def test_what_needs_the_models_files_goes_with_the_cycle():
    for asked in ({"divergence_free": "Velocity"}, {"taper": {"surfaces": [1], "distance": 5.0}}):
        with pytest.raises(ConfigurationError, match=f"gates.{next(iter(asked))} needs .* goes with the cycle"):
            check_gates(GatesSection(**asked), "this gate goes with the cycle")
    check_gates(GatesSection(bounds={"Tracer": [0, None]}), "this gate goes with the cycle")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"bounds": {"Tracer": [1, 0]}}, "Tracer from 1 to 0, expected the lower limit first"),
        ({"bounds": {"Tracer": [None, None]}}, "Tracer has no bound"),
        ({"bounds": {"Velocity.x": [0, 1]}, "divergence_free": "Velocity"}, "would give Velocity divergence again"),
        ({"taper": {"surfaces": [], "distance": 5.0}}, "surfaces"),
        ({"largest": {"Tracer": 0.0}}, "greater than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(asked, told):
    with pytest.raises(ValueError, match=told):
        GatesSection(**asked)


def test_what_the_boundary_lacks_is_named_before_anything_runs(analysis):
    check_boundary(GatesSection(**ALL), analysis[2], FLUIDITY.boundary)
    with pytest.raises(FileError, match=r"gates.taper: surfaces \[8\], which the mesh does not have"):
        check_boundary(GatesSection(taper={"surfaces": [8], "distance": 40.0}), analysis[2], FLUIDITY.boundary)
    with pytest.raises(FileError, match="has no prognostic field 'Wind'"):
        check_boundary(GatesSection(divergence_free="Wind"), analysis[2], FLUIDITY.boundary)
