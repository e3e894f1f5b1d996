"""A model that fails from an analysis: the job ends, or the window is tried once more from less of the increment."""

import numpy as np
import pytest
from comparison import at_corners
from crash_case import case_settings, cycled, left_by, make_case, write_case_file
from cycle_case import analysis, forecast

from plugin.run.ledger import read_ledger


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """The case of the crashes; its model fails once in window 2."""
    folder = make_case(tmp_path_factory.mktemp("recovery") / "case")
    (folder / "fail").touch()
    return folder


def cycle(case, folder, *words, on_failure, **how):
    settings = case_settings(case, folder / "run")
    settings["model"]["on_failure"] = on_failure
    return cycled(write_case_file(folder / "case.yml", settings), *words, **how)


@pytest.mark.parametrize(("on_failure", "part"), [("background", 0.0), ("half", 0.5)])
def test_it_goes_on_from_less_of_the_increment(case, tmp_path, on_failure, part):
    ended = cycle(case, tmp_path, on_failure=on_failure)
    assert ended.code == 0, ended
    assert "the model ended with exit code 7; once more from " in ended.said
    run = tmp_path / "run"
    assert "cannot bear it" in (run / "0002/failed/launch.log").read_text()
    before, after, began = (
        at_corners(state["Tracer"]) for state in (forecast(run, 1), analysis(run, 1), forecast(run, 2))
    )
    assert np.abs(after - before).max() > 1e-3
    np.testing.assert_array_equal(began, before if part == 0.0 else 0.5 * (before + after))
    entries = read_ledger(run / "ledger.jsonl")
    assert [entry.get("recovery") for entry in entries] == [
        None,
        {"from": on_failure, "problem": "the model ended with exit code 7"},
        None,
    ]


def test_stopped_meanwhile_it_does_the_same_again(case, tmp_path):
    assert cycle(case, tmp_path / "whole", on_failure="half").code == 0
    assert cycle(case, tmp_path, on_failure="half", fault="kill:folder written:5").code == -9
    assert (tmp_path / "run/0002/failed").is_dir()
    assert cycle(case, tmp_path, "--resume", on_failure="half").code == 0
    assert left_by(tmp_path / "run") == left_by(tmp_path / "whole/run")


def test_it_stops_unless_it_is_told_otherwise_and_that_may_change_at_a_resume(case, tmp_path):
    ended = cycle(case, tmp_path, on_failure="stop")
    assert ended.code == 3 and ended.said.count("error: the model ended with exit code 7") == 1, ended
    assert cycle(case, tmp_path, "--resume", on_failure="background").code == 0


def test_where_there_was_no_increment_there_is_no_other_try(case, tmp_path):
    settings = case_settings(case, tmp_path / "run")
    settings["model"] |= {"on_failure": "half", "program": ["sh", "-c", "exit 7"]}
    ended = cycled(write_case_file(tmp_path / "case.yml", settings))
    assert ended.code == 3 and "once more" not in ended.said, ended
