"""--resume: after a move, with a page that a kill left behind, and what is said where a restart is gone."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from crash_case import KILLED, WINDOWS, case_settings, cycled, hidden, left_by, make_case, reanalysed, write_case_file

from coupling.fluidity.checkpoint import FluidityRestart
from plugin.run.ledger import read_ledger
from plugin.window.refusals import wrong_step


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("resume") / "case")


def case_file(case, folder, **changes):
    """A case file in a folder, whose run is beside it."""
    return write_case_file(folder / "case.yml", case_settings(case, folder / "run", **changes))


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_run_folder_that_is_moved_or_copied_goes_on_to_the_same_end(case, tmp_path, how):
    whole = cycled(case_file(case, tmp_path / "whole"))
    assert whole.code == 0, whole
    assert cycled(case_file(case, tmp_path / "here"), fault="kill:window recorded:1").code == KILLED
    how(tmp_path / "here", tmp_path / "there")
    ended = cycled(case_file(case, tmp_path / "there"), "--resume")
    assert ended.code == 0, ended
    assert left_by(tmp_path / "there/run") == left_by(tmp_path / "whole/run")


def test_a_reanalysis_that_is_moved_goes_on(case, tmp_path):
    assert reanalysed(case_file(case, tmp_path / "here"), fault="kill:folder in place:1").code == KILLED
    shutil.move(tmp_path / "here", tmp_path / "there")
    ended = reanalysed(case_file(case, tmp_path / "there"), "--resume")
    assert ended.code == 0, ended
    assert hidden(tmp_path / "there/run") == []


def test_a_kill_before_the_last_report_leaves_no_stale_page_once_the_run_is_resumed(case, tmp_path):
    file = case_file(case, tmp_path, cycle__report=True)
    page = tmp_path / "run/report.html"
    assert cycled(file, fault=f"kill:window recorded:{WINDOWS}").code == KILLED
    assert f"Window {WINDOWS - 1} of {WINDOWS}" in page.read_text(encoding="utf-8")
    assert cycled(file, "--resume").code == 0
    assert f"Window {WINDOWS} of {WINDOWS}" in page.read_text(encoding="utf-8")
    written = page.stat().st_mtime_ns
    assert cycled(file, "--resume").code == 0
    assert page.stat().st_mtime_ns == written


def test_where_a_restart_is_gone_the_next_ones_that_are_whole_are_named(case, tmp_path):
    file = case_file(case, tmp_path, cycle__keep=2)
    assert cycled(file).code == 0
    ended = cycled(file, "--resume", "--after", 1)
    assert ended.code == 2 and "--after 0" not in ended.said, ended
    assert "--after 2 goes on after window 2, the first one after it whose restart is whole" in ended.said
    ended = cycled(file, "--resume", "--after", 2)
    assert ended.code == 0, ended


@pytest.mark.parametrize("step", ["nan", "0.0", "-2.0", "inf"])
def test_a_checkpoint_whose_time_step_is_no_positive_number_ends_no_window(case, tmp_path, step):
    model, sick = tmp_path / "model", tmp_path / "sick"
    lines = (case / "model").read_text()
    step_option = r's/\(<timestep><real_value rank="0">\)[^<]*/\1' + step + "/"
    spoil = f"case $PWD in */0002/*) sed -i '{step_option}' case_1_checkpoint.flml;; esac"
    model.write_text(f"{lines}if [ -e {sick} ]; then {spoil}; fi\n")
    model.chmod(0o755)
    sick.touch()
    file = case_file(case, tmp_path, model__program=[str(model)])
    ended = cycled(file)
    assert ended.code == 3 and re.search("step.* expected a (positive number|number above zero)", ended.said), ended
    assert len(read_ledger(tmp_path / "run/ledger.jsonl")) == 1
    sick.unlink()
    ended = cycled(file, "--resume")
    assert ended.code == 0, ended


@pytest.mark.parametrize(("time", "step"), [(8.0, np.nan), (8.0, 0.0), (8.0, -1.0), (8.0, np.inf), (np.nan, 2.0)])
def test_a_restart_of_any_driver_needs_a_time_and_a_positive_step(tmp_path, time, step):
    restart = FluidityRestart(tmp_path / "restart.flml", "case", time, step, {})
    assert "restart.flml: its time" in (wrong_step(restart) or "")
    assert wrong_step(replace(restart, time=8.0, timestep=2.0)) is None
