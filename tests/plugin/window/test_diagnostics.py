"""What a case's `diagnostics` tells of a real state's analysis, and what a run's tables tell of its errors."""

import csv
import json

import numpy as np
import pytest
from assimilation import OUTSIDE, make_background, make_readings
from cycle_case import cycle, ledger, make_case, table, write_settings
from mpi4py import MPI

from coupling.vtk.vtu import read_state
from da.analysis import analyse
from plugin.case.configuration import DiagnosticsSection, MinimiserSection
from plugin.case.observations import BiasSection, ErrorSection
from plugin.diagnostics import main, run_table
from plugin.readings import ReadingsError
from plugin.window.assimilate import assimilate
from plugin.window.diagnostics import COLUMNS, diagnose
from plugin.window.observations.operator import make_operator
from plugin.window.observations.selection import ObservationSettings
from plugin.window.observations.table import TABLE, write_table

COMM = MPI.COMM_SELF
ALL = DiagnosticsSection(influence=True, posterior=True, stations=True)


@pytest.fixture(scope="module")
def given():
    return make_background(COMM)


def made(given, folder, readings=None, settings=ALL, speeds=False, **treatment):
    """(WindowAnalysis, what is told for the ledger)."""
    background, state = given
    readings = make_readings(background, state, speeds) if readings is None else readings
    found = assimilate(background, state, readings, COMM, MinimiserSection(), ObservationSettings(**treatment))
    told = diagnose(found, background, state, settings, folder, COMM)
    json.dumps(told, allow_nan=False)
    return found, told


def dense(given, readings):
    """H U, one row for each of the readings in the air."""
    reading_operator, _ = make_operator(
        given[0].transfer, given[0].transfer.at_readings(given[1], readings.position, readings.variable), readings
    )
    return given[0].transform.operator_product(reading_operator.operator)[np.argsort(reading_operator.reading)]


def test_degrees_of_freedom_and_influence_equal_dense(given, tmp_path):
    found, told = made(given, tmp_path)
    readings = make_readings(*given).select(np.arange(12) != OUTSIDE)
    hu, r = dense(given, readings), np.diag(readings.error**2)
    hat = hu @ hu.T @ np.linalg.inv(hu @ hu.T + r)
    assert told["degrees_of_freedom"] == pytest.approx(np.trace(hat), rel=1e-10)
    rows = [row for row in found.table if row["used"] == "yes"]
    np.testing.assert_allclose([row["influence"] for row in rows], np.diag(hat), rtol=1e-8)
    by_variable = told["degrees_of_freedom_by_variable"]
    for name, value in by_variable.items():
        assert value == pytest.approx(np.diag(hat)[readings.variable == name].sum(), rel=1e-8)
    assert sum(by_variable.values()) == pytest.approx(told["degrees_of_freedom"], rel=1e-8)
    assert all(found.table[OUTSIDE][column] is None for column in COLUMNS)


@pytest.mark.parametrize(
    "treatment",
    [{}, {"error_model": ErrorSection(correlation={"length": 80.0})}, {"bias": BiasSection(std={"Tracer": 0.5})}],
)
def test_left_out_is_the_residual_of_an_analysis_without_the_reading(given, tmp_path, treatment):
    readings = make_readings(*given)
    found, _ = made(given, tmp_path, **treatment)
    plain = DiagnosticsSection()
    for i in (0, 4, 7):
        # far from being believed: the table then tells the residual of a reading that has no weight
        error = np.where(np.arange(12) == i, 1e7, readings.error)
        if "error_model" in treatment:
            others = readings.select(np.arange(12) != i)
            without, _ = made(given, tmp_path, others, plain, **treatment)
            hu = dense(given, readings.select([i]))
            left = found.table[i]["innovation"] - float(hu[0] @ without.analysis.control)
        else:
            without, _ = made(given, tmp_path, type(readings)(*_with(readings, error)), plain, **treatment)
            left = without.table[i]["residual"]
        assert found.table[i]["left_out"] == pytest.approx(left, rel=1e-6), i


