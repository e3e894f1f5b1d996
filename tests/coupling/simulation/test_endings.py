"""The end of a program's logs, as an error message shows it."""

import re

import pytest

from coupling.simulation.endings import end_of_logs, launcher_advice

PATTERNS = ("fluidity.err-*", "fluidity.log-*", "launch.log")
ROOT_REFUSED = "mpirun has detected an attempt to run as root.\nRunning as root is *strongly* discouraged"
NO_SLOTS = "There are not enough slots available in the system to satisfy the 64\nslots that were requested"


def test_the_log_of_errors_goes_first_and_empty_ones_do_not_count(tmp_path):
    (tmp_path / "fluidity.err-0").write_text("warning\n")
    (tmp_path / "fluidity.err-1").write_text("*** ERROR ***\nsingular\n")
    (tmp_path / "fluidity.log-0").write_text("ERROR in a log that holds other things, too\n")
    shown = end_of_logs(tmp_path, PATTERNS, "fluidity.err")
    assert shown == f"\n  end of {tmp_path}/fluidity.err-1:\n    *** ERROR ***\n    singular"
    for path in tmp_path.iterdir():
        path.write_text("")
    assert end_of_logs(tmp_path, PATTERNS, "fluidity.err") == f"; its logs in {tmp_path} are empty"


def test_what_every_run_writes_is_left_out(tmp_path):
    usual = re.compile(r"^hello .*\n?", re.MULTILINE)
    (tmp_path / "fluidity.err-0").write_text("hello 1\nhello 2\n")
    (tmp_path / "launch.log").write_text("killed\nhello 3\n")
    shown = end_of_logs(tmp_path, PATTERNS, "fluidity.err", usual)
    assert shown == f"\n  end of {tmp_path}/launch.log:\n    killed"


def test_one_line_of_a_gigabyte_is_cut(tmp_path):
    with open(tmp_path / "launch.log", "wb") as log:
        log.truncate(1 << 30)
    shown = end_of_logs(tmp_path, PATTERNS, "fluidity.err")
    assert len(shown) < 5000 and r"\x00" in shown and "\x00" not in shown


def test_control_characters_are_written_out(tmp_path):
    (tmp_path / "launch.log").write_text("\x1b[2J\x1b]0;title\x07cleared\n")
    assert end_of_logs(tmp_path, PATTERNS, "fluidity.err").endswith(r"    \x1b[2J\x1b]0;title\x07cleared")


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (ROOT_REFUSED, "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"),
        (ROOT_REFUSED.replace("mpirun", "prterun"), "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"),
        (NO_SLOTS, "OMPI_MCA_rmaps_base_oversubscribe=1"),
        (NO_SLOTS, "--map-by :OVERSUBSCRIBE"),
    ],
)
def test_a_launcher_that_refuses_is_told_how_to_be_content(tmp_path, words, advice):
    (tmp_path / "launch.log").write_text(words)
    assert advice in end_of_logs(tmp_path, PATTERNS, "fluidity.err").splitlines()[-1]
    assert launcher_advice("Segmentation fault") == ""
