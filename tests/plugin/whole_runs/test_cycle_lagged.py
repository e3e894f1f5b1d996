"""Cycles and reanalyses with readings of before: on any ranks, after a stop as without one."""

import csv

import numpy as np
import pytest
from cycle_case import ERROR, SENSORS, WINDOW, analysis, cycle, ledger, make_case, python, values_at, write_settings
from mpi4py import MPI

from coupling.archive import Archive
from coupling.vtk.vtu import read_state
from plugin.case.configuration import ConfigurationError, read_case
from plugin.cycle import run_cycle
from plugin.reanalysis import reanalyse

COMM = MPI.COMM_SELF
HALF = WINDOW / 2
LAGS = [HALF, WINDOW, 2 * WINDOW]  # a dump within the window, its beginning, and the end of a window before
N = len(SENSORS) * len(ERROR)
ROOT = {"background__variables": {"Tracer": {"anamorphosis": "sqrt"}}}
RUNS = "ranks", "resumed"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = make_case(tmp_path_factory.mktemp("lagged") / "case")
    rows = []
    for k in range(1, 7):
        state = read_state(made / f"truth/case_{k}.vtu", COMM)
        for variable in ERROR:
            values = values_at(state, SENSORS, variable)
            rows += [(state.time, *p, variable, v, ERROR[variable], f"s{i}") for i, (p, v) in enumerate(
                zip(SENSORS, values, strict=True))]  # fmt: skip
    with open(made / "often.csv", "w", newline="") as file:
        csv.writer(file).writerows([("time", "x", "y", "z", "variable", "value", "error", "station"), *rows])
    return made


def case_file(folder, run, lags=LAGS, processes=1, **changes):
    changes.setdefault("background__truncation", 16)
    given = {"file": str(folder / "often.csv"), "window": "lagged", "lagged": {"lags": list(lags), "time_scale": 20.0}}
    given.update({name: changes.pop(name) for name in ("quality", "tolerance", "withheld") if name in changes})
    return write_settings(run / "case.yml", folder, run, processes, observations=given, **changes)


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    run = tmp_path_factory.mktemp("whole")
    run_cycle(read_case(case_file(folder, run)), COMM)
    return run


def test_readings_of_before_enter_as_far_as_there_are(whole):
    entries = ledger(whole)
    assert [entry["readings"] for entry in entries] == [N] * 3
    # window 1 has that of its dump, 2 also that of its beginning, 3 also of the window before it
    assert [entry["earlier_readings"] for entry in entries] == [N, 2 * N, 3 * N]
    for entry in entries:
        assert entry["analysis"]["residual"]["rms"] < entry["analysis"]["innovation"]["rms"]