def _with(readings, error):
    return (getattr(readings, f) if f != "error" else error for f in readings.__dataclass_fields__)


def test_statistics_by_variable_and_station(given, tmp_path):
    found, told = made(given, tmp_path)
    rows = [row for row in found.table if row["used"] == "yes"]
    station = make_readings(*given).station
    for key, group in (
        ("by_variable", lambda i, row: row["variable"]),
        ("by_station", lambda i, row: f"{station[i]} {row['variable']}"),
    ):
        names = [group(i, row) for i, row in enumerate(rows)]
        assert list(told[key]) == sorted(set(names))
        for name, of in told[key].items():
            mine = [row for row, n in zip(rows, names, strict=True) if n == name]
            d, r = (np.array([row[c] for row in mine]) for c in ("innovation", "residual"))
            chi = (r / [row["error"] for row in mine]) ** 2
            assert of["innovation"]["mean"] == pytest.approx(d.mean(), rel=1e-9)
            assert of["residual"]["rms"] == pytest.approx(np.sqrt(np.mean(r**2)), rel=1e-9)
            assert of["chi_squared"] == pytest.approx(chi.mean(), rel=1e-9)
            assert of["expected"] == pytest.approx(np.mean([1.0 - row["influence"] for row in mine]), rel=1e-9)
    total = sum(of["chi_squared"] * of["residual"]["count"] for of in told["by_variable"].values())
    assert total == pytest.approx(len(rows) * found.analysis.chi_squared, rel=1e-9)


@pytest.mark.parametrize("bias", [False, True])
def test_posterior_on_grid_and_mesh_equals_dense(given, tmp_path, bias):
    background, state = given
    treatment = {"bias": BiasSection(std={"Tracer": 0.5})} if bias else {}
    made(given, tmp_path, settings=DiagnosticsSection(posterior=True), **treatment)
    readings = make_readings(*given).select(np.arange(12) != OUTSIDE)
    hu, s = dense(given, readings), background.modes.n_modes
    if bias:
        has = (readings.variable == "Tracer") * 0.5
        hu = np.hstack([hu, has[:, None] * (readings.station[:, None] == np.unique(readings.station[has > 0]))])
    g = hu / readings.error[:, None]
    covariance = np.linalg.inv(np.eye(g.shape[1]) + g.T @ g)[:s, :s]
    u = background.transform.scale[:, None] * background.modes.vectors
    with np.load(tmp_path / "posterior.npz", allow_pickle=False) as kept:
        for kind, c in (("background", np.eye(s)), ("analysis", covariance)):
            expected = np.sqrt(np.einsum("ij,jk,ik->i", u, c, u)).reshape(-1, 3)
            for column, v in enumerate(background.transfer.variables):
                found = kept[f"{v.name}.{kind}"]
                assert found.shape == background.transfer.grid.shape
                np.testing.assert_allclose(found.ravel(), expected[:, column], rtol=1e-9)
        np.testing.assert_array_equal(kept["fluid"], background.transfer.grid.fluid)
        np.testing.assert_array_equal(kept["spacing"], background.transfer.grid.spacing)
    # on the mesh: by what Q makes of every mode
    modes = [background.transfer.to_mesh(state, mode) for mode in u.T]
    dump = read_state(tmp_path / "posterior.pvtu", COMM)
    root = np.linalg.cholesky(covariance)
    for name, of in (("Tracer", lambda m: m["Tracer"]), ("Velocity.y", lambda m: m["Velocity"][:, 1])):
        rows = np.stack([of(mode) for mode in modes], axis=1)
        np.testing.assert_allclose(dump[f"{name}.analysis"].values, np.linalg.norm(rows @ root, axis=1), rtol=1e-9)
        np.testing.assert_allclose(dump[f"{name}.background"].values, np.linalg.norm(rows, axis=1), rtol=1e-9)
    assert dump.time == state.time


