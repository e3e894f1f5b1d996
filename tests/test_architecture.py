"""The rule of the rooms: plugin imports the others; they import neither it nor each other, but for coupling.common."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("plugin", "coupling", "da", "models")
COMMON = "coupling.common"


def imported(path):
    """(line, name) of every module or package that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def may_import(room, name):
    """Whether a room may import a module."""
    package = name.partition(".")[0]
    if package in ("examples", "benchmarks", "tests"):
        return False
    return room in ("plugin", package) or package not in ROOMS or f"{name}.".startswith(f"{COMMON}.")


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_import_what_they_may(room):
    modules = sorted((ROOT / room).rglob("*.py"))
    assert modules
    wrong = [
        f"{path.relative_to(ROOT)}, line {line}: imports {name}"
        for path in modules
        for line, name in imported(path)
        if not may_import(room, name)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_common_room_imports_no_other():
    for path in sorted((ROOT / "coupling/common").glob("*.py")):
        for line, name in imported(path):
            assert name.partition(".")[0] not in ROOMS or name.startswith(f"{COMMON}."), f"{path}, line {line}: {name}"


def test_all_imports_are_listed(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import da.modes as m\nfrom plugin.run import job, lock\nif x:\n    import coupling, os\n")
    names = [(1, "da.modes"), (2, "plugin.run.job"), (2, "plugin.run.lock"), (4, "coupling"), (4, "os")]
    assert list(imported(path)) == names


def test_only_the_common_room_is_open_to_all():
    assert may_import("da", "coupling.common.files.FileError") and may_import("models", "coupling.common")
    assert not may_import("da", "coupling.commonplace") and not may_import("models", "coupling.geometry.mesh")
    assert may_import("plugin", "coupling.geometry.mesh") and may_import("coupling", "coupling.vtk")
    assert not may_import("plugin", "tests.support")
