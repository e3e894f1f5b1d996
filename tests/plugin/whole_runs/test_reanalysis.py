"""Archives of states analysed in a batch: as one by one, on any ranks, after a stop as without one."""

import csv
import json
import signal
import subprocess
import time

import numpy as np
import pytest
from cycle_case import ROOT, SENSORS, WINDOW, command, environment, make_case, python, write_settings
from mpi4py import MPI

from coupling.archive import Archive, ArchiveWriter
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.common.text import counted
from coupling.geometry.mesh import MeshError
from plugin.case.configuration import ConfigurationError, read_case
from plugin.readings.of_case import readings_of
from plugin.reanalysis import reanalyse
from plugin.window.assimilate import assimilate
from plugin.window.background.of_case import background
from plugin.window.observations.selection import window_readings

COMM = MPI.COMM_SELF
UNTIL = 3 * WINDOW  # seven states, 0 to 24 s every 4 s; readings at 8, 16 and 24 s
FIELDS = ("Tracer", "Velocity")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("reanalysis") / "case")


def case_file(folder, run, states=None, observations=None, gates=None, **reanalysis):
    states = states or [{"path": str(folder / "training/0"), "until": UNTIL}]
    given = {"states": states, "output": str(run / "analyses.vtkhdf"), "block": 2, **reanalysis}
    more = {f"observations__{name}": value for name, value in (observations or {}).items()}
    return write_settings(run / "case.yml", folder, run, reanalysis=given, gates=gates or {}, **more)


def run(*words, **reanalysis):
    path = case_file(*words, **reanalysis)
    reanalyse(read_case(path, needed=()), COMM)
    return contents(words[1])


def contents(run):
    """{time: {field: values}} of a run's archive."""
    with Archive(run / "analyses.vtkhdf", COMM) as archive:
        states = [archive.read(k) for k in range(len(archive))]
    return {state.time: {name: field.values for name, field in state.fields.items()} for state in states}


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    """What all is compared with: one rank, without a stop."""
    made = tmp_path_factory.mktemp("whole")
    return made, run(folder, made, keep=["analysis", "background", "increment", "std"])


def same(one, other, tolerance=0.0):
    assert list(one) == list(other)
    for time_, fields in one.items():
        for name in fields.keys() & other[time_].keys():
            gap = np.abs(fields[name] - other[time_][name]).max()
            assert gap <= tolerance * np.abs(fields[name]).max(), (time_, name, gap)


def test_each_state_is_analysed_as_if_it_were_alone(folder, whole):
    made, found = whole
    case = read_case(made / "case.yml", needed=())
    # a factor that follows innovations goes with the cycle
    modes = case.background.model_copy(update={"modes": made / "cache/modes.h5", "adaptive": None})
    case = case.model_copy(update={"background": modes})
    statistics, readings = background(case, COMM), readings_of(case)
    assert list(found) == pytest.approx(np.arange(0.0, UNTIL + 1, WINDOW / 2).tolist())
    with open_series(folder / "training/0", COMM) as series:
        for k, (time_, fields) in enumerate(found.items()):
            state = series.read(k, list(FIELDS))
            in_time = np.abs(readings.time - time_) < 1e-6
            usable, treatment = window_readings(
                readings, in_time, time_, case.observations, statistics.transfer, None, 1e-3
            )
            expected = assimilate(statistics, state, usable, COMM, case.minimiser, treatment, guard=case.analysis.guard)
            assert (len(usable) > 0) == (time_ in (8.0, 16.0, 24.0)) == bool(expected.changes)
            for name in FIELDS:
                analysis = expected.changes.get(name, state[name]).values
                np.testing.assert_array_equal(fields[name], analysis)
                np.testing.assert_array_equal(fields[f"{name}_background"], state[name].values)
                np.testing.assert_array_equal(fields[f"{name}_increment"], analysis - state[name].values)


def test_std_is_the_backgrounds_where_nothing_is_read_and_smaller_elsewhere(whole):
    _, found = whole
    before, after, later = (found[t] for t in (4.0, 8.0, 16.0))
    for name in ("Tracer_std", "Velocity.x_std", "Velocity.z_std"):
        assert (after[name] <= before[name] * (1 + 1e-12)).all() and after[name].sum() < 0.9 * before[name].sum()
        np.testing.assert_array_equal(later[name], after[name])  # the same sensors