def test_speeds_and_hubers_norm_are_taken_where_the_analysis_ended(given, tmp_path):
    found, told = made(given, tmp_path, speeds=True, huber=1.0, outer_loops=40)
    of, background = found.inputs, given[0]
    operator = of.operator.linearised(found.analysis.increment)
    residual = of.innovation - of.operator.observe(found.analysis.increment)
    z = residual / of.error.std_local
    assert (np.abs(z) > 1.0).any()
    g = background.transform.operator_product(operator) / of.error.std_local[:, None]
    g *= np.sqrt(np.minimum(1.0, 1.0 / np.abs(z)))[:, None]
    a = g.T @ g
    assert told["degrees_of_freedom"] == pytest.approx(np.trace(a @ np.linalg.inv(np.eye(len(a)) + a)), rel=1e-8)


def test_hubers_norm_with_correlated_errors_is_the_quadratic_one_of_the_errors_as_they_counted(given, tmp_path):
    correlated = {"error_model": ErrorSection(correlation={"length": 80.0})}
    found, told = made(given, tmp_path, huber=1.0, **correlated)
    of = found.inputs
    residual = of.innovation - of.operator.observe(found.analysis.increment)
    error = of.huber.counted(residual, of.error)
    assert (error.std_local > 1.01 * of.error.std_local).any()
    again = analyse(of.transform, of.operator, error, of.innovation, COMM)
    np.testing.assert_allclose(found.analysis.control, again.control, rtol=1e-6, atol=1e-8)
    hu = of.transform.operator_product(of.operator)
    a = hu.T @ np.stack([error.solve(column) for column in hu.T], axis=1)
    assert told["degrees_of_freedom"] == pytest.approx(np.trace(a @ np.linalg.inv(np.eye(len(a)) + a)), rel=1e-8)


def test_nothing_more_is_told_unless_asked(given, tmp_path):
    found, told = made(given, tmp_path, settings=DiagnosticsSection())
    assert list(told) == ["by_variable"] and tuple(found.table[0]) == TABLE and not list(tmp_path.iterdir())
    assert told["by_variable"]["Tracer"]["expected"] is None
    nothing, told = made(given, tmp_path, make_readings(*given).select([OUTSIDE]))
    assert told == {} and nothing.table[0]["influence"] is None and not list(tmp_path.iterdir())


@pytest.mark.parametrize("n", [2, 3])
def test_same_over_ranks(given, mpirun, tmp_path, n):
    found, told = made(given, tmp_path, speeds=True)
    (tmp_path / "parallel").mkdir()
    mpirun(n, "tests/plugin/window/parallel_diagnostics.py", tmp_path / "parallel")
    other = json.loads((tmp_path / "parallel/told.json").read_text())
    assert other["told"]["degrees_of_freedom"] == pytest.approx(told["degrees_of_freedom"], rel=1e-10)
    for row, there in zip(found.table, other["table"], strict=True):
        for column in COLUMNS:
            assert (row[column] is None) == (there[column] is None)
            assert row[column] is None or row[column] == pytest.approx(there[column], rel=1e-9)
    with np.load(tmp_path / "posterior.npz") as one, np.load(tmp_path / "parallel/posterior.npz") as several:
        for name in one:
            np.testing.assert_allclose(several[name], one[name], rtol=1e-10)
    one, several = (read_state(folder / "posterior.pvtu", COMM) for folder in (tmp_path, tmp_path / "parallel"))
    for name in one.fields:
        np.testing.assert_allclose(several[name].values, one[name].values, rtol=1e-10)


# A whole cycle, and its run


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("twin") / "case")


