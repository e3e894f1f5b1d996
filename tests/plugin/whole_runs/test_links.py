"""A link in a run folder is never followed: what lies behind it is somebody else's."""

import os
import shutil

import pytest
from crash_case import case_settings, cycled, left_by, make_case, reanalysed, write_case_file

from coupling.fluidity.simulation import FLUIDITY
from plugin.run.ledger import LedgerError, append_entry, read_ledger
from plugin.run.retention import prune


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("links") / "case")


@pytest.fixture(scope="module")
def two_windows(case, tmp_path_factory):
    """A run that was stopped after two of its three windows."""
    folder = tmp_path_factory.mktemp("begun")
    path = write_case_file(folder / "case.yml", case_settings(case, folder / "run", cycle__windows=2))
    assert cycled(path).code == 0
    return folder / "run"


def elsewhere(folder):
    """Somebody else's files, of the kinds that a run changes and removes."""
    folder.mkdir()
    for name in ("a.vtu", "b.msh", "manifest.json", "ledger.jsonl"):
        (folder / name).write_text("somebody else's\n")
    return folder


def content(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize(
    "name",
    ["0001", "0001/forecast", "0001/analysis", "0001/readings.csv", "0002/analysis", "0003", ".0003.unfinished"]
    + ["ledger.jsonl", "case.json", "cache", "report.log", "report.html", "lock"],
)
def test_a_link_in_place_of_the_runs_own_is_refused_and_what_is_behind_it_stays(case, two_windows, tmp_path, name):
    run, other = tmp_path / "run", elsewhere(tmp_path / "elsewhere")
    shutil.copytree(two_windows, run)
    link = run / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.symlink_to(other / "ledger.jsonl" if "." in link.name[1:] and "unf" not in name or name == "lock" else other)
    before = content(other)
    path = write_case_file(tmp_path / "case.yml", case_settings(case, run, cycle__keep=3))
    ended = cycled(path, "--resume")
    assert ended.code == 2 and f"{name}: is a link" in ended.said and "Traceback" not in ended.said, ended
    assert content(other) == before and link.is_symlink()


def test_once_the_link_is_gone_the_run_goes_on(case, two_windows, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(two_windows, run)
    (run / "0003").symlink_to(elsewhere(tmp_path / "elsewhere"))
    path = write_case_file(tmp_path / "case.yml", case_settings(case, run))
    assert cycled(path, "--resume").code == 2
    (run / "0003").unlink()
    assert cycled(path, "--resume").code == 0
    assert len(left_by(run)[0]) == 3


def test_a_run_folder_that_is_itself_a_link_is_the_users_choice(case, tmp_path):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    path = write_case_file(tmp_path / "case.yml", case_settings(case, tmp_path / "run"))
    assert cycled(path).code == 0 and (tmp_path / "scratch/ledger.jsonl").is_file()


def test_retention_removes_nothing_behind_a_link_that_came_meanwhile(tmp_path):
    other = elsewhere(tmp_path / "elsewhere")
    (tmp_path / "run/0001").mkdir(parents=True)
    (tmp_path / "run/0001/forecast").symlink_to(other)
    (tmp_path / "run/0002").symlink_to(tmp_path)
    before = content(other)
    prune(tmp_path / "run", [1, 2], 5, FLUIDITY)
    assert content(other) == before


def test_a_ledger_that_is_a_link_is_neither_read_nor_written(tmp_path):
    other = elsewhere(tmp_path / "elsewhere")
    ledger = tmp_path / "ledger.jsonl"
    ledger.symlink_to(other / "ledger.jsonl")
    for work in (lambda: read_ledger(ledger), lambda: append_entry(ledger, {"window": 1})):
        with pytest.raises(LedgerError, match=r"ledger\.jsonl: is a link to"):
            work()
    assert (other / "ledger.jsonl").read_text() == "somebody else's\n"


@pytest.mark.parametrize("name", ["reanalysis", "reanalysis/000000", "reanalysis/000000/states.vtkhdf", "steps.csv"])
def test_a_reanalysis_follows_no_link(case, tmp_path, name):
    run, other = tmp_path / "run", elsewhere(tmp_path / "elsewhere")
    path = write_case_file(tmp_path / "case.yml", case_settings(case, run))
    assert reanalysed(path, fault="kill:folder in place:2").code == -9
    link = run / name
    if name == "reanalysis/000000/states.vtkhdf":
        link.unlink()
    else:
        shutil.rmtree(link, ignore_errors=True)
    link.symlink_to(other if "." not in name else other / "a.vtu")
    before = content(other)
    ended = reanalysed(path, "--resume")
    assert ended.code == 2 and f"{name}: is a link" in ended.said and "Traceback" not in ended.said, ended
    assert content(other) == before and os.path.islink(link)
