"""Analyses of a real state with readings of before: what the case asks for reaches U, H, and the analysis' errors."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import N_MODES, OUTSIDE, make_background, make_readings
from mpi4py import MPI

from da.background.lag_pairs import lag_pairs, time_taper
from da.observation.observations import Observations
from plugin.case.configuration import ConfigurationError, DiagnosticsSection, MinimiserSection
from plugin.case.observations import LaggedSection, ObservationSection
from plugin.state.fgat import FirstGuess
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.lagged import lagged_snapshots
from plugin.window.diagnostics import diagnose
from plugin.window.observations.earlier import lacking_line, recorded_in, with_earlier
from plugin.window.observations.operator import make_operator
from plugin.window.observations.selection import ObservationSettings
from plugin.window.observations.table import reading_rows, write_table

COMM = MPI.COMM_SELF
TIMES = np.arange(float(N_MODES))
SECTION = LaggedSection(lags=(2.0, 1.0), time_scale=3.0)


LATER = LaggedSection(lags=(1.0, -2.0), time_scale=3.0)


@pytest.fixture(scope="module", params=[SECTION, LATER], ids=["before", "before and after"])
def given(request):
    """Background, state; 33 readings, 11 of now and of each of two lags; and the model at each."""
    background, state = make_background(COMM)
    background = replace(background, lagged=lagged_snapshots(request.param, TIMES, [0] * N_MODES))
    once = make_readings(background, state).select(np.arange(12) != OUTSIDE)
    lag, rng = np.repeat([0, 1, 2], len(once)), np.random.default_rng(5)
    readings = once.select(np.tile(np.arange(len(once)), 3))
    apart = np.array([0.0, *request.param.lags])
    readings = replace(readings, time=state.time - apart[lag], value=readings.value + 0.1 * rng.normal(size=len(lag)))
    at = background.transfer.at_readings(state, readings.position, readings.variable)
    _, model = make_operator(background.transfer, at, readings)
    model = model + np.where(lag > 0, 0.2 * rng.normal(size=len(lag)), 0.0)
    return background, state, readings, lag, model


def treatment(lag, model, **settings):
    everywhere = np.ones(len(lag), bool)
    return ObservationSettings(lag=lag, first_guess=FirstGuess(model, everywhere, everywhere), **settings)


def dense(given):
    """(C_xy, C_yy, R, d) with the snapshots' anomalies, which are the modes."""
    background, state, readings, lag, model = given
    at = background.transfer.at_readings(state, readings.position, readings.variable)
    operator, _ = make_operator(background.transfer, at, readings)
    n = background.transfer.n_local
    h = np.array([operator.operator.observe(row) for row in np.eye(n)]).T[np.argsort(operator.reading)]
    u = background.transform.scale[:, None] * background.modes.vectors
    pairs = lag_pairs(TIMES, background.lagged.lags)
    factor, in_time = (N_MODES - 1) / (pairs.n_pairs - 1), time_taper(pairs.lags, 3.0)
    at_lags = [u[:, numbers] for numbers in pairs.numbers]
    observed = np.array([row @ at_lags[one] for row, one in zip(h, lag, strict=True)])
    c_xy = factor * in_time[0, lag] * (at_lags[0] @ observed.T)
    c_yy = factor * in_time[np.ix_(lag, lag)] * (observed @ observed.T)
    return c_xy, c_yy, np.diag(readings.error**2), readings.value - model


def analysed(given, cache=None, guard="warn", **settings):
    background, state, readings, lag, model = given
    of = treatment(lag, model, **settings)
    return assimilate(background, state, readings, COMM, MinimiserSection(), of, cache, guard)


def test_analysis_and_posterior_equal_dense(given, tmp_path):
    c_xy, c_yy, r, d = dense(given)
    gain = c_xy @ np.linalg.inv(c_yy + r)
    found, n = analysed(given, guard="off"), given[0].transfer.n_local
    np.testing.assert_allclose(found.analysis.increment[:n], gain @ d, atol=1e-8 * np.abs(gain @ d).max())
    assert found.earlier == 22 and len(found.table) == 11
    known = diagnose(found, *given[:2], DiagnosticsSection(influence=True, posterior=True), tmp_path, COMM)
    hat = c_yy @ np.linalg.inv(c_yy + r)
    assert known["degrees_of_freedom"] == pytest.approx(np.trace(hat), rel=1e-7)
    np.testing.assert_allclose([row["influence"] for row in found.table], np.diag(hat)[:11], rtol=1e-6)
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        names = [v.name for v in given[0].transfer.variables]
        std = {kind: np.stack([kept[f"{name}.{kind}"].ravel() for name in names], axis=1).ravel() for kind in (
            "background", "analysis")}  # fmt: skip
    # what readings take off is the gain's; the variance is that of all snapshots, of which pairs are some
    u = found.inputs.transform.modes.vectors[:n]
    seen = np.einsum("ij,ij->i", u, u)
    left = np.maximum(std["background"] ** 2 - seen, 0.0) + seen - np.einsum("ij,ij->i", gain, c_xy)
    np.testing.assert_allclose(std["analysis"], np.sqrt(np.maximum(left, 0.0)), atol=1e-6)


