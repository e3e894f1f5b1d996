"""Analyses in a transformed variable of a real state: exact H, the dense minimum, bounds, and what goes with it."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from mpi4py import MPI
from ranks import assert_same_on_ranks
from scipy.optimize import least_squares
from test_background import case, dumps  # noqa: F401

from coupling.archive.series import open_series
from coupling.geometry.mesh import State
from da.background.adaptive import FactorRule
from da.background.anamorphosis import Logarithm, SquareRoot, normal_score
from da.observation.anamorphosed import AnamorphosedOperator
from da.observation.correlation import gaspari_cohn
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError, DiagnosticsSection, MinimiserSection
from plugin.case.observations import BiasSection, QualitySection
from plugin.state.transfer import values_at
from plugin.window.assimilate import assimilate
from plugin.window.background.localisation import make_taper
from plugin.window.background.of_case import background
from plugin.window.diagnostics import diagnose
from plugin.window.observations.operator import make_operator
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF
EVERY = {
    "sqrt": SquareRoot(0.0, 1e-3),
    "log": Logarithm(0.0, 0.05),
    "quantile": normal_score(np.random.default_rng(1).gamma(0.7, size=4000), 0.0, 1e-3),
}


@pytest.fixture(scope="module")
def given():
    """(Background, State) with a plume in the Tracer: zero in most of the air."""
    background, state = make_background(COMM)
    places = state["Tracer"].mesh.points
    plume = 3.0 * np.exp(-(((places[:, 0] - 60.0) / 40.0) ** 2) - ((places[:, 1] - 90.0) / 60.0) ** 2) - 0.3
    tracer = state["Tracer"].replaced(np.maximum(plume, 0.0))
    return background, State(state.time, {**state.fields, "Tracer": tracer})


def transformed(given, kind):
    background, state = given
    return replace(background, transfer=replace(background.transfer, anamorphoses={"Tracer": EVERY[kind]})), state


def readings_of(given, speeds=False, inside=False):
    """Readings of a state that differs, none of the Tracer below zero."""
    readings = make_readings(*given, speeds)
    tracer = readings.variable == "Tracer"
    readings = replace(readings, value=np.where(tracer, np.maximum(readings.value, 0.0), readings.value))
    return readings.select(np.arange(len(readings)) != OUTSIDE) if inside else readings


def analysed(of, readings, **settings):
    background, state = of
    settings = {"outer_loops": 40, **settings}
    return assimilate(background, state, readings, COMM, MinimiserSection(), ObservationSettings(**settings))


def changed(found, of):
    return State(of[1].time, {**of[1].fields, **found.changes})


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("speeds", [False, True])
def test_h_is_what_the_mesh_has(given, kind, speeds):
    of = transformed(given, kind)
    readings = readings_of(given, speeds)
    at = of[0].transfer.at_readings(of[1], readings.position, readings.variable)
    reading_operator, model = make_operator(of[0].transfer, at, readings)
    assert isinstance(reading_operator.operator, AnamorphosedOperator)
    for size in (0.1, 1.0):
        increment = size * of[0].transform.apply(np.random.default_rng(4).normal(size=of[0].transform.n_control))
        moved = {
            name: of[1][name].replaced(of[1][name].values + dx)
            for name, dx in of[0].transfer.to_mesh(of[1], increment).items()
        }
        after = State(0.0, {**of[1].fields, **moved})
        assert after["Tracer"].values.min() >= 0.0 and (after["Tracer"].values == 0.0).any()
        there, here = (values_at(s, of[0].transfer, readings.position, readings.variable)[0] for s in (after, of[1]))
        np.testing.assert_allclose(here, model, atol=1e-12)
        expected = (there - here)[reading_operator.reading]
        np.testing.assert_allclose(reading_operator.observe_analysis(increment), expected, atol=1e-12)


@pytest.mark.parametrize("kind", EVERY)
def test_no_increment_no_change(given, kind):
    of = transformed(given, kind)
    still = of[0].transfer.to_mesh(of[1], np.zeros(of[0].transfer.n_local))
    for values in still.values():
        np.testing.assert_allclose(values, 0.0, atol=1e-12)


def dense_minimum(of, readings):
    """(increment, J) by scipy: ψ at all nodes of the mesh, interpolated to the sensors as any state."""
    background, state = of
    form, plain = background.transfer.anamorphoses["Tracer"], replace(background.transfer, anamorphoses={})
    u = background.transform.scale[:, None] * background.modes.vectors
    on_mesh = [plain.to_mesh(state, column) for column in u.T]
    tracer, wind = (np.stack([one[name] for one in on_mesh], axis=-1) for name in ("Tracer", "Velocity"))

    def residuals(w):
        values = form.continued(form.forward(state["Tracer"].values) + tracer @ w)
        moved = {
            "Tracer": state["Tracer"].replaced(values),
            "Velocity": state["Velocity"].replaced(state["Velocity"].values + wind @ w),
        }
        there, _ = values_at(State(0.0, moved), plain, readings.position, readings.variable)
        return np.concatenate([w, (readings.value - there) / readings.error])

    least = least_squares(residuals, np.zeros(u.shape[1]), xtol=1e-14, ftol=1e-14, gtol=1e-12)
    return u @ least.x, least.cost


@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("speeds", [False, True])
def test_the_minimum_is_that_of_the_dense_cost(given, kind, speeds):
    of, readings = transformed(given, kind), readings_of(given, speeds, inside=True)
    found = analysed(of, readings, outer_loops=200)
    expected, cost = dense_minimum(of, readings)
    assert found.analysis.trace[-1].cost == pytest.approx(cost, rel=1e-7)
    np.testing.assert_allclose(found.analysis.increment, expected, atol=1e-3 * np.abs(expected).max())
    costs = [step.cost for step in found.analysis.trace]
    assert (np.diff(costs) <= 1e-9 * costs[0]).all()


@pytest.mark.parametrize("kind", EVERY)
def test_never_below_zero_and_nearer_to_the_readings(given, kind):
    of, readings = transformed(given, kind), readings_of(given)
    found = analysed(of, readings)
    assert found.changes["Tracer"].values.min() >= 0.0
    plain = analysed(given, readings)
    assert plain.changes["Tracer"].values.min() < -0.1  # it is the anamorphosis that keeps it there
    used = [row for row in found.table if row["used"] == "yes" and row["variable"] == "Tracer"]
    before, after = (np.array([row[key] for row in used]) for key in ("innovation", "residual"))
    assert np.linalg.norm(after) < 0.7 * np.linalg.norm(before)
    # the table tells of the analysis as the model will get it
    there, _ = values_at(changed(found, of), of[0].transfer, readings.position, readings.variable)
    residual = np.array([np.nan if row["residual"] is None else row["residual"] for row in found.table])
    known = np.isfinite(residual)
    np.testing.assert_allclose(residual[known], (readings.value - there)[known], atol=1e-10)


def test_readings_enter_where_the_background_is_zero(given):
    background, state = transformed(given, "sqrt")
    nothing = State(state.time, {**state.fields, "Tracer": state["Tracer"].replaced(0.0 * state["Tracer"].values)})
    readings = readings_of(given, inside=True)
    readings = replace(readings, value=np.where(readings.variable == "Tracer", 0.5, readings.value))
    found = analysed((background, nothing), readings)
    residual = [row["residual"] for row in found.table if row["variable"] == "Tracer"]
    assert np.abs(residual).max() < 0.4 and found.changes["Tracer"].values.max() > 0.2
    assert found.analysis.iterations and found.changes["Tracer"].values.min() >= 0.0


def test_a_background_below_the_bound_is_taken_at_it(given):
    background, state = transformed(given, "sqrt")
    low = State(state.time, {**state.fields, "Tracer": state["Tracer"].replaced(state["Tracer"].values - 0.2)})
    at_bound = background.transfer.within_bounds(low)
    assert low["Tracer"].values.min() < 0.0 == at_bound["Tracer"].values.min()
    readings = readings_of(given)
    one, other = (analysed((background, s), readings) for s in (low, at_bound))
    np.testing.assert_array_equal(one.changes["Tracer"].values, other.changes["Tracer"].values)
    assert one.table == other.table


@pytest.mark.parametrize("kind", EVERY)
def test_localised_equals_dense(given, kind):
    (background, state), readings = transformed(given, kind), readings_of(given, inside=True)
    section = BackgroundSection(
        snapshots=[{"path": "earlier"}], transform="reduced", localisation={"horizontal": 60.0},
        between={"Tracer": {"Velocity": 0.5}},
    )  # fmt: skip
    of = replace(background, taper=make_taper(section, background.transfer)), state
    found = analysed(of, readings, outer_loops=200)
    place = np.repeat(background.transfer.grid.places(COMM), 3, axis=0)
    across = np.linalg.norm(place[:, None, :2] - place[None, :, :2], axis=2)
    tracer = np.arange(len(place)) % 3 == 0
    factor = np.where(tracer[:, None] == tracer[None], 1.0, 0.5)
    u = background.transform.scale[:, None] * background.modes.vectors
    covariance = factor * gaspari_cohn(across / 60.0) * (u @ u.T)
    # where the gradient of the cost is zero: δx = B H'ᵀ R⁻¹ (d − h(δx))
    operator, increment = found.inputs.reading_operator.operator, found.analysis.increment
    left = found.inputs.error.solve(found.inputs.innovation - operator.observe(increment))
    expected = covariance @ operator.adjoint(left, at=increment)
    np.testing.assert_allclose(increment, expected, atol=1e-6 * np.abs(expected).max())


def test_biases_huber_superobservations_and_quality_go_with_it(given):
    of, readings = transformed(given, "sqrt"), readings_of(given)
    for settings in (
        {"bias": BiasSection(std={"Tracer": 0.3})},
        {"huber": 1.0},
        {"quality": QualitySection(thinning={"cell": 60.0, "method": "superob"})},
        {"quality": QualitySection(background=8.0)},
        {"withheld": ("a",), "bias": BiasSection(std={"Tracer": 0.3})},
    ):
        found = analysed(of, readings, **settings)
        assert found.changes["Tracer"].values.min() >= 0.0
        before, after = (
            [row[key] for row in found.table if row["used"] == "yes"] for key in ("innovation", "residual")
        )
        assert np.linalg.norm(after) < np.linalg.norm(before)


def test_an_average_of_readings_is_that_of_the_mesh(given):
    of, readings = transformed(given, "log"), readings_of(given, inside=True)
    found = analysed(of, readings, quality=QualitySection(thinning={"cell": 60.0, "method": "superob"}))
    operator = found.inputs.reading_operator
    assert len(operator.reading) < len(readings)
    whole, _ = make_operator(
        of[0].transfer, of[0].transfer.at_readings(of[1], readings.position, readings.variable), readings
    )
    each = np.empty(len(readings))
    each[whole.reading] = whole.operator.observe(found.analysis.increment)
    np.testing.assert_allclose(operator.operator.observe(found.analysis.increment), operator.mean @ each, atol=1e-12)


def test_errors_are_those_of_the_variable(given, tmp_path):
    of, readings = transformed(given, "sqrt"), readings_of(given)
    found = analysed(of, readings)
    diagnose(found, *of, DiagnosticsSection(influence=True, posterior=True), tmp_path, COMM)
    plain = of[0].transform.scale[:, None] * of[0].modes.vectors
    std = np.linalg.norm(plain, axis=1).reshape(-1, 3)[:, 0]
    on_grid = of[0].transfer.to_grid(of[1]).reshape(-1, 3)[:, 0]
    slope = 2.0 * np.sqrt(np.maximum(on_grid, 0.0) + 1e-3)
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        np.testing.assert_allclose(kept["Tracer.background"].ravel(), slope * std, rtol=1e-9)
        assert (kept["Tracer.analysis"] >= 0.0).all()
    influence = [row["influence"] for row in found.table if row["used"] == "yes"]
    assert all(0.0 <= own <= 1.0 for own in influence)


def case_of(tmp_path, dumps, section, **settings):  # noqa: F811
    """A case with `background.variables`."""
    return case(tmp_path, dumps, **{"truncation": 3, **settings}, unbiased=f"true\n  variables: {section}")


@pytest.mark.parametrize("grid", ["{shape: [6, 5, 4]}", "{space: mesh}"])
@pytest.mark.parametrize("transform", ["reduced", "local"])
def test_modes_are_anomalies_of_transformed_values(tmp_path, dumps, grid, transform):  # noqa: F811
    section = "{Tracer: {anamorphosis: sqrt, lower: -20, offset: 0.3}}"
    more = {"transform": transform, "truncation": "null"}
    if transform == "local":
        more = {"transform": "local", "truncation": 5, "local": "{size: 1000, overlap: false}"}
    made = background(case_of(tmp_path, dumps, section, grid=grid, **more), COMM)
    assert made.transfer.anamorphoses == {"Tracer": SquareRoot(-20.0, 0.3)}
    with open_series(dumps, COMM) as series:
        states = np.stack([made.transfer.to_grid(series.read(k, ["Tracer", "Velocity"])) for k in range(6)], axis=1)
    states[1::2] = np.sqrt(states[1::2] + 20.3)
    anomalies = (states - states.mean(axis=1, keepdims=True)) / np.sqrt(5)
    some = np.flatnonzero(np.repeat(made.transfer.grid.fluid_points, 2))[::17]
    u, expected = made.transform.scale[some, None] * made.modes.vectors[some], anomalies[some]
    np.testing.assert_allclose(u @ u.T, expected @ expected.T, atol=1e-9)


def test_anamorphoses_are_the_same_on_one_and_two_ranks(mpirun, tmp_path):
    kept = assert_same_on_ranks(
        mpirun, tmp_path, "tests/plugin/window/parallel_anamorphosis.py", ranks=(1, 2), timeout=100
    )
    assert kept["sqrt: numbers"][0] == 0.0 and 0.0 < kept["sqrt: numbers"][1] < 0.01


def test_factors_of_the_day_and_the_guard_go_with_it(given):
    of, readings = transformed(given, "sqrt"), readings_of(given)
    background = replace(of[0], adaptive=FactorRule(fewest=2))
    minimiser, settings = MinimiserSection(), ObservationSettings(outer_loops=40)
    found = assimilate(background, of[1], readings, COMM, minimiser, settings, guard="shrink")
    assert set(found.factors) == {"Tracer", "Velocity"} and found.changes["Tracer"].values.min() >= 0.0
    sure = replace(readings, error=np.full(len(readings), 0.01))
    shrunk = assimilate(of[0], of[1], sure, COMM, minimiser, settings, guard="shrink")
    assert shrunk.verdict.worse and shrunk.changes["Tracer"].values.min() >= 0.0
    there, _ = values_at(changed(shrunk, of), of[0].transfer, sure.position, sure.variable)
    known = [k for k, row in enumerate(shrunk.table) if row["residual"] is not None]
    residual = [shrunk.table[k]["residual"] for k in known]
    np.testing.assert_allclose(residual, (sure.value - there)[known], atol=1e-10)


@pytest.mark.parametrize(
    "section, sentence",
    [
        ("{Salt: {anamorphosis: sqrt}}", "background.variables: Salt is not analysed; the variables are Velocity.y, T"),
        ("{Tracer: {anamorphosis: quantile, offset: 1000}}", "background.variables.Tracer: values from .* no ranks"),
        ("{Tracer: {anamorphosis: sqrt, lower: 1000}}", "background.variables.Tracer: does not vary .*above.* 1000"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, dumps, section, sentence):  # noqa: F811
    with pytest.raises(ConfigurationError, match=sentence):
        background(case_of(tmp_path, dumps, section), COMM)


def test_modes_are_of_transformed_snapshots_and_their_file_knows(tmp_path, dumps):  # noqa: F811
    sections = {kind: f"{{Tracer: {{anamorphosis: {kind}, lower: -20}}}}" for kind in ("sqrt", "log")}
    sections["quantile"] = "{Tracer: {anamorphosis: quantile, lower: null}}"
    plain = background(case(tmp_path, dumps, truncation=3), COMM)
    for kind, section in sections.items():
        file = tmp_path / f"{kind}.h5"
        made = background(case_of(tmp_path, dumps, section), COMM)
        kept, again = (background(case_of(tmp_path, dumps, section, modes=str(file)), COMM) for _ in range(2))
        assert again.transfer.anamorphoses == kept.transfer.anamorphoses == made.transfer.anamorphoses
        np.testing.assert_array_equal(again.modes.vectors, made.modes.vectors)
        assert not np.allclose(made.modes.vectors, plain.modes.vectors)
        with pytest.raises(ConfigurationError, match="made with another anamorphosis: .*expected {}; remove"):
            background(case(tmp_path, dumps, truncation=3, modes=str(file)), COMM)
        with pytest.raises(ConfigurationError, match="made with another anamorphosis: .*expected .*offset.*0.5"):
            changed_section = section.replace("anamorphosis", "offset: 0.5, anamorphosis")
            background(case_of(tmp_path, dumps, changed_section, modes=str(file)), COMM)
