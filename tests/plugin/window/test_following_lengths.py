"""The reach of covariances that follows a run's left-out readings."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from cycle_case import cycle, ledger, make_case, write_settings
from mpi4py import MPI
from pydantic import ValidationError

from da.background.adaptive import FactorRule
from da.diagnostics.length_weights import left_out_losses
from plugin.case.background import BackgroundSection, LengthsSection
from plugin.case.configuration import DiagnosticsSection, MinimiserSection
from plugin.case.observations import QualitySection
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background import lengths as module
from plugin.window.background.lengths import length_rule, lengths_line, neighbourhood, summary
from plugin.window.background.localisation import make_taper
from plugin.window.diagnostics import diagnose
from plugin.window.observations.operator import make_operator
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF


def section(**settings):
    return BackgroundSection(snapshots=[{"path": "earlier"}], **settings)


@pytest.fixture(scope="module")
def given():
    background, state = make_background(COMM)
    rule = length_rule(LengthsSection(tried=[60.0, 30.0]), background.transfer)
    return replace(background, taper=make_taper(section(), background.transfer), lengths=rule), state


def analysed(given, cache=None, losses=None, readings=None, **settings):
    background, state = given
    readings = make_readings(background, state) if readings is None else readings
    treatment = ObservationSettings(**settings)
    return assimilate(background, state, readings, COMM, MinimiserSection(), treatment, cache, "warn", {}, losses)


def test_lengths_are_parts_of_the_domain_and_the_samples_own(given):
    transfer = given[0].transfer
    places = transfer.grid.places(COMM)
    side = np.ptp(places[:, :2], axis=0).max()
    rule = length_rule(LengthsSection(), transfer)
    assert rule.lengths[0] == np.inf and rule.lengths[1] == pytest.approx(side / 2)
    assert rule.lengths[-1] == pytest.approx(side / 16) and rule.near == pytest.approx(side / 64)
    assert length_rule(LengthsSection(tried=[10.0, 40.0]), transfer).lengths.tolist() == [np.inf, 40.0, 10.0]
    assert length_rule(None, transfer) is None
    assert length_rule(LengthsSection(tried=[10.0]), transfer).near == rule.near == neighbourhood(transfer)


def test_losses_weights_and_analysis_equal_dense(given):
    background, state = given
    before = {"Tracer": [3.0, 1.0, 2.0, 9.0]}
    found = analysed(given, losses=before)
    readings = make_readings(background, state).select(np.arange(12) != OUTSIDE)
    at = background.transfer.at_readings(state, readings.position, readings.variable)
    operator, model = make_operator(background.transfer, at, readings)
    order = np.argsort(operator.reading)
    hu = background.transform.operator_product(operator.operator)[order]
    d, tracer, rule = readings.value - model, readings.variable == "Tracer", background.lengths
    for name, of in (("Tracer", tracer), ("Velocity", ~tracer)):
        now = left_out_losses(hu[of], readings.position[of], d[of], readings.error[of], rule)
        expected = rule.joined(np.array(before[name]) if name in before else None, now)
        np.testing.assert_allclose(found.losses[name], expected, rtol=1e-10)
    n = background.transfer.n_local
    h = np.array([operator.operator.observe(row) for row in np.eye(n)]).T[order]
    u = background.transform.scale[:, None] * background.modes.vectors
    weights = np.column_stack([rule.weights(np.array(found.losses[v.field])) for v in background.transfer.variables])
    taper = found_taper(background, weights)
    between, distance = taper.factors(taper)
    b = between * distance * (u @ u.T)
    increment = b @ h.T @ np.linalg.solve(h @ b @ h.T + np.diag(readings.error**2), d)
    np.testing.assert_allclose(found.analysis.increment, increment, atol=1e-9 * np.abs(increment).max())


def found_taper(background, weights):
    ladder = module.Ladder(background.lengths.lengths, 0.5, weights)
    return replace(background.taper, ladder=ladder)


def test_each_window_has_its_own_u_whatever_is_cached(given):
    cache = AnalysisCache()
    first = analysed(given, cache)
    again = analysed(given, cache, first.losses)
    alone = analysed(given, AnalysisCache(), first.losses)
    np.testing.assert_array_equal(again.analysis.increment, alone.analysis.increment)
    assert np.abs(first.analysis.increment - again.analysis.increment).max() > 0.0


def test_with_all_covariances_between_variables_too(given):
    background, state = given
    apart = analysed(given)
    together = analysed((replace(background, taper=None), state))
    assert together.losses == apart.losses
    assert np.abs(together.analysis.increment - apart.analysis.increment).max() > 1e-4


def test_speeds_biases_superobservations_and_errors_of_analyses(given, tmp_path):
    background, state = given
    adaptive = replace(background, adaptive=FactorRule())
    readings = make_readings(background, state, speeds=True)
    found = analysed((adaptive, state), readings=readings, outer_loops=40)
    assert set(found.losses) == {"Tracer", "Velocity"} and np.isfinite(list(found.losses.values())).all()
    found = analysed((adaptive, state), quality=QualitySection(thinning={"cell": 60.0}))
    diagnose(found, adaptive, state, DiagnosticsSection(influence=True, posterior=True), tmp_path, COMM)
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        fluid = kept["fluid"]
        assert np.all(kept["Tracer.analysis"][fluid] <= kept["Tracer.background"][fluid] * (1 + 1e-9))


def test_of_many_readings_a_part_is_judged_and_of_too_many_none(given, monkeypatch):
    monkeypatch.setattr(module, "_JUDGES", 3)
    some = analysed(given)
    assert some.losses["Tracer"] != analysed(given, losses=some.losses).losses["Tracer"]
    monkeypatch.setattr(module, "MOST", 5)
    before = {"Tracer": [1.0, 2.0, 3.0, 4.0]}
    found, background = analysed(given, losses=before), given[0]
    plain = analysed((replace(background, lengths=None), given[1]))
    assert found.losses == before
    np.testing.assert_array_equal(found.analysis.increment, plain.analysis.increment)


def test_what_the_ledger_and_the_line_say(given):
    background = given[0]
    entry = summary(background, {"Tracer": [0.0, 0.0, 0.0, 0.0], "Velocity": [0.0, 900.0, 900.0, 900.0]})
    assert entry["tried"] == [60.0, 30.0]
    assert entry["fields"]["Tracer"]["weights"] == [0.25] * 4
    assert 20.0 < entry["fields"]["Tracer"]["half_distance"] < 60.0
    assert entry["fields"]["Velocity"]["half_distance"] is None
    assert lengths_line(entry).endswith(" m, Velocity nowhere") and lengths_line(None) == ""
    assert summary(background, {}) == {} == summary(replace(background, lengths=None), {"Tracer": [1.0]})


@pytest.mark.parametrize("other", [{"localisation": {"horizontal": 9.0}}, {"transform": "decoded"}])
def test_it_counts_where_nothing_else_is_asked_for(other):
    assert section(**other).following_lengths is None and section().following_lengths == LengthsSection()
    assert section(lengths=None).following_lengths is None
    with pytest.raises(ValidationError, match="lengths goes with transform: tsvd or reduced, and without localisation"):
        section(lengths={}, **other)


def test_a_cycle_carries_the_losses_in_its_ledger(tmp_path):
    case = make_case(tmp_path / "case")
    cycle(write_settings(tmp_path / "whole.yml", case, tmp_path / "whole"))
    lengths = [entry["lengths"] for entry in ledger(tmp_path / "whole")]
    assert len(lengths) >= 2 and lengths[0] != lengths[1] and set(lengths[0]["fields"]) == {"Tracer", "Velocity"}
    words = case, tmp_path / "parts"
    cycle(write_settings(tmp_path / "parts.yml", *words, cycle__windows=1))
    cycle(write_settings(tmp_path / "parts.yml", *words), "--resume")
    assert [entry["lengths"] for entry in ledger(tmp_path / "parts")] == lengths
    cycle(write_settings(tmp_path / "without.yml", case, tmp_path / "without", background__lengths=None))
    assert not any("lengths" in entry for entry in ledger(tmp_path / "without"))
