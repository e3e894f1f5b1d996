"""Localised analyses of a real state: what the case asks for reaches U, the analysis and its errors."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from mpi4py import MPI

from da.background.modulation import ModulatedTransform
from da.observation.correlation import gaspari_cohn
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError, DiagnosticsSection, MinimiserSection
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.localisation import make_taper
from plugin.window.diagnostics import diagnose
from plugin.window.observations.operator import make_operator
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF
LENGTH = 60.0


def section(**settings):
    return BackgroundSection(snapshots=[{"path": "earlier"}], **settings)


@pytest.fixture(scope="module")
def given():
    return make_background(COMM)


def localised(given, **settings):
    background, state = given
    return replace(background, taper=make_taper(section(**settings), background.transfer)), state


def analysed(given, readings=None, cache=None, **settings):
    background, state = given
    readings = make_readings(background, state) if readings is None else readings
    return assimilate(background, state, readings, COMM, MinimiserSection(), ObservationSettings(**settings), cache)


def dense(given, between):
    """(B, H, R, innovation): B tapered by distance across and along, readings in the air."""
    background, state = given
    transfer, readings = background.transfer, make_readings(background, state).select(np.arange(12) != OUTSIDE)
    at = transfer.at_readings(state, readings.position, readings.variable)
    operator, model = make_operator(transfer, at, readings)
    order, n = np.argsort(operator.reading), transfer.n_local
    h = np.array([operator.operator.observe(row) for row in np.eye(n)]).T[order]
    u = background.transform.scale[:, None] * background.modes.vectors
    place = np.repeat(transfer.grid.places(COMM), 3, axis=0)
    across = np.linalg.norm(place[:, None, :2] - place[None, :, :2], axis=2)
    along = np.abs(place[:, None, 2] - place[None, :, 2])
    tracer = np.arange(n) % 3 == 0
    factor = np.where(tracer[:, None] == tracer[None], 1.0, between)
    taper = gaspari_cohn(np.hypot(across / LENGTH, along / (0.5 * LENGTH)))
    return factor * taper * (u @ u.T), h, np.diag(readings.error**2), readings.value - model


@pytest.mark.parametrize("between", [1.0, 0.2])
def test_analysis_and_posterior_equal_dense(given, tmp_path, between):
    of = localised(
        given,
        localisation={"horizontal": LENGTH, "vertical": 0.5 * LENGTH},
        between={"Tracer": {"Velocity": between}},
        transform="reduced",
    )
    found = analysed(of)
    b, h, r, d = dense(given, between)
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + r)
    increment = gain @ d
    np.testing.assert_allclose(found.analysis.increment, increment, atol=1e-9 * np.abs(increment).max())
    told = diagnose(found, *of, DiagnosticsSection(influence=True, posterior=True), tmp_path, COMM)
    assert told["degrees_of_freedom"] == pytest.approx(np.trace(h @ gain), rel=1e-8)
    errors = b - gain @ h @ b
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        names = [v.name for v in of[0].transfer.variables]
        for kind, matrix in (("background", b), ("analysis", errors)):
            std = np.sqrt(np.diag(matrix)).reshape(-1, 3).T
            for name, expected in zip(names, std, strict=True):
                np.testing.assert_allclose(kept[f"{name}.{kind}"].ravel(), expected, rtol=1e-7, atol=1e-9)
    # far from all readings the analysis knows as little as the background
    assert np.isclose(np.sqrt(np.diag(errors)), np.sqrt(np.diag(b))).any()


def test_wind_is_left_alone_by_readings_of_the_tracer(given):
    of = localised(given, between={"Tracer": ["Velocity"]})
    readings = make_readings(*given)
    found = analysed(of, readings.select(np.flatnonzero(readings.variable == "Tracer")[:3]))
    increment = found.analysis.increment.reshape(-1, 3)
    assert np.abs(increment[:, 0]).max() > 0.01 and np.abs(increment[:, 1:]).max() < 1e-12


def test_speeds_biases_and_huber_go_with_it(given):
    background, state = localised(given, localisation={"horizontal": LENGTH})
    readings = make_readings(background, state, speeds=True)
    for settings in ({"outer_loops": 40}, {"huber": 1.0, "outer_loops": 40}):
        found = analysed((background, state), readings, **settings)
        before, after = ([abs(row[key]) for row in found.table if row["residual"] is not None] for key in (
            "innovation", "residual"))  # fmt: skip
        assert np.mean(after) < np.mean(before)


def test_it_is_made_once_while_the_sensors_stay(given):
    of, cache = localised(given, localisation={"horizontal": LENGTH}), AnalysisCache()
    readings = make_readings(*given)
    first = analysed(of, readings, cache)
    again = analysed(of, replace(readings, value=readings.value + 0.1, error=2.0 * readings.error), cache)
    assert cache.localised.computed == 1 and cache.hessian.computed == 2
    assert again.inputs.transform is first.inputs.transform
    analysed(of, replace(readings, position=readings.position + [0.5, 0.0, 0.0]), cache)
    assert cache.localised.computed == 2


def test_no_taper_where_none_is_asked_for(given):
    assert make_taper(section(between="sample"), given[0].transfer) is None
    own = make_taper(section(localisation={"horizontal": {"Tracer": 30.0, "Velocity": 90.0}}), given[0].transfer)
    assert own.horizontal.tolist() == [30.0, 90.0, 90.0] and np.isinf(own.vertical).all()


def test_fields_are_apart_unless_the_case_says_otherwise(given):
    apart = make_taper(section(), given[0].transfer)
    assert apart.between.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    assert np.isinf(apart.horizontal).all() and np.isinf(apart.vertical).all()
    background, state = given
    readings = make_readings(background, state)
    only = readings.select(np.array([v.startswith("Tracer") for v in readings.variable]))
    # a column for each reading, or for twelve modes of two fields with more readings than that
    for chosen in (only, only.select(np.tile(np.arange(len(only)), 9))):
        found = analysed((replace(background, taper=apart), state), chosen)
        increment = found.analysis.increment.reshape(-1, 3)
        assert np.abs(increment[:, 0]).max() > 1e-3 and not increment[:, 1:].any()
    assert analysed(given, only).analysis.increment.reshape(-1, 3)[:, 1:].any()


@pytest.mark.parametrize(
    "settings, sentence",
    [
        ({"localisation": {"horizontal": {"Tracer": 9.0}}}, "background.localisation.horizontal: no length for Vel"),
        ({"localisation": {"horizontal": {"Salt": 9.0}}}, "background.localisation.horizontal: Salt is not analysed"),
        ({"between": {"Tracer": ["Salt"]}}, "background.between: Salt is not analysed; the variables are Trac"),
        ({"between": {"Velocity": ["Velocity.x"]}}, "background.between: Velocity and Velocity.x overlap"),
        (
            {"between": {"Tracer": {"Velocity": 0.5}, "Velocity": ["Tracer"]}},
            "background.between: two factors for Velocity and Tracer; give one",
        ),
        ({"between": {"Tracer": ["Velocity.x"]}}, "background.between: no covariance has these factors"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused(given, settings, sentence):
    with pytest.raises(ConfigurationError) as error:
        make_taper(section(**settings), given[0].transfer)
    assert str(error.value).startswith(sentence)


def test_more_leading_modes_than_there_are(given):
    with pytest.raises(ConfigurationError, match="background.localisation: 7 leading modes without taper, but"):
        analysed(localised(given, localisation={"horizontal": 9.0, "modes": 7}))
    with pytest.raises(ValueError, match="localisation.modes goes with transform: tsvd"):
        section(transform="reduced", localisation={"horizontal": 9.0, "modes": 2})


def test_many_readings_are_tapered_by_modulated_modes(given, tmp_path, monkeypatch):
    of = localised(given, localisation={"horizontal": LENGTH}, between={"Tracer": {"Velocity": 0.2}})
    exact = analysed(of)
    monkeypatch.setattr("plugin.window.background.localisation._REPRESENTERS", 3)
    many = analysed(of)
    assert isinstance(many.inputs.transform, ModulatedTransform)
    close = np.abs(many.analysis.increment - exact.analysis.increment).max()
    assert 0.0 < close < 0.05 * np.abs(exact.analysis.increment).max()
    diagnose(many, *of, DiagnosticsSection(influence=True, posterior=True), tmp_path, COMM)
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        name = of[0].transfer.variables[0].name
        before, after = kept[f"{name}.background"], kept[f"{name}.analysis"]
        assert np.all(after[kept["fluid"]] <= before[kept["fluid"]] * (1.0 + 1e-9))
        assert np.any(after < 0.9 * before)


def test_a_control_too_large_is_refused(given, monkeypatch):
    monkeypatch.setattr("plugin.window.background.localisation._REPRESENTERS", 3)
    monkeypatch.setattr("plugin.window.background.localisation._CONTROL", 5)
    with pytest.raises(ConfigurationError, match="11 readings are more than the 3 .* patterns .* at most 5"):
        analysed(localised(given, localisation={"horizontal": LENGTH}))
