"""Readings of before of a variable with an anamorphosis: the dense minimum over the state and the states before it."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import N_MODES, OUTSIDE, make_background, make_readings
from mpi4py import MPI
from scipy.optimize import least_squares
from test_lagged_analysis import TIMES, treatment

from coupling.geometry.mesh import State
from da.background.anamorphosis import Logarithm, SquareRoot, normal_score
from da.background.lag_pairs import lag_pairs, time_taper
from da.diagnostics.checks import taylor_slope
from da.minimisation.cost import CostFunction
from da.observation.anamorphosed import AnamorphosedOperator
from plugin.case.background import BackgroundSection
from plugin.case.configuration import DiagnosticsSection, MinimiserSection
from plugin.case.observations import LaggedSection
from plugin.state.transfer import values_at
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.lagged import lagged_snapshots
from plugin.window.background.localisation import make_taper
from plugin.window.diagnostics import diagnose
from plugin.window.observations.innovation import compare_with_background

COMM = MPI.COMM_SELF
SECTION = LaggedSection(lags=(2.0, 1.0), time_scale=3.0)
EVERY = {
    "sqrt": SquareRoot(0.0, 1e-3),
    "log": Logarithm(0.0, 0.05),
    "quantile": normal_score(np.random.default_rng(1).gamma(0.7, size=4000), 0.0, 1e-3),
}


@pytest.fixture(scope="module")
def given():
    """Background, state with a plume; readings of now, 1 s and 2 s before; their lags, and the model at each."""
    background, state = make_background(COMM)
    places = state["Tracer"].mesh.points
    plume = 3.0 * np.exp(-(((places[:, 0] - 60.0) / 40.0) ** 2) - ((places[:, 1] - 90.0) / 60.0) ** 2) - 0.3
    state = State(state.time, {**state.fields, "Tracer": state["Tracer"].replaced(np.maximum(plume, 0.0))})
    background = replace(background, lagged=lagged_snapshots(SECTION, TIMES, [0] * N_MODES))
    once = make_readings(background, state).select(np.arange(12) != OUTSIDE)
    lag, rng = np.repeat([0, 1, 2], len(once)), np.random.default_rng(5)
    readings = once.select(np.tile(np.arange(len(once)), 3))
    model, _ = values_at(state, background.transfer, readings.position, readings.variable)
    model = model + np.where(lag > 0, 0.2 * rng.normal(size=len(lag)), 0.0)
    value, tracer = readings.value + 0.1 * rng.normal(size=len(lag)), readings.variable == "Tracer"
    value, model = (np.where(tracer, np.maximum(of, 0.0), of) for of in (value, model))
    return background, state, replace(readings, time=state.time - lag, value=value), lag, model


def transformed(given, kind):
    background, *others = given
    return replace(background, transfer=replace(background.transfer, anamorphoses={"Tracer": EVERY[kind]})), *others


def analysed(of, cache=None, guard="off", **settings):
    background, state, readings, lag, model = of
    treated = treatment(lag, model, **{"outer_loops": 200, **settings})
    return assimilate(background, state, readings, COMM, MinimiserSection(), treated, cache, guard)


def dense_minimum(of):
    """(increments of now, 1 s and 2 s before, J) by scipy, with φ of the model at the sensors before."""
    background, state, readings, lag, model = of
    form, plain = background.transfer.anamorphoses["Tracer"], replace(background.transfer, anamorphoses={})
    u, pairs = background.transform.scale[:, None] * background.modes.vectors, lag_pairs(TIMES, SECTION.lags)
    factor = (N_MODES - 1) / (pairs.n_pairs - 1)
    at_lags = np.sqrt(factor) * np.stack([u[:, numbers] for numbers in pairs.numbers])  # (3, n, P)
    size, vectors = np.linalg.eigh(time_taper(pairs.lags, SECTION.scale))
    root = np.concatenate(
        [np.sqrt(s) * v[:, None, None] * at_lags for s, v in zip(np.maximum(size, 0.0), vectors.T, strict=True)], axis=2
    )
    on_mesh = [[plain.to_mesh(state, column) for column in one.T] for one in root]

    def moved(number, w, field):
        return np.stack([one[field] for one in on_mesh[number]], axis=-1) @ w

    def at_sensors(tracer, velocity):
        fields = {"Tracer": state["Tracer"].replaced(tracer), "Velocity": state["Velocity"].replaced(velocity)}
        return values_at(State(0.0, fields), plain, readings.position, readings.variable)[0]

    is_tracer = readings.variable == "Tracer"
    observed = np.stack([  # (3, M, columns), linear in w
        np.stack([at_sensors(one["Tracer"], one["Velocity"]) for one in of_lag], axis=-1) for of_lag in on_mesh
    ])  # fmt: skip

    def residuals(w):
        tracer = form.continued(form.forward(state["Tracer"].values) + moved(0, w, "Tracer"))
        there = at_sensors(tracer, state["Velocity"].values + moved(0, w, "Velocity"))
        for number in (1, 2):
            change = observed[number] @ w
            of_tracer = form.continued(form.forward(model) + change)
            there = np.where(lag == number, np.where(is_tracer, of_tracer, model + change), there)
        return np.concatenate([w, (readings.value - there) / readings.error])

    least = least_squares(residuals, np.zeros(root.shape[2]), xtol=1e-14, ftol=1e-14, gtol=1e-12)
    return root @ least.x, least.cost


@pytest.mark.parametrize("kind", EVERY)
def test_the_minimum_is_that_of_the_dense_cost(given, kind):
    of = transformed(given, kind)
    found, (expected, cost) = analysed(of), dense_minimum(of)
    n = of[0].transfer.n_local
    assert found.analysis.trace[-1].cost == pytest.approx(cost, rel=1e-7)
    np.testing.assert_allclose(found.analysis.increment[:n], expected[0], atol=1e-5 * np.abs(expected[0]).max())
    assert found.earlier == 22 and len(found.table) == 11 and found.changes["Tracer"].values.min() >= 0.0


@pytest.mark.parametrize("kind", EVERY)
def test_adjoint_and_taylor(given, kind):
    of = transformed(given, kind)
    inputs, rng = analysed(of, outer_loops=1).inputs, np.random.default_rng(0)
    u, h = inputs.transform, inputs.operator
    assert isinstance(h, AnamorphosedOperator) and h.n_observations == 33
    at = u.apply(0.3 * rng.normal(size=u.n_control))
    dx, y = rng.normal(size=len(at)), rng.normal(size=33)
    assert h.linearised(at).observe(dx) @ y == pytest.approx(dx @ h.adjoint(y, at=at), rel=1e-11)
    cost = CostFunction(u, h, inputs.error, inputs.innovation, COMM)
    slope, _ = taylor_slope(cost, 0.1 * rng.normal(size=u.n_control), 0.3 * rng.normal(size=u.n_control))
    assert slope == pytest.approx(2.0, abs=0.1)


@pytest.mark.parametrize("kind", EVERY)
def test_localised_the_gradient_vanishes(given, kind):
    background, *others = transformed(given, kind)
    section = BackgroundSection(
        snapshots=[{"path": "earlier"}], transform="reduced", localisation={"horizontal": 60.0},
        between={"Tracer": {"Velocity": 0.5}},
    )  # fmt: skip
    found = analysed((replace(background, taper=make_taper(section, background.transfer)), *others))
    of, increment = found.inputs, found.analysis.increment
    left = of.error.solve(of.innovation - of.operator.observe(increment))
    u = of.transform
    expected = u.apply(u.adjoint(of.operator.adjoint(left, at=increment)))
    np.testing.assert_allclose(increment, expected, atol=1e-5 * np.abs(expected).max())


def test_readings_of_now_are_compared_as_without(given):
    """What readings of before have at their sensors changes neither H nor the innovation of those of now."""
    background, state, readings, lag, model = transformed(given, "sqrt")
    both = compare_with_background(background.transfer, state, readings, treatment(lag, model))
    of_now = treatment(lag[lag == 0], model[lag == 0])
    now = compare_with_background(background.transfer, state, readings.select(lag == 0), of_now)
    np.testing.assert_array_equal(both.value[lag == 0], now.value)
    np.testing.assert_allclose(both.value, readings.value - model, atol=1e-12)
    increment = 0.2 * background.transform.apply(np.ones(N_MODES))
    seen, alone = (of.operator.observe_analysis(increment) for of in (both, now))
    np.testing.assert_allclose(seen[lag[both.operator.reading] == 0], alone, atol=1e-12)
    # a node of now belongs to some readings, one of before to a single reading
    operator = both.operator.operator
    assert len(operator.background) == len(now.operator.operator.background) + 22


def test_a_state_below_the_bound_counts_as_at_it(given):
    background, state, readings, lag, model = transformed(given, "sqrt")
    tracer = (readings.variable == "Tracer") & (lag > 0)
    guessed = treatment(lag, np.where(tracer, -0.5, model))
    below = compare_with_background(background.transfer, state, readings, guessed)
    np.testing.assert_array_equal(below.value[tracer], readings.value[tracer])


def test_without_readings_of_before_it_is_the_analysis_of_now(given):
    background, state, readings, lag, model = transformed(given, "log")
    now = readings.select(lag == 0)
    alone = assimilate(replace(background, lagged=None), state, now, COMM, MinimiserSection())
    with_none = assimilate(background, state, now, COMM, MinimiserSection(), treatment(lag[lag == 0], model[lag == 0]))
    np.testing.assert_array_equal(alone.analysis.increment, with_none.analysis.increment)


def test_u_is_made_once_and_h_follows_the_background(given):
    cache, (background, state, readings, lag, model) = AnalysisCache(), transformed(given, "sqrt")
    first = analysed((background, state, readings, lag, model), cache)
    other = model + np.where((lag > 0) & (readings.variable == "Tracer"), 0.3, 0.0)
    second = analysed((background, state, readings, lag, other), cache)
    assert cache.localised.computed == 1
    afresh = analysed((background, state, readings, lag, other))
    np.testing.assert_array_equal(second.analysis.increment, afresh.analysis.increment)
    assert not np.allclose(second.analysis.increment, first.analysis.increment)


def test_guard_checks_and_diagnostics_go_with_it(given, tmp_path):
    of = transformed(given, "sqrt")
    sure = of[0], of[1], replace(of[2], error=np.full(len(of[3]), 0.01)), *of[3:]
    shrunk = analysed(sure, guard="shrink", outer_loops=40)
    assert shrunk.verdict.fields["all"].count == 11 and shrunk.changes["Tracer"].values.min() >= 0.0
    state = State(of[1].time, {**of[1].fields, **shrunk.changes})
    there, _ = values_at(state, of[0].transfer, sure[2].position[:11], sure[2].variable[:11])
    np.testing.assert_allclose([row["residual"] for row in shrunk.table], sure[2].value[:11] - there, atol=1e-10)
    found = analysed(of, withheld=("a",), huber=2.0)
    diagnose(found, *of[:2], DiagnosticsSection(influence=True, posterior=True), tmp_path, COMM)
    influence = [row["influence"] for row in found.table if row["used"] == "yes"]
    assert influence and all(0.0 <= own <= 1.0 for own in influence)
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        assert np.isfinite(kept["Tracer.analysis"]).all()
