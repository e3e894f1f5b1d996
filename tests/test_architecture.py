"""The rule of the rooms: who may import whom, no circles, no networks or files where the mathematics is.

A room is a folder right in one of the four packages, with all below it; the modules right in `plugin` are what a person
starts, those right in `da` are whole analyses.
"""

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("plugin", "coupling", "da", "models")
SHARED = "coupling.common"  # what every room may import

# The arrows that are allowed between a package's own rooms, from above to below; a room not named imports SHARED alone.
ARROWS = {
    "coupling": {"archive", "fluidity", "geometry", "simulation"},
    "coupling.archive": {"geometry", "vtk"},
    "coupling.common": set(),
    "coupling.embedded": {"fluidity", "vtk"},
    "coupling.fluidity": {"archive", "geometry", "simulation", "vtk"},
    "coupling.geometry": set(),
    "coupling.openfoam": {"geometry", "simulation"},
    "coupling.simulation": {"geometry"},
    "coupling.vtk": {"geometry"},
    "da": {"background", "minimisation", "observation"},
    "da.background": {"observation"},
    "da.diagnostics": {"", "background", "minimisation", "observation"},
    "da.ensemble": {"background", "diagnostics", "minimisation", "observation"},
    "da.minimisation": {"background", "observation"},
    "da.observation": set(),
    "da.window": {"", "background", "diagnostics", "ensemble", "minimisation", "observation"},
    "models": {"layers", "names", "zoo"},
    "models.compression": {"layers", "zoo"},
    "models.dynamics": {"", "names"},
    "models.layers": {"names"},
    "models.names": set(),
    "models.training": {"", "layers", "names", "zoo"},
    "models.zoo": {"layers", "names"},
    "plugin": {"case", "ensemble", "readings", "report", "run", "state", "training", "window"},
    "plugin.case": set(),
    "plugin.readings": {"case"},
    "plugin.run": {"case", "readings", "state"},
    "plugin.state": {"case"},
    "plugin.window": {"case", "readings", "run", "state"},
    "plugin.ensemble": {"case", "readings", "run", "state", "window"},
    "plugin.training": {"case", "readings", "run", "state", "window"},
    "plugin.verify": {"case", "run", "state", "window"},
    "plugin.tune": {"case", "readings", "run", "state", "window"},
    "plugin.check": {"case", "ensemble", "readings", "run", "state", "window"},
    "plugin.estimate": {"case", "ensemble", "readings", "run", "state", "window"},
    "plugin.experiment": {"case", "run", "state", "training", "window"},
    "plugin.report": {"case", "ensemble", "readings", "run", "state"},
}
FORBIDDEN = {
    "da": {"torch", "h5py", "vtk", "vtkmodules", "safetensors"},
    "coupling": {"torch", "safetensors"},
    "models": {"h5py", "vtk", "vtkmodules"},
}


def modules() -> dict[str, Path]:
    """{dotted name: file} of all our modules."""
    paths = [path.relative_to(ROOT) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in paths}


def imported(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of everything that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def room_of(path: Path) -> str:
    """The room that a module lies in; the modules right in a package are of one room."""
    return ".".join(path.parent.parts[:2])


def imports() -> Iterator[tuple[str, str, int]]:
    """(module, module of ours that it imports, line)."""
    known = modules()
    for module, path in known.items():
        for line, name in imported(ROOT / path):
            target = next((n for n in (name, name.rpartition(".")[0]) if n in known), None)
            if target is not None and target != module:
                yield module, target, line


def arrows() -> Iterator[tuple[str, str, str]]:
    """(place, room that imports, room imported) of every import from one room of ours to another."""
    known = modules()
    for module, target, line in imports():
        here, there = room_of(known[module]), room_of(known[target])
        if here != there:
            yield f"{known[module]}, line {line}", here, there


def circles(edges: Iterable[tuple[str, str]]) -> list[str]:
    """The nodes of a graph from which its edges lead back to them."""
    below: dict[str, set[str]] = {}
    for here, there in edges:
        below.setdefault(here, set()).add(there)

    def reached(node: str) -> set[str]:
        nodes: set[str] = set()
        waiting = [node]
        while waiting:
            new = below.get(waiting.pop(), set()) - nodes
            nodes |= new
            waiting += new
        return nodes

    return sorted(node for node in below if node in reached(node))


def allowed(here: str, there: str) -> bool:
    package, _, _ = here.partition(".")
    target, _, below = there.partition(".")
    if there == SHARED:
        return True
    if target != package:
        return package == "plugin"
    return any(below == to or below.startswith(f"{to}.") for to in ARROWS[here] if to) or (
        below == "" and "" in ARROWS[here]
    )


def test_arrows_are_allowed():
    wrong = [f"{place}: {here} imports {there}" for place, here, there in arrows() if not allowed(here, there)]
    assert not wrong, "\n".join(wrong)


def test_the_plugin_knows_simulations_by_their_bundle_alone():
    own = ("coupling.fluidity.", "coupling.openfoam.", "coupling.embedded.", "plugin.run.learned.")
    knows = {
        module
        for module, target, _ in imports()
        if module.startswith("plugin.") and not module.startswith(own) and target.startswith(own)
    }
    assert knows == {"plugin.run.drivers"}


def test_no_circles_between_rooms():
    assert not circles((here, there) for _, here, there in arrows())


def test_no_circles_between_modules():
    assert not circles((module, target) for module, target, _ in imports())


def test_circles_are_seen():
    assert circles([("a", "b"), ("b", "c"), ("c", "b")]) == ["b", "c"]


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_stay_apart(package):
    forbidden = {"examples", "benchmarks", "tests"} | FORBIDDEN.get(package, set())
    wrong = [
        f"{path}, line {line}: imports {name}"
        for module, path in modules().items()
        if module.partition(".")[0] == package
        for line, name in imported(ROOT / path)
        if name.partition(".")[0] in forbidden
    ]
    assert not wrong, "\n".join(wrong)


def test_a_room_says_what_it_is_for():
    rooms = {path.parent for path in modules().values()}
    missing = [
        str(room)
        for room in sorted(rooms)
        if not ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text()))
    ]
    assert not missing


def test_a_listing_is_a_table_of_contents():
    entries: dict[Path, set[str]] = {}
    for path in modules().values():
        entries.setdefault(path.parent, set()).add(path.stem)
        if path.parent.parent != Path("."):
            entries.setdefault(path.parent.parent, set()).add(path.parent.name)
    long = {str(room): len(names - {"__init__", "__main__"}) for room, names in entries.items()}
    assert not {room: n for room, n in long.items() if n > 20}


def test_files_are_short():
    long = [str(path) for path in modules().values() if len((ROOT / path).read_text().splitlines()) > 400]
    assert not long


def test_imports_are_seen(tmp_path):
    path = tmp_path / "module.py"
    path.write_text("import da.modes as m\nfrom plugin.job import run_job\ndef f():\n    import coupling, os\n")
    assert list(imported(path)) == [(1, "da.modes"), (2, "plugin.job.run_job"), (4, "coupling"), (4, "os")]
    assert allowed("da.minimisation", "da.observation") and not allowed("da.observation", "da.minimisation")
    assert allowed("da", SHARED) and not allowed("da", "coupling.vtk") and not allowed("models", "da")
    assert allowed("plugin.window", "da.background") and not allowed("plugin.run", "plugin.window")
