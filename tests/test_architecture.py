"""The rule of the rooms: plugin imports the others; they import neither it nor each other."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("plugin", "coupling", "da", "models")


def imported(path):
    """(line, first part of the name) of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.lineno, node.module.partition(".")[0]
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name.partition(".")[0]) for alias in node.names)


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_they_may(room):
    forbidden = {"examples", "benchmarks", "tests"} | (set() if room == "plugin" else set(ROOMS) - {room})
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}, line {line}: imports {name}"
        for path in modules
        for line, name in imported(path)
        if name in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_are_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import da.background.modes as m\nfrom plugin.run.job import run_job\ndef f():\n    import coupling, os\n")
    assert list(imported(path)) == [(1, "da"), (2, "plugin"), (4, "coupling"), (4, "os")]
