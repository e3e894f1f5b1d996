"""A cycle of several models: what it does, what it writes, and what it refuses."""

import io
import json
import shutil
from contextlib import ExitStack, redirect_stdout
from types import SimpleNamespace

import numpy as np
import pytest
from comparison import assert_same
from crash_case import (
    COMM,
    KILLED,
    WINDOWS,
    make_case,
)
from cycle_case import cycle, ledger, table, values_at, write_settings
from cycle_case import make_case as make_twin
from ensemble_case import MEMBERS, Job, analysis, tracers

from coupling.archive import Archive
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.points import mesh_points
from coupling.vtk.vtu import read_state
from plugin.check.__main__ import main as check
from plugin.ensemble.forecasts import MemberForecast
from plugin.ensemble.moments import OF_FORECASTS, read_moments
from plugin.ensemble.smoothing import write_smoothed
from plugin.run.ledger import read_ledger
from plugin.state.transfer import Transfer, variables_of


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("ensemble") / "case")


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """A run that nothing stopped."""
    job = Job(case, tmp_path_factory.mktemp("whole"))
    job.left = job.finish()
    return job


# What it does


def test_members_differ_at_the_start_and_their_mean_is_the_start(case, whole):
    (start,) = (case / "training/0").glob("*_checkpoint.flml")
    start = read_fields(open_restart(start), COMM)["Tracer"].values
    members = tracers(whole.run, 0)
    assert np.abs(members.mean(axis=1) - start).max() < 1e-12 * np.abs(start).max()
    assert members.std(axis=1).max() > 0.1 * start.std()


def test_analyses_go_to_the_readings_and_spread_falls(whole):
    for entry in ledger(whole.run):
        of = entry["analysis"]
        assert of["method"] == "etkf" and of["analysis_spread"] < of["spread"]
        assert of["residual"]["rms"] < of["innovation"]["rms"] or entry["window"] > 1
    assert tracers(whole.run, WINDOWS).std(axis=1).mean() < 0.5 * tracers(whole.run, 0).std(axis=1).mean()


def test_each_member_starts_from_its_own_analysis(whole):
    for member in range(1, MEMBERS + 1):
        forecast = whole.run / f"0002/members/{member:02d}/forecast/restart.flml"
        assert_same(read_fields(open_restart(forecast), COMM), analysis(whole.run, 1, member), ["Tracer"])


def test_the_table_is_of_means_and_spreads(whole):
    for entry in ledger(whole.run):
        rows = table(whole.run, entry["window"])
        assert len(rows) == entry["readings"] == entry["used"] > 0
        states = [analysis(whole.run, entry["window"], m) for m in range(1, MEMBERS + 1)]
        places = np.array([[float(row[c]) for c in "xyz"] for row in rows])
        values = np.column_stack([values_at(state, places, "Tracer") for state in states])
        value = np.array([float(row["value"]) for row in rows])
        close = {"rtol": 0, "atol": 1e-12}
        np.testing.assert_allclose([float(row["residual"]) for row in rows], value - values.mean(axis=1), **close)
        np.testing.assert_allclose([float(row["analysis_spread"]) for row in rows], values.std(axis=1, ddof=1), **close)
        told = entry["analysis"]["residual"]
        assert told["rms"] == pytest.approx(np.sqrt(np.mean((value - values.mean(axis=1)) ** 2)), rel=1e-10)


def test_the_ledger_names_the_restart_of_each_member(whole):
    for entry in read_ledger(whole.run / "ledger.jsonl"):
        assert len(entry["members"]) == MEMBERS and entry["replaced"] == 0
        for of in entry["members"]:
            assert open_restart(whole.run / of["restart"]).time == entry["time"]
            assert open_restart(whole.run / of["forecast"]).time == entry["time"]
            assert (whole.run / of["restart"]).with_name("manifest.json").is_file()


def test_what_an_ensemble_costs_is_said_before_it_starts(whole):
    assert "at least" in whole.said and "disk: 3 windows to keep" in whole.said
    assert f"{MEMBERS} members (etkf), 1 at once: a window takes the time of {MEMBERS} model runs" in whole.said


@pytest.mark.parametrize("ranks", [2, 3])
def test_any_number_of_ranks_gives_the_same_analyses(case, whole, tmp_path, ranks):
    job = Job(case, tmp_path, ranks)
    job.finish()
    assert f"{ranks} at once" in job.said
    for window in range(WINDOWS + 1):
        one, other = tracers(whole.run, window), tracers(job.run, window)
        assert np.abs(other - one).max() <= 1e-10 * np.abs(one).max(), window