def test_residuals_are_those_of_now(given):
    found, (_, c_yy, r, d) = analysed(given, guard="off"), dense(given)
    residual = d - c_yy @ np.linalg.solve(c_yy + r, d)
    np.testing.assert_allclose([row["residual"] for row in found.table], residual[:11], atol=1e-8)


def test_without_readings_of_before_it_is_the_analysis_of_now(given):
    background, state, readings, lag, model = given
    now = readings.select(lag == 0)
    alone = assimilate(replace(background, lagged=None), state, now, COMM, MinimiserSection())
    with_none = assimilate(background, state, now, COMM, MinimiserSection(), treatment(lag[lag == 0], model[lag == 0]))
    np.testing.assert_array_equal(alone.analysis.increment, with_none.analysis.increment)


def test_the_guard_shrinks_what_stands_for_readings_of_before_alike(given):
    background, state, readings, lag, model = given
    wrong = replace(readings, value=readings.value + 40.0 * np.random.default_rng(5).choice([-1, 1], len(lag)))
    skipped = analysed((background, state, wrong, lag, model), guard="skip")
    assert skipped.verdict.worse and skipped.verdict.fields["all"].count == 11
    for name in skipped.verdict.worse:
        assert skipped.verdict.factor(name) == 0.0
    assert not skipped.analysis.increment.any()
    assert [row["residual"] for row in skipped.table] == [row["innovation"] for row in skipped.table]


def test_it_is_made_once_while_the_sensors_stay(given):
    cache = AnalysisCache()
    analysed(given, cache)
    background, state, readings, lag, model = given
    analysed((background, state, replace(readings, value=readings.value + 0.1), lag, model), cache)
    assert cache.localised.computed == 1 and cache.hessian.computed == 1
    fewer = lag < 2
    analysed((background, state, readings.select(fewer), lag[fewer], model[fewer]), cache)
    assert cache.localised.computed == 2 and cache.hessian.computed == 2


def test_huber_goes_with_it(given):
    found = analysed(given, huber=1.0, outer_loops=40)
    before, after = ([abs(row[key]) for row in found.table] for key in ("innovation", "residual"))
    assert np.mean(after) < np.mean(before)


def test_modes_of_before_are_refused(given):
    background, *others = given
    modes = replace(background.modes, name="tsvd")
    transform = replace(background.transform, modes=modes)
    with pytest.raises(
        ConfigurationError, match="observations.window: lagged: modes .tsvd. without their coefficients"
    ):
        analysed((replace(background, transform=transform), *others))


def observations(times):
    n = len(times)
    return Observations(np.array(times), np.zeros((n, 3)), np.full(n, "Tracer"), np.arange(n), np.ones(n))


def test_each_reading_is_of_now_or_of_one_lag():
    section = ObservationSection(file="a.csv", window="lagged", lagged={"lags": [4.0, 2.0]})
    readings = observations([6.0, 8.0, 8.4, 10.0, 9.0, 6.2])
    numbers, lag = with_earlier(readings, readings.time == 10.0, 10.0, section, 0.5)
    assert numbers.tolist() == [3, 1, 2, 0, 5] and lag.tolist() == [0, 1, 1, 2, 2]


def test_a_negative_lag_takes_later_readings():
    section = ObservationSection(file="a.csv", window="lagged", lagged={"lags": [2.0, -2.0]})
    assert section.lagged.lags == (-2.0, 2.0) and section.lagged.scale == 4.0
    readings = observations([8.0, 12.0, 10.0, 14.0])
    numbers, lag = with_earlier(readings, readings.time == 10.0, 10.0, section, 0.5)
    assert numbers.tolist() == [2, 1, 0] and lag.tolist() == [0, 1, 2]
    told = lacking_line(readings, [12.0, 14.0], 8.0, section, 0.1)
    assert told.startswith("observations.lagged: of the analyses have 1 of 2 none of 2 s after;")


def test_tables_of_windows_before_give_the_model(tmp_path):
    readings = observations([6.0, 8.0, 10.0])
    rows = reading_rows(readings, np.full(3, 0.5), np.array([0.1, -0.2, np.nan]), np.zeros(3, np.int8))
    write_table(tmp_path / "readings.csv", rows)
    value, known = recorded_in([tmp_path / "none.csv", tmp_path / "readings.csv"], COMM)(readings)
    assert known.tolist() == [True, True, False]
    np.testing.assert_allclose(value[:2], [0.0 - 0.1, 1.0 + 0.2])
    write_table(tmp_path / "readings.csv", [{**row, "used": "no: stuck"} for row in rows])
    assert not recorded_in([tmp_path / "readings.csv"], COMM)(readings)[1].any()


def test_what_is_lacking_is_counted():
    section = ObservationSection(file="a.csv", window="lagged", lagged={"lags": [4.0, 2.0]})
    readings = observations([2.0, 4.0, 6.0, 8.0])
    assert "1 of 3 none of 2 s before, 2 of 3 none of 4 s before" in lacking_line(
        readings, [2.0, 4.0, 6.0], 1.5, section, 0.1
    )
    assert lacking_line(readings, [6.0, 8.0], 0.0, section, 0.1) == ""
    assert lacking_line(readings, [2.0], 0.0, ObservationSection(file="a.csv"), 0.1) == ""
    assert SECTION.lags == (1.0, 2.0) and LaggedSection(lags=(4.0,)).scale == 8.0
