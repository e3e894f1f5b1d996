"""Analyses that are worse than their forecast at readings that they did not know."""

from dataclasses import replace

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from mpi4py import MPI

from plugin.case.configuration import MinimiserSection
from plugin.case.observations import BiasSection, ErrorSection
from plugin.case.variables import field_of
from plugin.window import cross_validation
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.cross_validation import ALL, Departures, guard_line, judge, left_out_departures
from plugin.window.observations.operator import by_reading, make_operator
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def given():
    return make_background(COMM)


def sure(readings, error=0.01):
    """Readings believed far more than they deserve: the analysis follows their noise."""
    return replace(readings, error=np.full(len(readings), error))


def analysed(given, readings, guard="warn", cache=None, **settings):
    background, state = given
    treatment = ObservationSettings(**settings)
    return assimilate(background, state, readings, COMM, MinimiserSection(), treatment, cache, guard)


def departures_of(found, near, cache=None):
    return left_out_departures(found.inputs, found.analysis, near, cache or AnalysisCache(), COMM)


@pytest.mark.parametrize("near", [0.0, 25.0])
def test_left_out_readings_are_those_of_analyses_without_them(given, near):
    readings = make_readings(*given)
    found = analysed(given, readings)
    departures = departures_of(found, near)
    assert len(departures.field) == 11
    together = 0
    for i in (0, 4, 7):
        apart = np.linalg.norm(readings.position - readings.position[i], axis=1)
        group = (apart <= near) & (np.arange(12) != OUTSIDE)
        together += group.sum()
        error = np.where(group | (np.arange(12) == i), 1e7, readings.error)
        without = analysed(given, replace(readings, error=error), "off")
        row, k = (
            without.table[i],
            found.inputs.reading_operator.reading.tolist().index(found.inputs.numbers.tolist().index(i)),
        )
        assert departures.analysis[k] * readings.error[i] == pytest.approx(row["residual"], rel=1e-5)
        assert departures.forecast[k] * readings.error[i] == pytest.approx(row["innovation"], rel=1e-9)
        assert departures.field[k] == field_of(row["variable"])
    assert (together > 3) == (near > 0.0), together


@pytest.mark.parametrize(
    ("limits", "correlated", "count"),
    [
        ({}, False, 11),
        ({"_MOST": 10}, False, 11),  # eleven readings of six modes: 396 and 66
        ({"_MOST": 10, "_COST": 396.0, "_SIZE": 66.0}, False, 11),
        ({"_MOST": 10, "_COST": 395.0}, False, 0),
        ({"_MOST": 10, "_SIZE": 65.0}, False, 0),
        ({"_MOST": 10}, True, 0),
        ({}, True, 11),
    ],
)
def test_more_readings_are_left_out_as_far_as_they_cost_little(given, monkeypatch, limits, correlated, count):
    for name, value in limits.items():
        monkeypatch.setattr(cross_validation, name, value)
    model = ErrorSection(correlation={"length": 80.0}) if correlated else ErrorSection()
    found = analysed(given, make_readings(*given), error_model=model)
    assert len(departures_of(found, 10.0).field) == count


def test_what_stays_while_the_sensors_do_is_made_once(given):
    readings, cache = make_readings(*given), AnalysisCache()
    analysed(given, readings, cache=cache)
    analysed(given, replace(readings, value=readings.value + 0.1), cache=cache)
    assert cache.left_out.computed == 1
    analysed(given, sure(readings), cache=cache)
    assert cache.left_out.computed == 2


