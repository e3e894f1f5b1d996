"""Background errors that follow the innovations of a run."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from cycle_case import cycle, ledger, make_case, write_settings
from mpi4py import MPI

from da.background.adaptive import FactorRule, next_factor
from plugin.case.background import BackgroundSection
from plugin.case.configuration import DiagnosticsSection, MinimiserSection
from plugin.case.observations import QualitySection
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.localisation import make_taper
from plugin.window.diagnostics import diagnose
from plugin.window.observations.operator import make_operator
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF
RULE = FactorRule(memory=2.0)


@pytest.fixture(scope="module")
def given():
    background, state = make_background(COMM)
    return replace(background, adaptive=RULE), state


def analysed(given, cache=None, factors=None, **settings):
    background, state = given
    readings = make_readings(background, state)
    treatment = ObservationSettings(**settings)
    return assimilate(background, state, readings, COMM, MinimiserSection(), treatment, cache, "warn", factors)


def dense(given):
    """(U, H U, readings in the air, innovation)."""
    background, state = given
    readings = make_readings(background, state).select(np.arange(12) != OUTSIDE)
    at = background.transfer.at_readings(state, readings.position, readings.variable)
    operator, model = make_operator(background.transfer, at, readings)
    order = np.argsort(operator.reading)
    u = background.transform.scale[:, None] * background.modes.vectors
    return u, background.transform.operator_product(operator.operator)[order], readings, readings.value - model


def test_factors_and_analysis_equal_dense(given, tmp_path):
    u, hu, readings, d = dense(given)
    found = analysed(given, factors={"Tracer": 0.5})
    tracer = readings.variable == "Tracer"
    std = np.linalg.norm(hu, axis=1)
    expected = {
        "Tracer": next_factor(0.5, d[tracer], std[tracer], readings.error[tracer], RULE),
        "Velocity": next_factor(None, d[~tracer], std[~tracer], readings.error[~tracer], RULE),
    }
    assert found.factors == pytest.approx(expected, rel=1e-10)
    g = hu * np.where(tracer, expected["Tracer"], expected["Velocity"])[:, None]
    scaled = u * np.tile([expected["Tracer"], expected["Velocity"], expected["Velocity"]], len(u) // 3)[:, None]
    r = np.diag(readings.error**2)
    increment = scaled @ g.T @ np.linalg.solve(g @ g.T + r, d)
    np.testing.assert_allclose(found.analysis.increment, increment, atol=1e-9 * np.abs(increment).max())
    diagnose(found, *given, DiagnosticsSection(posterior=True), tmp_path, COMM)
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        background = np.linalg.norm(scaled, axis=1).reshape(-1, 3)
        np.testing.assert_allclose(kept["Tracer.background"].ravel(), background[:, 0], rtol=1e-9)
        posterior = scaled @ np.linalg.inv(np.eye(6) + g.T @ np.linalg.solve(r, g)) @ scaled.T
        std = np.sqrt(np.diag(posterior)).reshape(-1, 3)
        np.testing.assert_allclose(kept["Velocity.x.analysis"].ravel(), std[:, 1], rtol=1e-7)


def test_localised_errors_have_the_same_factors(given):
    background, state = given
    section = BackgroundSection(snapshots=[{"path": "earlier"}], localisation={"horizontal": 60.0})
    of = replace(background, taper=make_taper(section, background.transfer))
    cache = AnalysisCache()
    first, again = (analysed((of, state), cache, factors) for factors in ({}, {"Tracer": 0.2}))
    alone = analysed((of, state), AnalysisCache(), {"Tracer": 0.2})
    assert first.factors["Tracer"] > again.factors["Tracer"]
    np.testing.assert_array_equal(again.analysis.increment, alone.analysis.increment)
    assert np.abs(first.analysis.increment - again.analysis.increment).max() > 1e-3


def test_quality_control_knows_the_factor_so_far(given):
    quality = QualitySection(background=2.0)
    left_out = [
        sum(row["used"].startswith("no: too far") for row in analysed(given, factors=factors, quality=quality).table)
        for factors in ({}, {"Tracer": 0.1, "Velocity": 0.1})
    ]
    assert left_out[0] < left_out[1]


def test_without_the_key_nothing_follows(given):
    background, state = given
    plain = replace(background, adaptive=None)
    found = analysed((plain, state), factors={"Tracer": 0.1})
    assert found.factors == {}
    np.testing.assert_array_equal(found.analysis.increment, analysed((plain, state)).analysis.increment)


def test_a_cycle_carries_the_factors_in_its_ledger(tmp_path):
    case = make_case(tmp_path / "case")
    whole = write_settings(tmp_path / "whole.yml", case, tmp_path / "whole", background__adaptive={})
    cycle(whole)
    factors = [entry["background_factors"] for entry in ledger(tmp_path / "whole")]
    assert len(factors) >= 2 and factors[0] != factors[1] and set(factors[0]) == {"Tracer", "Velocity"}
    words = case, tmp_path / "parts"
    cycle(write_settings(tmp_path / "parts.yml", *words, background__adaptive={}, cycle__windows=1))
    cycle(write_settings(tmp_path / "parts.yml", *words, background__adaptive={}), "--resume")
    assert [entry["background_factors"] for entry in ledger(tmp_path / "parts")] == factors