def background(case, horizontal=None, **others):
    """The crash case's background with a localisation."""
    of = {"snapshots": [{"path": str(case / "training/0"), "from": 8.0}], "truncation": 4, **others}
    return of if horizontal is None else {**of, "localisation": {"horizontal": horizontal}}


@pytest.mark.parametrize(
    ("method", "horizontal", "grid"),
    [
        ("letkf", 15.0, {"spacing": 8.0}),
        ("letkf", 15.0, {"space": "mesh"}),
        ("4denvar", 60.0, {"spacing": 8.0}),
        ("hybrid", 60.0, {"spacing": 8.0}),
    ],
)
def test_localised_analyses_are_the_same_on_two_ranks(case, tmp_path, method, horizontal, grid):
    changes = {"background": background(case, horizontal), "analysis": {"method": method}, "grid": grid}
    jobs = [Job(case, tmp_path / str(ranks), ranks, cycle__windows=1, **changes) for ranks in (1, 2)]
    for job in jobs:
        job.finish()
        of = ledger(job.run)[0]["analysis"]
        assert of["method"] == method and of["residual"]["rms"] < of["innovation"]["rms"]
        assert of["analysis_spread"] < of["spread"]
    one, other = (tracers(job.run, 1) for job in jobs)
    assert np.abs(other - one).max() <= 1e-10 * np.abs(one).max()


def test_a_hybrid_analysis_is_between_that_of_its_members_and_that_of_its_modes(case, tmp_path):
    """Copies of the start: the mean forecast is that of one model, so that modes alone give its 3D-Var."""

    def mean(name, method, horizontal=None, **hybrid):
        analysis = {"method": method} | ({"hybrid": hybrid} if hybrid else {})
        quality = {"thinning": {"cell": 25.0}}
        common = {"cycle__windows": 1, "observations__quality": quality}
        job = Job(case, tmp_path / name, analysis=analysis, background=background(case, horizontal), **common)
        job.finish()
        return tracers(job.run, 1).mean(axis=1)

    members = mean("members", "4denvar", 60.0)
    assert np.abs(mean("no-modes", "hybrid", 60.0, static=0.0, ensemble=1.0) - members).max() < 1e-9
    modes = mean("modes", "hybrid", static=1.0, ensemble=0.0)
    of = background(case, adaptive=None, between="sample", lengths=None)
    quality = {"thinning": {"cell": 25.0}}
    job = Job(
        case, tmp_path / "3dvar", ensemble=None, analysis={"guard": "off"}, background=of, cycle__windows=1,
        observations__quality=quality,
    )  # fmt: skip
    job.finish()
    single = read_fields(open_restart(job.run / "0001/analysis/restart.flml"), COMM)["Tracer"].values
    assert np.abs(modes - single).max() < 1e-7 * np.abs(single).max() and np.abs(modes - members).max() > 0.01


def test_a_local_analysis_changes_nothing_out_of_reach(case, tmp_path):
    job = Job(case, tmp_path, cycle__windows=1, background=background(case, 4.0), grid={"space": "mesh"})
    job.finish()
    assert ledger(job.run)[0]["analysis"]["method"] == "letkf"
    places = np.array([[float(row[c]) for c in "xyz"] for row in table(job.run, 1)])
    points = analysis(job.run, 1, 1)["Tracer"].mesh.points
    far = np.linalg.norm((points[:, None] - places)[..., :2], axis=2).min(axis=1) > 30.0
    before, after = tracers(job.run, 0), tracers(job.run, 1)
    assert far.any() and np.array_equal(after[far], before[far]) and not np.array_equal(after, before)


def test_mean_and_spread_are_archives_of_all_windows(whole):
    for kind in ("mean", "spread"):
        with Archive(whole.run / f"{kind}.vtkhdf", COMM) as archive:
            assert list(archive.times) == [entry["time"] for entry in ledger(whole.run)]
            for number in range(1, WINDOWS + 1):
                members = tracers(whole.run, number)
                expected = members.mean(axis=1) if kind == "mean" else members.std(axis=1, ddof=1)
                values = archive.read(number - 1)["Tracer"].values
                np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12 * np.abs(members).max())