@pytest.mark.parametrize("bias", [False, True])
def test_warn_shrink_and_skip(given, bias):
    readings = make_readings(*given)
    noise = np.random.default_rng(3).choice([-3.0, 3.0], len(readings))
    readings = sure(replace(readings, value=readings.value + noise), 0.5)
    settings = {"bias": BiasSection(std={"Tracer": 0.05})} if bias else {}
    warned, shrunk, skipped = (analysed(given, readings, guard, **settings) for guard in ("warn", "shrink", "skip"))
    assert warned.verdict.worse and warned.verdict.fields[ALL].worse
    plain = analysed(given, readings, "off", **settings)
    assert plain.verdict is None
    np.testing.assert_array_equal(plain.analysis.increment, warned.analysis.increment)
    n = given[0].transfer.n_local
    whole = warned.analysis.increment[:n].reshape(-1, 3)
    for found in (shrunk, skipped):
        factor = np.array([found.verdict.factor(field) for field in ("Tracer", "Velocity", "Velocity")])
        assert (factor < 1.0).any() and (factor >= 0.0).all()
        np.testing.assert_allclose(found.analysis.increment[:n].reshape(-1, 3), factor * whole, rtol=1e-12)
        # biases stay
        np.testing.assert_array_equal(found.analysis.increment[n:], warned.analysis.increment[n:])
        rms = np.sqrt(np.mean([row["residual"] ** 2 for row in found.table if row["used"] == "yes"]))
        assert found.analysis.residual.rms == pytest.approx(rms, rel=1e-9)
        assert found.analysis.chi_squared == pytest.approx((rms / 0.5) ** 2, rel=1e-9)
    state = given[1]
    for name in skipped.verdict.worse:
        if name != ALL:
            np.testing.assert_array_equal(skipped.changes[name].values, state[name].values)


def test_withheld_readings_count(given):
    readings = make_readings(*given)
    plain = analysed(given, readings)
    withheld = analysed(given, readings, withheld=("a",))
    assert withheld.verdict.fields[ALL].count == plain.verdict.fields[ALL].count
    rows = [row for row in withheld.table if row["used"].endswith("withheld") and row["residual"] is not None]
    assert len(rows) >= 3


def test_a_good_analysis_is_left_alone(given):
    background, state = given
    readings = make_readings(background, state)
    # what the modes can make everywhere, so that others foretell each reading
    truth = background.transform.apply(np.array([1.0, -1.0, 0.5, 0.5, -0.5, 1.0]))
    at = background.transfer.at_readings(state, readings.position, readings.variable)
    operator, model = make_operator(background.transfer, at, readings)
    change = by_reading(operator, operator.operator.observe(truth), len(readings), COMM, 0.0)
    readings = replace(readings, value=model + change, error=np.full(len(readings), 0.02))
    found = analysed(given, readings, "shrink")
    assert found.verdict.worse == [] and guard_line(found.verdict.summary()) == ""
    assert found.verdict.fields[ALL].analysis < found.verdict.fields[ALL].forecast
    np.testing.assert_array_equal(found.analysis.increment, analysed(given, readings, "off").analysis.increment)


def test_the_factor_is_that_of_the_least_departures():
    rng = np.random.default_rng(0)
    before, moved = rng.normal(size=40), rng.normal(size=40)
    names = np.repeat(["Tracer", "Velocity"], [36, 4])
    verdict = judge(Departures(names, before, before - 3.0 * moved), "shrink")
    best = verdict.fields["Tracer"].factor
    mine = names == "Tracer"
    misfits = [np.sum((before[mine] - f * 3.0 * moved[mine]) ** 2) for f in (best - 0.01, best, best + 0.01)]
    assert misfits[1] == min(misfits)
    # four readings are too few to judge a field: all of them do
    assert verdict.fields["Velocity"].count == 4 and verdict.factor("Velocity") == verdict.fields[ALL].borne_out
    assert verdict.factor("Salt") == verdict.fields[ALL].borne_out
    assert judge(Departures(names[:0], before[:0], before[:0]), "skip").factor("Tracer") == 1.0


