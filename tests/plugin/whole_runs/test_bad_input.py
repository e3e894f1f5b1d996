"""What is wrong with what a cycle is given is told in one message, with exit code 2, before anything is written.

The table of docs/bad-input.md is this one; a test holds them together.
"""

import re
import shutil

import bad_files  # noqa: F401 registers its cases
import bad_settings  # noqa: F401 registers its cases
import pytest
from bad_input import CASES, text_of
from cycle_case import files, make_case, settings
from mpi4py import MPI
from places import ROOT

from plugin.cycle import main
from plugin.run.job import BAD_INPUT, run_job

COMM = MPI.COMM_SELF
DOCUMENT = ROOT / "docs/bad-input.md"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound case, made once: a few seconds."""
    folder = make_case(tmp_path_factory.mktemp("sound"))
    for name in ("truth", "start-2", *(f"start-of-{k}" for k in (0, 1, 2, "truth"))):
        shutil.rmtree(folder / name)
    return folder


@pytest.fixture
def given(sound, tmp_path):
    """(folder, settings) of a copy that may be spoilt."""
    folder = tmp_path / "case"
    shutil.copytree(sound, folder)
    return folder, settings(folder, folder / "run")


def ended(folder, told, capsys, text=None):
    """(exit code, message) of a cycle."""
    case = folder / "case.yml"
    text = text_of(told) if text is None else text
    case.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = files(folder)
    with pytest.raises(SystemExit) as end:
        run_job(lambda: main([str(case)], COMM), COMM)
    after = files(folder)
    for name in list(after):
        if name.startswith("run/cache/"):  # interpolations between mesh and grid, which are right whatever is wrong
            del after[name]
    assert after == before, sorted(set(after) ^ set(before))
    return end.value.code, capsys.readouterr().err


def test_the_document_has_the_same_table():
    rows = dict(re.findall(r"^\| ([^|]+: [^|]+) \| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(rows) == list(CASES) and len(rows) >= 40
    for name, (_, pattern) in CASES.items():
        assert re.search(pattern, rows[name].replace("\\|", "|").replace("<br>", "\n"), re.DOTALL), name


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told(name, given, capsys):
    spoil, pattern = CASES[name]
    folder, told = given
    text = spoil(folder, told)
    if name == "case file: is not there":
        with pytest.raises(SystemExit) as end:
            run_job(lambda: main([str(folder / "none.yml")], COMM), COMM)
        code, message = end.value.code, capsys.readouterr().err
    else:
        code, message = ended(folder, told, capsys, text)
    assert code == BAD_INPUT, message
    assert message.startswith("error: ") and "Traceback" not in message, message
    assert re.search(pattern, message, re.DOTALL), message