def test_the_forecasts_have_a_mean_and_a_spread_too(whole):
    for entry in ledger(whole.run):
        paths = [whole.run / of["forecast"] for of in entry["members"]]
        members = np.column_stack([read_fields(open_restart(path), COMM)["Tracer"].values for path in paths])
        mean, spread = read_moments(whole.run / f"{entry['window']:04d}", COMM, OF_FORECASTS)
        assert mean.time == spread.time == entry["time"]
        np.testing.assert_allclose(mean["Tracer"].values, members.mean(axis=1), atol=1e-12 * np.abs(members).max())
        np.testing.assert_allclose(spread["Tracer"].values, members.std(axis=1, ddof=1), atol=1e-12)
    with pytest.raises(FileError, match="no forecast_mean.vtu; the members' meshes differ"):
        read_moments(whole.run, COMM, OF_FORECASTS)


def test_members_begin_from_earlier_states(case, tmp_path):
    start = {"from": "states"}
    job = Job(case, tmp_path, ensemble={"members": MEMBERS, "start": start}, cycle__windows=1)
    job.finish()
    dumps = [path for path in (case / "training/0").glob("case_*.vtu") if "checkpoint" not in path.name]
    states = [read_state(path, COMM)["Tracer"].values for path in dumps]
    for member in tracers(job.run, 0).T:  # as the grid sees them
        assert min(np.linalg.norm(member - state) for state in states) < 0.3 * np.linalg.norm(member)
    few = Job(case, tmp_path / "few", ensemble={"members": 99, "start": start})
    assert "99 members, but background.snapshots has" in few.start().said


@pytest.mark.parametrize(
    "inflation", [{"factor": 1.5}, {"rtps": 0.9}, {"adaptive": True}, {"factor": 1.1, "rtps": 0.5, "adaptive": True}]
)
def test_inflation_keeps_the_spread(case, whole, tmp_path, inflation):
    job = Job(case, tmp_path, ensemble={"members": MEMBERS, "inflation": inflation})
    left = job.finish()
    plain, more = (tracers(of.run, WINDOWS).std(axis=1).mean() for of in (whole, job))
    assert more > 1.05 * plain
    entries = ledger(job.run)
    if "adaptive" not in inflation:
        assert "inflation" not in entries[-1]
        return
    assert entries[-1]["inflation"]["Tracer"] > 1.0
    again = Job(case, tmp_path / "again", ensemble={"members": MEMBERS, "inflation": inflation})
    assert again.start(fault="kill:window recorded:2").code == KILLED
    assert again.finish() == left


def test_members_that_start_alike_need_no_earlier_states(case, whole, tmp_path):
    alike = {"members": 3, "start": {"from": "restart"}}
    speed = {"speed": {"prior": {"normal": [4.0, 1.0]}, "to": {"file": "parameters.json"}}}
    job = Job(case, tmp_path, ensemble=alike, background={}, cycle__windows=1, parameters=speed)
    job.finish()
    assert not (job.run / "0000").exists() and "background.snapshots" not in job.said
    said = io.StringIO()
    with redirect_stdout(said):
        check([str(job.file), "--quick", "--json"], COMM)
    found = {of["name"]: of for of in json.loads(said.getvalue())}
    assert found["earlier states"]["text"] == "none are named; the members start alike"
    assert found["memory"]["level"] == "ok" and found["disk"]["level"] == "ok"


def test_the_seed_makes_the_members(case, whole, tmp_path):
    other = Job(case, tmp_path, ensemble={"members": MEMBERS, "seed": 2}, cycle__windows=1)
    other.finish()
    assert np.abs(tracers(other.run, 0) - tracers(whole.run, 0)).max() > 0.01


def test_readings_within_the_window_are_compared_at_their_own_times(case, tmp_path):
    job = Job(case, tmp_path, observations__window="nearest", cycle__windows=2)
    job.finish()
    assert all(entry["used"] > 0 and "analysis" in entry for entry in ledger(job.run))