def test_the_standard_error_is_that_of_many_draws():
    rng = np.random.default_rng(1)
    moved, spread = rng.normal(size=200), 0.5 + rng.random(200)
    drawn = [0.6 * moved + spread * rng.normal(size=200) for _ in range(400)]
    of = [judge(Departures(np.full(200, "Tracer"), d, d - moved), "shrink").fields["Tracer"] for d in drawn]
    assert np.mean([c.factor for c in of]) == pytest.approx(0.6, abs=0.01)
    assert np.mean([c.factor_error for c in of]) == pytest.approx(np.std([c.factor for c in of]), rel=0.1)


def test_shrink_applies_what_is_borne_out_for_certain():
    rng = np.random.default_rng(2)
    truth, noise = rng.normal(size=(2, 30))
    names = np.full(30, "Tracer")
    good, chance = (judge(Departures(names, truth, truth - moved), "shrink") for moved in (0.8 * truth, 0.8 * noise))
    assert good.factor("Tracer") == 1.0
    assert chance.factor("Tracer") == pytest.approx(chance.fields["Tracer"].borne_out) and chance.factor("Tracer") < 0.3
    # an analysis that is better than the forecast by chance is made smaller too
    part = judge(Departures(names, truth, truth - 0.3 * truth - noise), "shrink")
    assert not part.worse or part.factor("Tracer") < 0.5
    assert judge(Departures(names, truth, truth - 0.8 * noise), "warn").factor("Tracer") == 1.0


def test_the_line_says_what_was_done():
    departures = Departures(np.full(6, "Tracer"), np.full(6, 2.0), np.array([3.0, -3.0] * 3))
    assert guard_line(judge(departures, "warn").summary()) == (
        "\n    warning: the analysis is 3 σ from 6 readings of Tracer that it did not know, the forecast 2 σ "
        "(it is used all the same)"
    )
    assert guard_line(judge(departures, "skip").summary()).endswith("(the forecast is kept)")
    assert "increment times 0." in guard_line(judge(departures, "shrink").summary())
    assert guard_line(None) == ""


def test_two_readings_do_not_judge_a_field():
    """A plume that has moved from one sensor to the next: each is predicted wrongly without the other."""
    forecast = np.array([10.0, -10.0, *np.random.default_rng(3).normal(size=20)])
    moved = np.array([-3.0, 12.0, *np.zeros(20)])
    names = np.full(22, "Tracer")
    verdict = judge(Departures(names, forecast, forecast - moved), "shrink")
    of = verdict.fields["Tracer"]
    assert of.analysis > 1.5 * of.forecast and of.factor + 2.0 * of.factor_error < 0.0
    assert 1.0 <= of.sharing < 2.0 and verdict.worse == [] and verdict.factor("Tracer") == 1.0
    assert verdict.summary()["fields"]["Tracer"]["counts"] is False
    # the same where four times as many share in it
    spread = [np.repeat(of, 4) for of in (names[:2], forecast[:2], (forecast - moved)[:2])]
    many = judge(Departures(*spread), "shrink")
    assert many.fields["Tracer"].sharing == pytest.approx(4.0 * 153.0**2 / (9.0**2 + 144.0**2))
    assert many.worse == ["Tracer"] and many.factor("Tracer") == 0.0
    assert many.summary()["fields"]["Tracer"]["counts"] is True


@pytest.mark.parametrize(("alike", "errors"), [(3, 1.321), (5, 1.142), (40, 1.013)])
def test_the_fewer_share_the_more_certain_a_factor_must_be(alike, errors):
    """Student's quantiles for one degree of freedom less than share."""
    rng = np.random.default_rng(alike)
    moved = np.where(np.arange(40) < alike, 1.0, 0.0)
    before = 0.6 * moved + 0.1 * rng.normal(size=40)
    of = judge(Departures(np.full(40, "Tracer"), before, before - moved), "shrink").fields["Tracer"]
    assert of.sharing == pytest.approx(alike) and of.counts
    assert of.borne_out == pytest.approx(of.factor - errors * of.factor_error, abs=1e-3)