def test_cycle_with_all_diagnostics(case, tmp_path):
    asked = {"influence": True, "posterior": True, "stations": True}
    words = case, tmp_path / "run"
    first = write_settings(tmp_path / "case.yml", *words, cycle__windows=1, diagnostics=asked)
    cycle(first)
    (entry,) = ledger(tmp_path / "run")
    assert set(entry["analysis"]["by_variable"]) == {"Tracer", "Velocity.x", "Velocity.y"}
    used = [row for row in table(tmp_path / "run", 1) if row["used"] == "yes"]
    assert 0.0 < entry["analysis"]["degrees_of_freedom"] < len(used)
    total = sum(float(row["influence"]) for row in used)
    assert total == pytest.approx(entry["analysis"]["degrees_of_freedom"], rel=1e-8)
    of = entry["guard"]["fields"]["all"]
    departures = [float(row["innovation"]) / float(row["error"]) for row in used]
    assert of["forecast"] == pytest.approx(np.sqrt(np.mean(np.square(departures))), rel=1e-8)
    assert all(np.isfinite(float(row["left_out"])) for row in used)
    assert (tmp_path / "run/0001/posterior.vtu").is_file() and (tmp_path / "run/0001/posterior.npz").is_file()
    # what is told may be changed on the way
    more = write_settings(tmp_path / "case.yml", *words, cycle__windows=2)
    cycle(more, "--resume")
    assert tuple(table(tmp_path / "run", 2)[0]) == TABLE and not (tmp_path / "run/0002/posterior.npz").exists()
    assert "influence" not in table(tmp_path / "run", 2)[0]
    found = run_table(tmp_path / "run")
    assert len(found["error"]) == 2 * len(used) and set(found["window"]) == {1, 2}


def write_run(run, n=200):
    """Windows of a scalar with σ_b = 2 and σ_o = 1, analysed as if σ_o were 0.5."""
    rng = np.random.default_rng(4)
    for k in range(1, n + 1):
        d = rng.normal(0.0, 2.0, 5) + rng.normal(0.0, 1.0, 5)
        about = {"time": float(k), "station": "roof", "variable": "T", "error": 0.5, "used": "yes"}
        rows = [dict.fromkeys(TABLE, 0.0) | about for _ in d]
        rows[0]["station"] = "street"
        for row, value in zip(rows, d, strict=True):
            row.update(innovation=value, residual=value * 0.25 / 4.25)
        (run / f"{k:04d}").mkdir(parents=True)
        write_table(run / f"{k:04d}/readings.csv", [*rows, {**rows[0], "used": "no: stuck sensor", "innovation": 1e9}])


def test_errors_as_a_run_shows_them(tmp_path, capsys):
    write_run(tmp_path / "run")
    assert main([str(tmp_path / "run"), "--from", "2"], COMM) == 0
    header, line = capsys.readouterr().out.splitlines()
    name, count, windows, assumed, observation, background, chi = line.split()
    assert (name, int(count), int(windows), float(assumed)) == ("T", 5 * 199, 199, 0.5)
    # by eq. 3 the first estimate is R used · true D / D used = 0.25 · 5 / 4.25
    assert float(observation) ** 2 == pytest.approx(0.25 * 5.0 / 4.25, rel=0.15)
    assert float(background) ** 2 == pytest.approx(4.0 * 5.0 / 4.25, rel=0.15)
    assert float(chi) == pytest.approx(5.0 * 0.25 / 4.25**2, rel=0.15)
    assert main([str(tmp_path / "run"), "--stations"], COMM) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.startswith("station, variable")
    assert [line.split()[:4] for line in lines] == [["roof", "T", "800", "200"], ["street", "T", "200", "200"]]


def test_what_is_no_run(tmp_path):
    with pytest.raises(ReadingsError, match="no window's readings.csv is there"):
        run_table(tmp_path)
    (tmp_path / "0001").mkdir()
    with open(tmp_path / "0001/readings.csv", "w", newline="") as file:
        csv.writer(file).writerows([["used", "time"], ["yes", "1.0"]])
    with pytest.raises(ReadingsError, match="0001/readings.csv: no table of a window"):
        run_table(tmp_path)
