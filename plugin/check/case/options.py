"""The model's options file (.flml): what in it would spoil a cycle, and the change that would not.

The name, the end and one checkpoint at the end of each forecast are set by the cycle in its own copy. What it leaves
alone is looked at here.
"""

from dataclasses import dataclass
from pathlib import Path

from coupling.fluidity import options as flml
from plugin.case.configuration import ConfigurationError
from plugin.case.observations import ANALYSIS_TIME
from plugin.check.finding import FAIL, OK, WARN, Finding

_PERIOD = "io/dump_period/constant"
_NAME = "model's options"


@dataclass(frozen=True)
class Change:
    """One option to set, or to remove where `value` is None; `path` as Fluidity writes it."""

    path: str
    value: object = None

    def __str__(self):
        return f"remove /{self.path}" if self.value is None else f"set /{self.path} to {self.value}"

    def make(self, tree):
        """Change a tree of options."""
        if self.value is None:
            flml.remove_option(tree, self.path)
        else:
            flml.set_option(tree, self.path, self.value)


def options(case, tree):
    """[(Finding, changes)] about the options that a case starts from; changes is a tuple of Change.

    Parameters
    ----------
    case : Case
    tree : as from `coupling.fluidity.options.read_options`
    """
    made = [*_endings(tree), *_dumps(case, tree), *_fields(case, tree), *_steps(case, tree)]
    own = Finding(OK, _NAME, "name, end and the checkpoint at the end are set by the cycle in its own copy")
    return [(own, ()), *made]


def _endings(tree):
    root = tree.getroot()
    for path, level, what in (
        ("timestepping/final_timestep", FAIL, "ends the model after a number of steps, before a window's end"),
        ("timestepping/steady_state", FAIL, "ends the model once it changes little"),
        ("timestepping/wall_time_limit", WARN, "may end the model early; model.timeout of the case file tells of it"),
    ):
        if root.find(path) is not None:
            yield _with_change(level, f"/{path} {what}", Change(path))


def _dumps(case, tree):
    form = flml.option(tree, "io/dump_format", str)
    if form != "vtk":
        yield _with_change(
            FAIL, f"/io/dump_format is {form!r}; the cycle reads VTU files", Change("io/dump_format", "vtk")
        )
    window = case.cycle.window
    period, step = flml.option(tree, _PERIOD, float), flml.option(tree, "timestepping/timestep", float)
    if case.observations.window != ANALYSIS_TIME and period is not None and period > window / 2:
        change = Change(_PERIOD, max(window / 4, step or 0.0))
        told = (
            f"dumps every {period:g} s are few for readings within windows of {window:g} s ({case.observations.window})"
        )
        yield _with_change(WARN, told, change)


def _fields(case, tree):
    found = {
        field.get("name"): field for field in tree.getroot().iterfind("material_phase//*[@name]") if _is_field(field)
    }
    for name in dict.fromkeys(_field_of(variable, found) for variable in case.variables):
        if name not in found:
            told = f"variable {name!r} is no field of the model's; there are {', '.join(sorted(found))}"
            yield Finding(FAIL, _NAME, told, "correct `variables` in the case file"), ()
        elif found[name].find("prognostic") is None:
            told = f"{name} is not prognostic: the model would not go on from its analysis"
            yield Finding(FAIL, _NAME, told, "leave it out of `variables`"), ()
        elif case.observations.window != ANALYSIS_TIME and found[name].find(".//output/exclude_from_vtu") is not None:
            path = tree.getpath(found[name].find(".//output/exclude_from_vtu")).removeprefix("/fluidity_options/")
            told = f"{name} is left out of dumps, which readings within windows are compared with"
            yield _with_change(FAIL, told, Change(path))


def _steps(case, tree):
    step, window = flml.option(tree, "timestepping/timestep", float), case.cycle.window
    if tree.getroot().find("timestepping/adaptive_timestep") is not None:
        yield Finding(OK, _NAME, "time steps are adaptive: windows end with the step that reaches their end"), ()
    elif step is None:
        yield Finding(FAIL, _NAME, "/timestepping/timestep is not set"), ()
    elif step > window:
        yield Finding(FAIL, _NAME, f"a time step is {step:g} s, a window {window:g} s", "make cycle.window longer"), ()
    elif abs(window / step - round(window / step)) > 1e-6:
        told = (
            f"a window of {window:g} s is no whole number of time steps of {step:g} s: analyses come up to a step late"
        )
        yield Finding(WARN, _NAME, told, f"cycle.window: {max(round(window / step), 1) * step:g}"), ()
    else:
        yield Finding(OK, _NAME, f"{round(window / step)} time steps of {step:g} s in a window"), ()
    if tree.getroot().find("mesh_adaptivity") is not None and case.grid.space == "mesh":
        told = "the model changes its mesh (/mesh_adaptivity), and grid.space: mesh is for one that stays"
        yield Finding(FAIL, _NAME, told, "take grid.spacing, or remove /mesh_adaptivity"), ()


def _is_field(element):
    return element.tag in ("scalar_field", "vector_field", "tensor_field")


def _field_of(variable, fields):
    return variable if variable in fields else variable.rpartition(".")[0] or variable


def _with_change(level, told, change):
    return Finding(level, _NAME, told, f"{change}; --fix OUT.flml writes a copy with it"), (change,)


def write_fixed(case, changes, path):
    """Write a copy of a case's options with changes made.

    Raises
    ------
    ConfigurationError
        if the copy would take the place of a file, or not find those that its options name
    """
    start, path = case.model.start, Path(path)
    if path.exists():
        raise ConfigurationError(f"--fix {path}: is there already; name a new file")
    if path.resolve().parent != start.resolve().parent:
        raise ConfigurationError(f"--fix {path}: the options name files beside them; choose a name in {start.parent}")
    tree = flml.read_options(start)
    for change in changes:
        change.make(tree)
    flml.write_options(tree, path)