def test_tables_have_the_readings_of_now(whole):
    for number in (1, 2, 3):
        with open(whole / f"{number:04d}/readings.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == N and {float(row["time"]) for row in rows} == {number * WINDOW}


def test_what_they_lack_is_said_once(folder, tmp_path, capsys):
    run_cycle(read_case(case_file(folder, tmp_path, cycle__windows=2)), COMM)
    said = [line for line in capsys.readouterr().out.splitlines() if "observations.lagged" in line]
    assert len(said) == 1 and said[0].endswith(
        "observations.lagged: of the analyses have 1 of 2 none of 8 s before, 2 of 2 none of 16 s before; "
        "they use the readings that there are"
    )


def test_they_change_the_analysis_and_their_lack_does_not(folder, whole, tmp_path):
    now = {"file": str(folder / "readings.csv")}
    plain, first = (tmp_path / name for name in ("plain", "first"))
    run_cycle(read_case(write_settings(plain / "case.yml", folder, plain, observations=now, cycle__windows=1)), COMM)
    lagged = {**now, "window": "lagged", "lagged": {"lags": LAGS}}
    run_cycle(read_case(write_settings(first / "case.yml", folder, first, observations=lagged, cycle__windows=1)), COMM)
    alone, none, some = (analysis(run, 1)["Tracer"].values for run in (plain, first, whole))
    np.testing.assert_array_equal(none, alone)  # readings.csv has none but of the windows' ends
    assert np.abs(some - alone).max() > 1e-3 * np.abs(alone).max()


def test_two_ranks_give_the_same(folder, whole, tmp_path):
    cycle(case_file(folder, tmp_path), ranks=2)
    for number in (1, 2, 3):
        one, two = analysis(whole, number), analysis(tmp_path, number)
        for name in ("Tracer", "Velocity"):
            gap = np.abs(one[name].values - two[name].values).max()
            assert gap <= 1e-10 * np.abs(one[name].values).max(), (number, name, gap)


@pytest.mark.parametrize("keep", [None, 5])
def test_a_resumed_run_gives_the_same_bits(folder, whole, tmp_path, keep):
    for windows in (1, 2, 3):
        path = case_file(folder, tmp_path, cycle__windows=windows, cycle__keep=keep)
        run_cycle(read_case(path), COMM, resume=windows > 1)
    for name in ("Tracer", "Velocity"):
        np.testing.assert_array_equal(analysis(tmp_path, 3)[name].values, analysis(whole, 3)[name].values)
    one, two = ledger(tmp_path), ledger(whole)
    assert [entry["analysis"]["cost"] for entry in one] == [entry["analysis"]["cost"] for entry in two]


@pytest.fixture(scope="module")
def roots(folder, tmp_path_factory):
    """A whole run that analyses the tracer's root."""
    run = tmp_path_factory.mktemp("roots")
    run_cycle(read_case(case_file(folder, run, **ROOT)), COMM)
    return run


def test_the_root_of_the_tracer_goes_with_it(whole, roots):
    below = [analysis(whole, number)["Tracer"].values.min() for number in (1, 2, 3)]
    assert min(below) < 0.0
    for number, entry in enumerate(ledger(roots), 1):
        assert entry["earlier_readings"] == number * N
        assert analysis(roots, number)["Tracer"].values.min() >= 0.0
        assert entry["analysis"]["cost"] < entry["analysis"]["cost_initial"]


def test_the_root_on_two_ranks_and_resumed_is_the_same(folder, roots, tmp_path):
    cycle(case_file(folder, tmp_path / "ranks", **ROOT), ranks=2)
    for windows in (1, 2, 3):
        path = case_file(folder, tmp_path / "resumed", cycle__windows=windows, **ROOT)
        run_cycle(read_case(path), COMM, resume=windows > 1)
    for name in ("Tracer", "Velocity"):
        whole, two, resumed = (analysis(run, 3)[name].values for run in (roots, *map(tmp_path.joinpath, RUNS)))
        assert np.abs(whole - two).max() <= 1e-8 * np.abs(whole).max(), name  # outer loops end within 1e-8
        np.testing.assert_array_equal(resumed, whole)


def test_checks_and_withheld_stations_go_with_it(folder, tmp_path):
    quality = {"range": {"Tracer": [-1.0, 100.0]}, "background": 50.0, "duplicates": {"distance": 0.1}}
    changes = {"quality": quality, "withheld": ["s3"], "diagnostics": {"influence": True, "posterior": True}}
    localisation = {"horizontal": 40.0, "vertical": 20.0, "modes": 2}
    changes |= {"background__localisation": localisation, "background__adaptive": {}, "analysis": {"guard": "shrink"}}
    run_cycle(read_case(case_file(folder, tmp_path, **changes)), COMM)
    entries = ledger(tmp_path)
    assert [entry["used"] for entry in entries] == [N - 3] * 3
    assert [entry["earlier_readings"] for entry in entries] == [N - 3, 2 * (N - 3), 3 * (N - 3)]
    assert all(np.isfinite(entry["analysis"]["degrees_of_freedom"]) for entry in entries)
    with np.load(tmp_path / "0003/posterior.npz", allow_pickle=False) as kept:
        assert (kept["Tracer.analysis"] <= 1.3 * kept["Tracer.background"] + 1e-12).all()


def reanalysis_file(folder, run, lags=(HALF, WINDOW), **changes):
    states = [{"path": str(folder / "training/0"), "until": 3 * WINDOW}]
    given = {"states": states, "output": str(run / "analyses.vtkhdf"), "block": 2, "keep": ["analysis", "std"]}
    return case_file(folder, run, lags, reanalysis=given, **changes)


def contents(run):
    with Archive(run / "analyses.vtkhdf", COMM) as archive:
        return [archive.read(k) for k in range(len(archive))]


def test_a_reanalysis_takes_the_states_at_the_readings_own_times(folder, tmp_path, capsys):
    reanalyse(read_case(reanalysis_file(folder, tmp_path / "a"), needed=()), COMM)
    assert "of the analyses have 2 of 7 none of 4 s before, 3 of 7 none of 8 s before" in capsys.readouterr().out
    ended = python(2, "-m", "plugin.reanalysis", reanalysis_file(folder, tmp_path / "b", reanalysis__groups=1))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    plain = reanalysis_file(folder, tmp_path / "c", (HALF,))
    reanalyse(read_case(plain, needed=()), COMM)
    alone, together, less = (contents(tmp_path / name) for name in "abc")
    for one, two, three in zip(alone, together, less, strict=True):
        for name in one.fields:
            gap = np.abs(one[name].values - two[name].values).max()
            assert gap <= 1e-10 * max(1e-300, np.abs(one[name].values).max()), (one.time, name, gap)
        same = np.array_equal(one["Tracer"].values, three["Tracer"].values)
        assert same == (one.time <= WINDOW)  # a reading of 8 s before is there from 12 s on


def test_a_reanalysis_takes_later_readings_too(folder, tmp_path, capsys):
    reanalyse(read_case(reanalysis_file(folder, tmp_path / "a", (HALF, -HALF)), needed=()), COMM)
    said = capsys.readouterr().out
    # readings are of 4 to 24 s, states of 0 to 24 s: the last has none after it
    assert "1 of 7 none of 4 s after, 2 of 7 none of 4 s before" in said
    ended = python(
        2, "-m", "plugin.reanalysis", reanalysis_file(folder, tmp_path / "b", (HALF, -HALF), reanalysis__groups=1)
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    reanalyse(read_case(reanalysis_file(folder, tmp_path / "c", (HALF,)), needed=()), COMM)
    alone, together, less = (contents(tmp_path / name) for name in "abc")
    for one, two, three in zip(alone, together, less, strict=True):
        for name in one.fields:
            gap = np.abs(one[name].values - two[name].values).max()
            assert gap <= 1e-10 * max(1e-300, np.abs(one[name].values).max()), (one.time, name, gap)
        # the first state has later readings alone
        same = np.array_equal(one["Tracer"].values, three["Tracer"].values)
        assert same == (one.time == 3 * WINDOW)


def test_a_cycle_has_no_later_readings(folder, tmp_path):
    with pytest.raises(ConfigurationError, match="observations.lagged.lags: -4 s, that is after the analysis"):
        read_case(case_file(folder, tmp_path, (-HALF, HALF)))


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"lags": [3.0]}, "observations.lagged.lags: background.snapshots: 0 of 27 snapshots have others of their run "
         "3 s before them, expected two or more; snapshots of a run are 4 s apart; give lags that are multiples of"),
        ({"lags": [12.0]}, "observations.lagged.lags: 12 s is longer than a window of 8 s and no multiple of it"),
        ({"lags": [4.0, 4.0]}, "lags 4, 4, expected each once and none of zero"),
        ({"background__transform": "local", "background__local": {"size": 20.0}},
         "observations.window: lagged goes with background.transform: tsvd or reduced"),
        ({"tolerance": 3.0}, "tolerance is 3 s, but lags are 4 s apart; give half of that at most"),
        ({"quality": {"thinning": {"method": "superob"}}}, "thinning's method: superob does not go with window"),
    ],
)  # fmt: skip
def test_what_does_not_go_with_it_is_refused(folder, tmp_path, changes, sentence):
    with pytest.raises(ConfigurationError) as error:
        run_cycle(read_case(case_file(folder, tmp_path, **changes)), COMM)
    assert sentence in str(error.value)


def test_the_section_and_the_word_go_together(folder, tmp_path):
    for given in ({"window": "lagged"}, {"lagged": {"lags": [4.0]}}):
        path = write_settings(tmp_path / "case.yml", folder, tmp_path, observations={"file": "a.csv", **given})
        with pytest.raises(ConfigurationError, match="window: lagged needs the section lagged, and only it has one"):
            read_case(path)


def test_speeds_are_refused(folder, tmp_path):
    rows = (folder / "often.csv").read_text() + "8.0,12,22,3,Velocity.speed,0.5,0.1,cup\n"
    (tmp_path / "speeds.csv").write_text(rows)
    given = {"file": str(tmp_path / "speeds.csv"), "window": "lagged", "lagged": {"lags": LAGS}}
    path = write_settings(tmp_path / "case.yml", folder, tmp_path / "run", observations=given)
    with pytest.raises(
        ConfigurationError, match="observations.window: lagged takes values of the variables, and .* has"
    ):
        run_cycle(read_case(path), COMM)