def test_without_readings_the_forecasts_go_on_as_they_are(case, whole, tmp_path):
    head = (case / "readings.csv").read_text().splitlines()
    (tmp_path / "one.csv").write_text("\n".join([head[0], head[1].replace("48.0,", "64.0,", 1)]) + "\n")
    job = Job(case, tmp_path, observations__file=str(tmp_path / "one.csv"))
    job.finish()
    assert "no readings of this time, the forecasts go on as they are" in job.said
    np.testing.assert_array_equal(tracers(job.run, 1), tracers(job.run, 0))


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ensemble": None, "analysis": {"method": "etkf"}}, "analysis.method: etkf needs the section ensemble"),
        ({"analysis": {"method": "3dvar"}}, "analysis.method: 3dvar has one model run"),
        ({"ensemble": {"members": 4, "start": {"from": "restart"}}}, "stay alike without the section parameters"),
        ({"background": {}}, "background.snapshots: this key is missing; only members that start alike"),
        ({"background": {}, "ensemble": None}, "background.snapshots: this key is missing"),
        ({"analysis": {"hybrid": {"static": 1.0}}}, "analysis.hybrid: goes with analysis.method: hybrid"),
        ({"analysis": {"method": "letkf"}}, "letkf needs background.localisation"),
        (
            {
                "background__localisation": {"horizontal": 60.0},
                "observations__error_model": {"correlation": {"length": 20.0}},
            },
            "observations.error_model.correlation: letkf makes each reading's own error larger with distance",
        ),
        ({"analysis": {"guard": "warn"}}, "analysis.guard is of a cycle with one model run"),
        ({"observations__huber": 2.0}, "observations.huber is of a cycle with one model run"),
        ({"ensemble": {"members": 1}}, "ensemble.members"),
        ({"ensemble": {"members": 2, "at_once": 3}}, "at_once is 3, more than the 2 members"),
        ({"ensemble": {"members": 4, "at_once": 3}}, "need 3 ranks of the plugin to start them, there are 1"),
    ],
)
def test_what_does_not_go_together_is_refused_and_leaves_no_run(case, tmp_path, changes, words):
    job = Job(case, tmp_path, **changes)
    ended = job.start()
    assert ended.code == 2 and words in ended.said, ended
    assert not (job.run / "case.json").exists()


# Around a model that is one


def test_around_the_embedded_model_from_a_cold_start(tmp_path):
    case, ensemble = make_twin(tmp_path / "case"), {"members": 4, "start": {"factor": 0.5}, "smoother": True}
    file = write_settings(tmp_path / "case.yml", case, tmp_path / "run", cycle__windows=2, ensemble=ensemble)
    said = cycle(file, ranks=2).stdout
    assert "4 members (etkf), 2 at once" in said
    entries = ledger(tmp_path / "run")
    assert list((tmp_path / "run/0000/spin-up").glob("*.vtu"))
    for entry in entries:
        of = entry["analysis"]
        assert of["residual"]["rms"] < 0.8 * of["innovation"]["rms"] and entry["replaced"] == 0
    for window in (1, 2):  # dumps at its start and in its middle
        spreads = [read_state(tmp_path / f"run/000{window}/smoothed/spread_{k}.vtu", COMM) for k in (0, 1)]
        assert [round(state.time) for state in spreads] == [8 * window - 8 or 2, 8 * window - 4]
        assert all(np.isfinite(state["Tracer"].values).all() for state in spreads)
    _smoothing_follows_the_update(case, tmp_path / "smoothed")
    shutil.rmtree(case)
    assert json.loads((tmp_path / "run/case.json").read_text())["ensemble"]["members"] == 4


def _smoothing_follows_the_update(case, folder):
    """Of the training's runs as members: one that changes nothing, and one that makes all of them their mean."""
    runs, step = [case / f"training/{k}" for k in range(3)], 2.0
    restarts = [open_restart(*run.glob("*_checkpoint.flml")) for run in runs]
    forecasts = [MemberForecast(of, of.time, run, 0.0, None) for of, run in zip(restarts, runs, strict=True)]
    first = read_fields(restarts[0], COMM, ["Tracer"])
    mesh = first["Tracer"].mesh
    transfer = Transfer(mesh_points(mesh, COMM), variables_of(["Tracer"], first), COMM)
    times = {}
    for name, weights in (("same", np.eye(3)), ("mean", np.full((3, 3), 1.0 / 3.0))):
        update = SimpleNamespace(state=lambda prior, weights=weights: prior @ weights)
        (folder / name).mkdir(parents=True)
        times[name] = write_smoothed(update, 1.0, forecasts, 1e-3 * step, folder / name, transfer, FLUIDITY, COMM)
    assert times["same"] == times["mean"] and max(times["same"]) < restarts[0].time
    number = len(times["same"]) - 1
    with ExitStack() as stack:
        series = [stack.enter_context(open_series(run, COMM)) for run in runs]
        members = np.column_stack([of.read(number, ["Tracer"])["Tracer"].values for of in series])
    for name, spread in (("same", members.std(axis=1, ddof=1)), ("mean", np.zeros(len(members)))):
        for kind, expected in (("mean", members.mean(axis=1)), ("spread", spread)):
            found = read_state(folder / name / f"{kind}_{number}.vtu", COMM)["Tracer"].values
            np.testing.assert_allclose(found, expected, atol=1e-12 * np.abs(members).max())
