"""One analysis of a real state: what is read is treated as the case asks, and the table tells it."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from mpi4py import MPI
from petsc4py import PETSc

from coupling.geometry.interpolation import sampling
from coupling.geometry.mesh import State
from da.observation.observations import Observations
from da.observation.quality import Flag
from da.observation.thinning import superobs
from plugin.case.configuration import ConfigurationError, MinimiserSection
from plugin.case.observations import BiasSection, ErrorSection, ObservationSection, QualitySection
from plugin.state.fgat import FirstGuess
from plugin.state.transfer import values_at
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.observations.operator import _averaged, make_operator
from plugin.window.observations.selection import ObservationSettings, window_readings
from plugin.window.observations.table import TABLE

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def given():
    return make_background(COMM)


def analysed(given, readings=None, speeds=False, cache=None, **settings):
    background, state = given
    readings = make_readings(background, state, speeds) if readings is None else readings
    return assimilate(background, state, readings, COMM, MinimiserSection(), ObservationSettings(**settings), cache)


def used(found):
    return [row["used"] for row in found.table]


def changed(found, given):
    state = given[1]
    return State(state.time, {**state.fields, **found.changes})


def dense(given, readings):
    """(G = H U, innovation) of readings in the air, one row each."""
    background, state = given
    reading_operator, model = make_operator(
        background.transfer, background.transfer.at_readings(state, readings.position, readings.variable), readings
    )
    order = np.argsort(reading_operator.reading)
    return background.transform.operator_product(reading_operator.operator)[order], readings.value - model


def solved(g, r, d):
    return np.linalg.solve(np.eye(g.shape[1]) + g.T @ np.linalg.solve(r, g), g.T @ np.linalg.solve(r, d))


def inside(readings):
    return readings.select(np.arange(len(readings)) != OUTSIDE)


@pytest.mark.parametrize(
    "treatment",
    [
        {},
        {"bias": BiasSection(std={"Tracer": 0.5})},
        {"error_model": ErrorSection(correlation={"length": 80.0})},
        {"quality": QualitySection(background=8.0, thinning={"cell": 60.0})},
    ],
)
def test_a_is_made_once_for_sensors_that_stay_and_anew_for_others(treatment):
    (background, state), cache = make_background(COMM), AnalysisCache()
    readings = make_readings(background, state)
    others = replace(readings, value=readings.value + 0.1)
    moved = replace(readings, position=readings.position + [0.5, 0.0, 0.0])
    surer = replace(readings, error=readings.error * 0.9)
    fewer = readings.select(np.arange(1, len(readings)))
    for made, of in ((1, readings), (1, others), (2, moved), (3, surer), (4, readings), (5, fewer), (5, fewer)):
        again = analysed((background, state), of, cache=cache, **treatment)
        assert cache.hessian.computed == made
        anew = analysed(make_background(COMM), of, **treatment)
        np.testing.assert_array_equal(again.analysis.control, anew.analysis.control)
        assert again.table == anew.table
    if "quality" in treatment:
        assert cache.background_std.computed == 4  # the errors count for nothing in it


def test_sensors_that_stay_are_looked_for_once(monkeypatch):
    background, state = make_background(COMM)
    readings, searches = make_readings(background, state, speeds=True), []

    def counted(*words):
        searches.append(words)
        return sampling(*words)

    monkeypatch.setattr("plugin.state.transfer.sampling", counted)
    without_a_tracer = readings.select(np.arange(1, 12))
    moved = replace(readings, position=readings.position + [0.5, 0.0, 0.0])
    # two for each of the names whose readings are elsewhere than before; what was read before is where it was
    for searched, of in ((0, readings), (0, readings), (2, without_a_tracer), (8, moved), (0, moved)):
        searches.clear()
        analysed((background, state), of, speeds=True)
        assert len(searches) == searched


def test_nothing_asked_for_is_a_diagonal_3d_var(given):
    found = analysed(given)
    readings = inside(make_readings(*given))
    g, d = dense(given, readings)
    np.testing.assert_allclose(found.analysis.control, solved(g, np.diag(readings.error**2), d), rtol=1e-8)
    assert used(found) == ["yes"] * 11 + ["no: outside the model's air"] and tuple(found.table[0]) == TABLE
    assert found.biases == {} and found.table[OUTSIDE]["innovation"] is found.table[OUTSIDE]["residual"] is None


@pytest.mark.parametrize(
    ("quality", "why"),
    [
        ({"range": {"Velocity.x": [-50, 50], "Tracer": [-50, 50]}}, "out of range"),
        ({"background": 5.0}, "too far from the background"),
        ({"buddy": {"length": 500.0, "limit": 10.0}}, "too far from its neighbours"),
    ],
)
def test_a_reading_that_is_left_out_changes_nothing_and_the_table_says_why(given, quality, why):
    readings = make_readings(*given)
    value = readings.value.copy()
    value[5] = 99.0
    found = analysed(given, replace(readings, value=value), quality=QualitySection(**quality))
    assert used(found)[5] == f"no: {why}" and used(found).count("yes") == 10
    without = analysed(given, readings.select(np.arange(12) != 5))
    np.testing.assert_allclose(found.analysis.control, without.analysis.control, rtol=1e-9)
    # what it would have been is told all the same
    assert found.table[5]["innovation"] > 50.0 and found.table[5]["residual"] > 50.0


def test_duplicates_stuck_sensors_and_thinning(given):
    readings = make_readings(*given)
    twice = readings.select([0, 1, 2, 3, 0])
    found = analysed(given, twice, quality=QualitySection(duplicates={}))
    assert used(found) == ["yes"] * 4 + ["no: duplicate"]
    found = analysed(given, twice, flagged=((Flag.STUCK, np.arange(5) == 2),))
    assert used(found)[2] == "no: stuck sensor"
    thinned = analysed(given, quality=QualitySection(thinning={"method": "thin", "cell": 1e4}))
    assert used(thinned).count("yes") == 3 and used(thinned).count("no: thinned") == 8


def test_a_window_does_not_go_through_all_earlier_readings_again(given):
    background, _ = given
    n = 40
    readings = Observations(
        np.arange(n, dtype=float), np.ones((n, 3)), np.full(n, "Tracer"), np.repeat([0.0, 1.0], n // 2), np.ones(n),
        np.full(n, "a"),
    )  # fmt: skip
    settings = ObservationSection(file="a.csv", quality={"stuck": {"readings": 4}})
    cache, flagged = AnalysisCache(), []
    for end in range(n):
        in_time = readings.time == end
        _, treatment = window_readings(readings, in_time, end, settings, background.transfer, None, 0.0, cache)
        ((flag, marks),) = treatment.flagged
        assert flag == Flag.STUCK
        flagged += marks.tolist()
    # the first three of a run do not show it in their own windows
    assert flagged == ([False] * 3 + [True] * 17) * 2 and cache.stuck.computed == 1


def test_superobs_take_linear_time():
    def seconds(n):
        indices = np.arange(n, dtype=PETSc.IntType)
        csr = (np.arange(n + 1, dtype=PETSc.IntType), indices, np.ones(n))
        h = PETSc.Mat().createAIJ(size=(n, n), csr=csr, comm=COMM)
        at_readings = SimpleNamespace(reading=np.arange(n), operator=h, background=np.arange(n, dtype=float))
        of, began = superobs(np.arange(n), np.ones(n)), time.process_time()
        _, reading, background = _averaged(at_readings, of, np.zeros(n, bool), COMM)
        assert reading.tolist() == background.tolist() == list(range(n))
        return time.process_time() - began

    assert min(seconds(40_000) for _ in range(2)) < 8 * max(seconds(10_000), 0.02)


def test_superobs_are_the_mean_of_the_rows(given):
    readings = inside(make_readings(*given))
    thinning = {"method": "superob", "cell": 60.0, "shared": 0.4}
    found = analysed(given, readings, quality=QualitySection(thinning=thinning))
    grid = given[0].transfer.grid
    cell = np.floor((readings.position - grid.origin) / 60.0 + 0.5)
    keys = [(v, *c) for v, c in zip(readings.variable, cell.tolist(), strict=True)]
    kinds = sorted(set(keys))
    assert len(kinds) < 11 and found.analysis.innovation.count == len(kinds)
    t = np.array([[float(k == kind) for k in keys] for kind in kinds]) / readings.error**2
    t /= t.sum(axis=1, keepdims=True)
    same = np.array([[a == b for a in keys] for b in keys])
    r = np.outer(readings.error, readings.error) * (np.eye(11) + 0.4 * (same & ~np.eye(11, dtype=bool)))
    g, d = dense(given, readings)
    np.testing.assert_allclose(found.analysis.control, solved(t @ g, t @ r @ t.T, t @ d), rtol=1e-8)
    assert used(found) == ["yes"] * 11


@pytest.mark.parametrize("thinning", [None, {"cell": 60.0}])
def test_speeds_and_the_table_agree_with_the_analysis_on_the_mesh(given, thinning):
    found = analysed(given, speeds=True, quality=QualitySection(thinning=thinning), outer_loops=30)
    readings = inside(make_readings(*given, speeds=True))
    at_sensors, _ = values_at(changed(found, given), given[0].transfer, readings.position, readings.variable)
    residual = [row["residual"] for row in found.table[:OUTSIDE]]
    np.testing.assert_allclose(residual, readings.value - at_sensors, atol=1e-9)
    assert found.analysis.reason == "CONVERGED_OUTER_LOOPS"
    assert found.analysis.trace[-1].cost < found.analysis.trace[0].cost
    innovation = [row["innovation"] for row in found.table[:OUTSIDE]]
    before, _ = values_at(given[1], given[0].transfer, readings.position, readings.variable)
    np.testing.assert_allclose(innovation, readings.value - before, atol=1e-12)


def test_biases_are_found_carried_on_and_taken_off(given):
    bias = BiasSection(std={"Tracer": 0.5, "Velocity.x": 0.2})
    found = analysed(given, bias=bias, biases={"z Tracer": 1.0})
    readings = inside(make_readings(*given))
    names = [f"{s} {v}" for s, v in zip(readings.station, readings.variable, strict=True)]
    known = sorted({n for n in names if not n.endswith(".y")})
    seen = np.array([[float(n == k) for k in known] for n in names])
    g, d = dense(given, readings)
    std = np.array([0.5 if k.endswith("Tracer") else 0.2 for k in known])
    expected = solved(np.hstack([g, seen * std]), np.diag(readings.error**2), d)
    np.testing.assert_allclose(found.analysis.control, expected, rtol=1e-7, atol=1e-10)
    biases = dict(found.biases)
    assert biases.pop("z Tracer") == 1.0 and list(biases) == known
    np.testing.assert_allclose(list(biases.values()), std * expected[6:], rtol=1e-7)
    # the next analysis begins with them
    again = analysed(given, bias=bias, biases=found.biases)
    correction = seen @ np.array(list(biases.values()))
    np.testing.assert_allclose([row["innovation"] for row in again.table[:OUTSIDE]], d - correction, atol=1e-10)
    at_sensors, _ = values_at(changed(again, given), given[0].transfer, readings.position, readings.variable)
    total = seen @ np.array([again.biases[k] for k in known])
    residual = [row["residual"] for row in again.table[:OUTSIDE]]
    np.testing.assert_allclose(residual, readings.value - at_sensors - total, atol=1e-9)


def test_the_model_at_the_readings_own_time_is_what_they_are_compared_with(given):
    readings = make_readings(*given)
    before = np.linspace(-1.0, 1.0, 12)
    in_time, air = np.arange(12) != 2, np.arange(12) != 4
    first_guess = FirstGuess(np.where(in_time & air, before, np.nan), air, in_time)
    found = analysed(given, readings, first_guess=first_guess)
    assert used(found)[2] == "no: no model state near its time" and used(found)[4] == "no: outside the model's air"
    kept = [i for i in range(11) if i not in (2, 4)]
    told = [found.table[i]["innovation"] for i in kept]
    np.testing.assert_allclose(told, (readings.value - before)[kept], atol=1e-14)
    g, _ = dense(given, readings.select(kept))
    expected = solved(g, np.diag(readings.error[kept] ** 2), (readings.value - before)[kept])
    np.testing.assert_allclose(found.analysis.control, expected, rtol=1e-8)


def test_error_models(given, tmp_path):
    readings = make_readings(*given)
    g, d = dense(given, inside(readings))
    by_instrument = analysed(given, error_model=ErrorSection(instruments={"cup": {"Tracer": 0.7}}))
    std = np.where((readings.instrument == "cup") & (readings.variable == "Tracer"), 0.7, readings.error)[:OUTSIDE]
    np.testing.assert_allclose(by_instrument.analysis.control, solved(g, np.diag(std**2), d), rtol=1e-8)
    assert by_instrument.table[0]["error"] == 0.7

    correlated = analysed(given, error_model=ErrorSection(correlation={"length": 80.0, "kind": "exponential"}))
    distance = np.linalg.norm(readings.position[:, None] - readings.position, axis=2)
    r = np.exp(-distance / 80.0) * np.outer(readings.error, readings.error)
    r *= readings.variable[:, None] == readings.variable
    expected = solved(g, r[:OUTSIDE, :OUTSIDE], d)
    np.testing.assert_allclose(correlated.analysis.control, expected, rtol=1e-8)

    np.save(tmp_path / "r.npy", r)
    matrix = analysed(given, error_model=ErrorSection(matrix=tmp_path / "r.npy"))
    np.testing.assert_allclose(matrix.analysis.control, expected, rtol=1e-8)


def test_a_factor_on_the_errors_counts_with_each_form_of_r(given, tmp_path):
    readings = make_readings(*given)
    g, d = dense(given, inside(readings))
    factor = {"Tracer": 3.0, "Velocity": 0.5}
    of = np.where(readings.variable == "Tracer", 3.0, 0.5)
    r = np.eye(12) * readings.error**2 + 0.2 * np.outer(readings.error, readings.error)
    np.save(tmp_path / "r.npy", r)
    for settings, covariance in (
        ({"factor": factor}, np.diag((of * readings.error) ** 2)),
        ({"factor": 2.0}, 4.0 * np.diag(readings.error**2)),
        ({"factor": factor, "matrix": tmp_path / "r.npy"}, r * np.outer(of, of)),
    ):
        found = analysed(given, error_model=ErrorSection(**settings))
        expected = solved(g, covariance[:OUTSIDE, :OUTSIDE], d)
        np.testing.assert_allclose(found.analysis.control, expected, rtol=1e-8)


def test_error_models_that_cannot_be_used(given, tmp_path):
    path = tmp_path / "r.npy"
    section = ErrorSection(matrix=path)
    for matrix, told in ((-np.eye(12), "smallest eigenvalue is -1"), (np.eye(5), r"\(5, 5\), expected \(12, 12\)")):
        np.save(path, matrix)
        with pytest.raises(ConfigurationError, match="observations.error_model.*" + told):
            analysed(given, error_model=section)
    path.write_text("no matrix")
    with pytest.raises(ConfigurationError, match="r.npy: cannot be read"):
        analysed(given, error_model=section)


def test_huber_holds_a_gross_error(given):
    readings = make_readings(*given)
    value = readings.value.copy()
    value[5] += 50.0
    usual = analysed(given, readings, huber=2.0)
    spoilt = analysed(given, replace(readings, value=value), huber=(2.0, 2.0))
    without = analysed(given, replace(readings, value=value))
    moved = [np.linalg.norm(f.analysis.control - usual.analysis.control) for f in (spoilt, without)]
    assert moved[0] < 0.1 * moved[1]


def test_no_reading_is_used(given):
    found = analysed(given, quality=QualitySection(background=1e-9))
    assert found.analysis is None and found.changes == {}
    assert set(used(found)) == {"no: too far from the background", "no: outside the model's air"}
    nothing, bias = Observations([], [], [], [], []), BiasSection(std={"Tracer": 1.0})
    none = analysed(given, nothing, bias=bias, biases={"a Tracer": 2.0})
    assert none.table == [] and none.biases == {"a Tracer": 2.0}


def test_treatment_of_a_case():
    section = ObservationSection(file="a.csv", huber=2.0, outer_loops=3, bias={"std": {"Tracer": 1.0}})
    made = ObservationSettings.from_section(section, biases={"a Tracer": 1.0})
    assert (made.huber, made.outer_loops, made.bias.std, made.biases) == (2.0, 3, {"Tracer": 1.0}, {"a Tracer": 1.0})
    assert ObservationSettings.from_section(ObservationSection(file="a.csv")) == ObservationSettings()


def test_same_on_one_and_two_ranks(mpirun, tmp_path):
    found = {}
    for n in (1, 2):
        mpirun(n, "tests/plugin/window/parallel_assimilate.py", tmp_path / f"{n}.npz")
        with np.load(tmp_path / f"{n}.npz", allow_pickle=False) as stored:
            found[n] = dict(stored)
    assert len(found[1]) == 16
    for name, expected in found[1].items():
        np.testing.assert_allclose(found[2][name], expected, rtol=1e-8, atol=1e-10, err_msg=name)
