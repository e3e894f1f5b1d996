"""Which windows keep their states, and whether there is room for them."""

import shutil
from types import SimpleNamespace

import pytest

from coupling.common.text import counted
from coupling.fluidity.simulation import FLUIDITY
from plugin.case.configuration import ConfigurationError
from plugin.run.progress import bytes_in_words
from plugin.run.retention import disk_need, prune

KEPT_ALWAYS = {"readings.csv", "posterior.vtu", "forecast/launch.log", "forecast/case.stat", "analysis/restart.flml"}
STATES = {
    "forecast/case_1.pvtu",
    "forecast/case_1/case_1_0.vtu",
    "analysis/restart_Mesh_0.halo",
    "analysis/restart.msh",
}


@pytest.fixture
def run(tmp_path):
    """A run of six windows, each of 900 bytes."""
    for number in range(1, 7):
        for name in KEPT_ALWAYS | STATES:
            path = tmp_path / f"{number:04d}" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(100))
    return tmp_path


def there(run, number):
    folder = run / f"{number:04d}"
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    ("keep", "whole"), [(None, {1, 2, 3, 4, 5, 6}), (1, {1, 2, 3, 4, 5, 6}), (3, {3, 6}), (9, {6})]
)
def test_every_so_many_th_window_keeps_its_states_and_all_keep_what_is_small(run, keep, whole):
    for _ in range(2):  # it may have been done before
        prune(run, range(1, 6), keep, FLUIDITY)
        for number in range(1, 7):
            assert there(run, number) == (KEPT_ALWAYS | STATES if number in whole else KEPT_ALWAYS), number
    assert (run / "0001/forecast/case_1").is_dir() == (1 in whole)


def test_means_of_members_stay_and_their_starts_go(run):
    for name in ("0001/mean", "0001/members/01/analysis", "0000/members/01/analysis"):
        (run / name).mkdir(parents=True)
        (run / name / "piece_0.vtu").touch()
    prune(run, [0, 1], 5, FLUIDITY)
    assert [str(path.relative_to(run)) for path in run.glob("000[01]/**/piece_0.vtu")] == ["0001/mean/piece_0.vtu"]


def test_a_window_that_is_not_there_is_none_to_prune(run):
    shutil.rmtree(run / "0002")
    prune(run, [0, 2, 3], 5, FLUIDITY)
    assert there(run, 3) == KEPT_ALWAYS


@pytest.mark.parametrize(
    ("windows", "keep", "done", "kept"),
    [(10, None, 6, 4), (10, 1, 6, 4), (10, 5, 6, 1), (11, 5, 6, 2), (100, 20, 6, 5), (7, 5, 6, 1), (6, None, 6, 0)],
)
def test_the_need_is_told_by_the_last_window(run, windows, keep, done, kept):
    told = disk_need(run, (), done, SimpleNamespace(windows=windows, keep=keep))
    assert told.startswith(f"disk: {counted(kept, 'window')} to keep, 900 B each: {bytes_in_words(900 * kept)}; ")


def test_a_disk_that_is_too_small_is_told_before_it_is_full(run, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3599))
    with pytest.raises(ConfigurationError, match="too small: 4 windows to keep, 900 B each: 3.6 kB; .*key cycle.keep"):
        disk_need(run, (), 6, SimpleNamespace(windows=10, keep=None))
    assert "disk: 1 window to keep" in disk_need(run, (), 6, SimpleNamespace(windows=10, keep=5))


def test_before_the_first_window_the_files_of_the_start_tell_the_least(tmp_path, fluidity_data):
    from coupling.fluidity.checkpoint import open_restart, restart_files

    start = open_restart(fluidity_data / "parallel/mini_3_checkpoint.flml")
    files = restart_files(start)
    assert len(files) == len(set(files)) > 6 and any(path.suffix == ".halo" for path in files)
    told = disk_need(tmp_path, files, 0, SimpleNamespace(windows=2, keep=None))
    assert f"at least {bytes_in_words(2 * sum(path.stat().st_size for path in files))} each" in told
