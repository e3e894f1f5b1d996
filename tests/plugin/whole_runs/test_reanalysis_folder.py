"""Analyses as a folder of archives, which no rank has to join."""

import shutil

import numpy as np
import pytest
from cycle_case import make_case, write_settings
from mpi4py import MPI

from coupling.archive.series import open_series
from plugin import reanalysis
from plugin.case.configuration import ConfigurationError, read_case
from plugin.case.sections import SeriesSection
from plugin.reanalysis import reanalyse
from plugin.window.background.of_case import close_all, plan_of

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("folder") / "case")


def case_of(folder, run, output):
    states = [{"path": str(folder / "training/0"), "until": 24}]
    given = {"states": states, "output": str(run / output), "block": 3}
    return read_case(write_settings(run / "case.yml", folder, run / "run", reanalysis=given), needed=())


def states_of(path):
    with open_series(path, COMM) as series:
        return [series.read(k, ["Tracer"]) for k in range(len(series))]


def test_same_states_as_in_one_archive_and_a_stop_between_moves_loses_none(folder, tmp_path, monkeypatch):
    reanalyse(case_of(folder, tmp_path / "one", "analyses.vtkhdf"), COMM)
    case, moved = case_of(folder, tmp_path / "many", "analyses"), []
    move = shutil.move

    def stopped(*words):
        if len(moved) == 1:
            raise KeyboardInterrupt
        moved.append(move(*words))

    monkeypatch.setattr(reanalysis.shutil, "move", stopped)
    with pytest.raises(KeyboardInterrupt):
        reanalyse(case, COMM)
    monkeypatch.setattr(reanalysis.shutil, "move", move)
    reanalyse(case, COMM, resume=True)
    archives = sorted((tmp_path / "many/analyses").iterdir())
    assert [path.name for path in archives] == ["000000.vtkhdf", "000003.vtkhdf", "000006.vtkhdf"]
    found = [state for path in archives for state in states_of(path)]
    expected = states_of(tmp_path / "one/analyses.vtkhdf")
    assert [state.time for state in found] == [state.time for state in expected] and len(found) == 7
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one["Tracer"].values, other["Tracer"].values)
    plan = plan_of([SeriesSection(path=tmp_path / "many/analyses/*.vtkhdf")], COMM)  # as another case names them
    assert len(plan) == 7
    close_all(plan)
    assert not (tmp_path / "many/run/reanalysis").exists()
    with pytest.raises(ConfigurationError, match="there is a reanalysis already"):
        reanalyse(case, COMM)