def test_tables_tell_every_state_and_reading(whole):
    made, found = whole
    steps, readings = table(made / "steps.csv"), table(made / "readings.csv")
    assert [float(row["time"]) for row in steps] == list(found)
    assert [int(row["used"]) for row in steps] == [0, 0, 3 * len(SENSORS), 0, 3 * len(SENSORS), 0, 3 * len(SENSORS)]
    for row in steps:
        if int(row["used"]):
            assert float(row["cost"]) < float(row["cost_initial"]) and row["reason"].startswith("CONVERGED")
            assert float(row["residual_rms"]) < float(row["innovation_rms"])
    assert len(readings) == 9 * len(SENSORS) and {row["used"] for row in readings} == {"yes"}
    assert not (made / "reanalysis").exists()


@pytest.mark.parametrize(("ranks", "groups"), [(2, 2), (2, 1), (4, 2)])
def test_any_ranks_in_any_groups_give_the_same(folder, whole, tmp_path, ranks, groups):
    path = case_file(folder, tmp_path, groups=groups, keep=["analysis", "std"])
    ended = python(ranks, "-m", "plugin.reanalysis", path)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{counted(groups, 'group')} of {counted(ranks // groups, 'rank')}, each" in ended.stdout
    assert "4 of 4 blocks" in ended.stdout or groups > 1
    same(whole[1], contents(tmp_path), 1e-10)
    for one, two in zip(table(whole[0] / "steps.csv"), table(tmp_path / "steps.csv"), strict=True):
        assert one["used"] == two["used"] and float(one["cost"] or 0) == pytest.approx(
            float(two["cost"] or 0), rel=1e-9
        )


def pack(folder, path, numbers):
    """An archive of some of the states."""
    with open_series(folder / "training/0", COMM) as series, ArchiveWriter(path, COMM) as archive:
        for k in numbers:
            archive.append(series.read(k, list(FIELDS)))
    return path


def test_an_archive_or_several_give_what_dumps_give(folder, whole, tmp_path):
    parts = {"a.vtkhdf": range(3), "b.vtkhdf": range(3, 7)}
    states = [{"path": str(pack(folder, tmp_path / name, of))} for name, of in parts.items()]
    same(whole[1], run(folder, tmp_path / "run", states))


def test_a_job_that_is_killed_goes_on_and_ends_with_the_same_bits(folder, whole, tmp_path):
    path = case_file(folder, tmp_path, block=1, groups=2, keep=["analysis", "std"])
    uninterrupted = case_file(folder, tmp_path / "other", block=1, groups=2, keep=["analysis", "std"])
    assert python(2, "-m", "plugin.reanalysis", uninterrupted).returncode == 0
    job = subprocess.Popen(
        command(2, "-m", "plugin.reanalysis", path), env=environment(), cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 100
        while not list((tmp_path / "reanalysis").glob("0*")) and job.poll() is None and time.monotonic() < end:
            time.sleep(0.005)
    finally:
        subprocess.run(["pkill", "-KILL", "-s", str(job.pid)], check=False)
        job.send_signal(signal.SIGKILL)
        job.wait()
    assert not (tmp_path / "analyses.vtkhdf").exists() and list((tmp_path / "reanalysis").glob("0*"))
    again = python(2, "-m", "plugin.reanalysis", path)
    assert again.returncode == 2 and "go on with it by --resume" in again.stderr
    resumed = python(2, "-m", "plugin.reanalysis", path, "--resume")
    assert resumed.returncode == 0 and "done before" in resumed.stdout, resumed.stdout + resumed.stderr
    same(contents(tmp_path / "other"), contents(tmp_path))
    assert (tmp_path / "readings.csv").read_text() == (tmp_path / "other/readings.csv").read_text()
    done = python(1, "-m", "plugin.reanalysis", path, "--resume")
    assert done.returncode == 0 and "all is done already" in done.stdout


def dumps(folder, target, broken=None, missing_field=None):
    """Copies of the dumps, one of them cut short or without its tracer."""
    target.mkdir()
    for k in range(7):
        data = (folder / f"training/0/case_{k}.vtu").read_bytes()
        if k == broken:
            data = data[: len(data) // 2]
        if k == missing_field:
            data = data.replace(b'Name="Tracer"', b'Name="Trader"')
        (target / f"case_{k}.vtu").write_bytes(data)
    return [{"path": str(target)}]


@pytest.mark.parametrize("how", [{"broken": 3}, {"missing_field": 4}])
def test_a_broken_state_ends_the_job_or_is_left_out(folder, whole, tmp_path, how):
    states = dumps(folder, tmp_path / "dumps", **how)
    with pytest.raises(FileError, match=f"case_{list(how.values())[0]}.vtu"):
        run(folder, tmp_path / "a", states)
    assert not (tmp_path / "a/analyses.vtkhdf").exists()
    found = run(folder, tmp_path / "b", states, missing="skip")
    lost = 4.0 * list(how.values())[0]
    assert list(found) == [t for t in whole[1] if t != lost]
    same({t: fields for t, fields in whole[1].items() if t != lost}, found)
    (told,) = [row for row in table(tmp_path / "b/steps.csv") if row["skipped"]]
    assert f"case_{list(how.values())[0]}.vtu" in told["skipped"]


def test_readings_between_states_count_where_a_window_asks_for_them(folder, tmp_path):
    with open(folder / "readings.csv", newline="") as file:
        header, *rows = csv.reader(file)
    moved = [[float(row[0]) - 3.0, *row[1:]] for row in rows]
    with open(tmp_path / "readings.csv", "w", newline="") as file:
        csv.writer(file).writerows([header, *moved])
    observations = {"file": str(tmp_path / "readings.csv"), "window": "interpolate"}
    states = [{"path": str(folder / "training/0"), "until": UNTIL, "every": 2}]
    run(folder, tmp_path / "run", states, observations)
    steps = table(tmp_path / "run/steps.csv")
    assert [int(row["readings"]) for row in steps] == [0] + 3 * [3 * len(SENSORS)]


def test_what_does_not_fit_is_refused(folder, whole, tmp_path):
    twice = [{"path": str(folder / "training/0"), "until": UNTIL}] * 2
    with pytest.raises(ConfigurationError, match="reanalysis.states: 0 s comes after 24 s"):
        run(folder, tmp_path / "a", twice)
    with pytest.raises(ConfigurationError, match="reanalysis.groups: 3 groups of 1 ranks; 1 are possible"):
        run(folder, tmp_path / "b", groups=3)
    path = case_file(folder, tmp_path / "b", keep=["increment"])
    with pytest.raises(ConfigurationError, match="another 'reanalysis' section"):
        reanalyse(read_case(path, needed=()), COMM, resume=True)
    with pytest.raises(ConfigurationError, match="no reanalysis to resume"):
        reanalyse(read_case(case_file(folder, tmp_path / "c"), needed=()), COMM, resume=True)
    with pytest.raises(ConfigurationError, match="there is a reanalysis already"):
        reanalyse(read_case(whole[0] / "case.yml", needed=()), COMM)
    with pytest.raises(ConfigurationError, match="reanalysis.output: found .*vtkhdf"):
        read_case(case_file(folder, tmp_path / "d", output="analyses.vtu"), needed=())
    with pytest.raises(ConfigurationError, match="observations.bias: biases go on"):
        run(folder, tmp_path / "e", observations={"bias": {"std": {"Tracer": 1.0}}})


# Gates


def test_analyses_of_an_archive_go_through_the_gates_that_need_no_model(folder, whole, tmp_path):
    gates = {"bounds": {"Tracer": [0, None]}, "largest": {"Velocity": 1e3}}
    reanalyse(read_case(case_file(folder, tmp_path, gates=gates), needed=()), COMM)
    found, rows = contents(tmp_path), table(tmp_path / "steps.csv")
    assert (
        min(fields["Tracer"].min() for fields in whole[1].values())
        < 0
        <= min(f["Tracer"].min() for f in found.values())
    )
    for row in rows:
        told = json.loads(row["gates"]) if row["gates"] else None
        assert (told is not None) == (int(row["used"]) > 0)
        assert told is None or (told["bounds"]["Tracer"]["mass_kept"] and told["largest"]["factor"] == 1.0)
    assert any(row["residual_of_restart"] != row["residual"] for row in table(tmp_path / "readings.csv"))


@pytest.mark.parametrize("gate", [{"divergence_free": "Velocity"}, {"taper": {"surfaces": [2], "distance": 5.0}}])
def test_gates_that_need_a_model_are_refused(folder, tmp_path, gate):
    with pytest.raises(ConfigurationError, match=f"gates.{next(iter(gate))} needs surfaces .* it goes with the cycle"):
        reanalyse(read_case(case_file(folder, tmp_path, gates=gate), needed=()), COMM)
    assert not (tmp_path / "run").exists() or not list(tmp_path.glob("**/reanalysis.json"))


def test_a_state_out_of_range_is_named(folder, tmp_path):
    path = case_file(folder, tmp_path, gates={"range": {"Tracer": [-1, 1e-4]}})
    with pytest.raises(MeshError, match=r"the state at \S+ s: \d+ values of Tracer are outside -1 to 0.0001"):
        reanalyse(read_case(path, needed=()), COMM)
