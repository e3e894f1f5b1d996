"""The commands without a model on OpenFOAM's case folders: archives, reanalyses, experiments. No OpenFOAM is needed."""

import csv
import shutil

import numpy as np
import pytest
import yaml
from mpi4py import MPI
from openfoam import small_case

from coupling.archive import Archive
from coupling.openfoam.checkpoint import open_restart, read_fields, write_restart
from plugin.archive import main as archive
from plugin.case.configuration import ConfigurationError
from plugin.case.sections import SeriesSection
from plugin.experiment.__main__ import main as experiment
from plugin.reanalysis import main as reanalysis
from plugin.window.background.of_case import plan_of
from plugin.window.background.snapshots import fingerprint, open_states

COMM = MPI.COMM_SELF
RUNS, TIMES = 3, 6


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Folder with RUNS case folders of TIMES times each, whose tracers are random waves, and an archive of each."""
    folder, rng = tmp_path_factory.mktemp("states"), np.random.default_rng(3)
    start = open_restart(small_case(folder / "case"))
    tracer = read_fields(start, COMM, ["T"])["T"]
    place = tracer.mesh.centroids / 40.0
    waves = np.sin(place @ rng.normal(size=(3, 5)) + 6.0 * rng.random(5))
    for run in range(RUNS):
        case = small_case(folder / f"runs/{run}")
        for time in ("0", "2"):
            shutil.rmtree(case / time)
        for number in range(TIMES):
            changes = {"T": tracer.replaced(2.0 + waves @ rng.standard_normal(5))}
            written = write_restart(start, folder / f"written-{run}-{number}", COMM, changes)
            shutil.copytree(written.case / "2", case / f"{2 + number}")
        assert archive(["pack", str(folder / f"{run}.vtkhdf"), str(case)], COMM) == 0
    return folder


def test_an_archive_has_the_bits_of_the_case(states):
    with open_states(states / "runs/1", COMM) as case, Archive(states / "1.vtkhdf", COMM) as packed:
        np.testing.assert_array_equal(case.times, packed.times)
        for step in range(TIMES):
            one, other = case.read(step), packed.read(step)
            assert one.fields.keys() == other.fields.keys()
            for name in one.fields:
                np.testing.assert_array_equal(one[name].values, other[name].values)
            assert one["T"].mesh.fingerprint == other["T"].mesh.fingerprint


def test_each_case_of_a_pattern_is_a_series_of_its_own(states):
    plan = plan_of([SeriesSection(path=states / "runs/*", **{"from": 3.0})], COMM)
    assert len({id(series) for series, _ in plan}) == RUNS
    times = [float(series.times[step]) for series, step in plan]
    assert times == RUNS * [3.0, 4.0, 5.0, 6.0, 7.0]
    before = fingerprint(plan, times)
    assert fingerprint(plan, times) == before != fingerprint(plan[1:], times[1:])
    file = states / "runs/2/7/T"
    data = file.read_bytes()
    try:
        file.write_bytes(data + b"\n")
        assert fingerprint(plan, times) != before
    finally:
        file.write_bytes(data)


def test_the_times_of_two_runs_are_no_one_series(states):
    with pytest.raises(ValueError, match="both have the time 2 s"):
        open_states([states / "runs/0", states / "runs/1"], COMM)


def write_case(folder, path, **more):
    """A case file around earlier states, with the sections given. Returns its path."""
    case = {
        "grid": {"spacing": [12.0, 12.0, 10.0]},
        "variables": ["T"],
        "background": {"snapshots": [{"path": str(path)}], "truncation": 4},
        "run": str(folder / "run"),
        **more,
    }
    folder.mkdir(exist_ok=True)
    (folder / "case.yml").write_text(yaml.safe_dump(case))
    return folder / "case.yml"


def test_a_reanalysis_of_case_folders_is_that_of_their_archives(states, tmp_path):
    rows = [("time", "x", "y", "z", "variable", "value", "error")]
    rows += [(t, x, 60.0, 5.0, "T", 2.5, 0.1) for t in (4.0, 6.0) for x in (20.0, 90.0, 110.0)]
    with open(tmp_path / "readings.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    results = []
    for name, one, all_of in (("cases", "runs/0", "runs/*"), ("archives", "0.vtkhdf", "?.vtkhdf")):
        output = tmp_path / f"{name}.vtkhdf"
        of = {"states": [{"path": str(states / one)}], "output": str(output)}
        file = write_case(
            tmp_path / name, states / all_of, reanalysis=of, observations={"file": str(tmp_path / "readings.csv")}
        )
        assert reanalysis([str(file)], COMM) == 0
        with Archive(output, COMM) as analyses:
            results.append([analyses.read(step)["T"].values for step in range(TIMES)])
    np.testing.assert_array_equal(*results)
    with open_states(states / "runs/0", COMM) as before:
        moved = [np.abs(of - before.read(step)["T"].values).max() for step, of in enumerate(results[0])]
    assert [change > 0.01 for change in moved] == [False, False, True, False, True, False]


def test_experiments_read_case_folders(states, tmp_path):
    more = {"experiment": {"truncations": [1, 2, 4], "observations": [1.0], "output": str(tmp_path / "results")}}
    assert experiment(["truncation", str(write_case(tmp_path / "case", states / "runs/*", **more))], COMM) == 0
    with open(tmp_path / "results/truncation-1.csv", newline="") as file:
        errors = [float(row["error"]) for row in csv.DictReader(file)]
    assert errors[0] > 0.5 and errors[-1] < 1e-4  # five waves are five modes


def test_a_folder_that_is_neither_is_told(tmp_path):
    with pytest.raises((ConfigurationError, ValueError), match="no dumps|there are no"):
        plan_of([SeriesSection(path=tmp_path)], COMM)
