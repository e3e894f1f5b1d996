"""What a Fluidity options file (.flml) says about a cycle: options that would break it, and the changes that help.

The cycle sets name, end and one checkpoint at the end of each forecast in its own copy. The options that it leaves
alone are looked at here.
"""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lxml import etree

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.named_files import field_elements, model_fields
from coupling.simulation.advice import FAIL, OK, WARN, Plan, Remark


@dataclass(frozen=True)
class Change:
    """One option to set, without a value where `value` is True, or to remove where it is None.

    path : as Fluidity writes it, without the first slash
    """

    path: str
    value: str | float | bool | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"remove /{self.path}"
        return f"set /{self.path}" if self.value is True else f"set /{self.path} to {self.value}"

    def make(self, tree: etree._ElementTree) -> None:
        """Change a tree of options."""
        if self.value is None:
            flml.remove_option(tree, self.path)
        elif self.value is True:
            flml.set_flag(tree, self.path)
        else:
            flml.set_option(tree, self.path, self.value)


def remarks(start: Path, plan: Plan) -> list[Remark]:
    """What the options that a cycle starts from say; FileError if they cannot be read."""
    return remarks_on(flml.read_options(start), plan)


def remarks_on(tree: etree._ElementTree, plan: Plan) -> list[Remark]:
    """As `remarks`, of a tree of options."""
    own = Remark(OK, "the cycle sets name, end and the checkpoint at the end in its own copy")
    of_plan = *_dumps(plan, tree), *_fields(plan, tree), *_steps(plan, tree)
    return [own, *_endings(tree), *_solvers(tree), *_meshes(tree), *of_plan]


def _meshes(tree: etree._ElementTree) -> Iterator[Remark]:
    for mesh in tree.getroot().findall("geometry/mesh"):
        extruded = mesh.find("from_mesh/extrude")
        if extruded is not None and extruded.find("checkpoint_from_file") is None and [*field_elements(tree)]:
            name = mesh.get("name")
            text = (
                f"{name} is extruded anew at each start, so that its nodes cannot be compared with those of the fields"
            )
            yield Remark(WARN, text, "take a checkpoint as the model wrote it: it has the extruded mesh as a file")


def _endings(tree: etree._ElementTree) -> Iterator[Remark]:
    root = tree.getroot()
    for path, level, what in (
        ("timestepping/final_timestep", FAIL, "ends the model after a number of steps, before a window's end"),
        ("timestepping/steady_state", FAIL, "ends the model once it changes little"),
        (
            "timestepping/wall_time_limit",
            WARN,
            "may end the model early; model.timeout of the case file would report it",
        ),
    ):
        if root.find(path) is not None:
            yield _with_change(level, f"/{path} {what}", Change(path))


def _dumps(plan: Plan, tree: etree._ElementTree) -> Iterator[Remark]:
    form = flml.option(tree, "io/dump_format", str)
    if form != "vtk":
        yield _with_change(
            FAIL, f"/io/dump_format is {form!r}; the cycle reads VTU files", Change("io/dump_format", "vtk")
        )
    window, period = plan.window, flml.dump_period(tree)
    if not plan.within or period is None:
        return  # nothing is read within a window
    if period.seconds is None:
        text = f"/{period.option} is a Python function, which is not looked at: several dumps per window are needed"
        yield Remark(OK, text)
    elif period.seconds > window / 2:
        step = flml.option(tree, "timestepping/timestep", float) or 0.0
        fewer: float | int = max(window / 4, step)
        every = f"{period.seconds:g} s"
        if period.timesteps is not None:
            fewer = max(round(window / 4 / step), 1)
            every += f" ({period.timesteps} time steps of {step:g} s)"
        text = f"dumps every {every} are few for readings within windows of {window:g} s ({plan.within})"
        yield _with_change(WARN, text, Change(f"{period.option}/constant", fewer))


def _solvers(tree: etree._ElementTree) -> Iterator[Remark]:
    for path in flml.ignored_solver_failures(tree):
        solver, _, _ = path.rpartition("/")
        never = f"{solver}/never_ignore_solver_failures"
        text = f"/{path}: a solver may fail, and the forecast looks like a good one"
        advice = f"set /{never} instead; --fix OUT.flml writes a copy with this change"
        yield Remark(WARN, text, advice, (Change(path), Change(never, True)))


def _fields(plan: Plan, tree: etree._ElementTree) -> Iterator[Remark]:
    fields = dict(model_fields(tree))
    for name in dict.fromkeys(_field_of(variable, fields) for variable in plan.variables):
        if name not in fields:
            text = f"variable {name!r} is no field of the model; it has {', '.join(sorted(fields))}"
            yield Remark(FAIL, text, "correct `variables` in the case file")
        elif fields[name].find("prognostic") is None:
            text = f"{name} is not prognostic: the model would not continue from its analysis"
            yield Remark(FAIL, text, "remove it from `variables`")
        elif (left_out := fields[name].find("prognostic/exclude_from_checkpointing")) is not None:
            text = f"{name} is left out of checkpoints, which analyses are made of and written to"
            yield _with_change(FAIL, text, Change(tree.getpath(left_out).removeprefix("/fluidity_options/")))
        elif plan.dumped and fields[name].find(".//output/exclude_from_vtu") is not None:
            path = tree.getpath(fields[name].find(".//output/exclude_from_vtu")).removeprefix("/fluidity_options/")
            text = f"{name} is left out of dumps, which readings within windows are compared with"
            yield _with_change(FAIL, text, Change(path))


def _steps(plan: Plan, tree: etree._ElementTree) -> Iterator[Remark]:
    step, window = flml.option(tree, "timestepping/timestep", float), plan.window
    if tree.getroot().find("timestepping/adaptive_timestep") is not None:
        yield Remark(OK, "time steps are adaptive: windows end with the step that reaches their end")
    elif step is None:
        yield Remark(FAIL, "/timestepping/timestep is not set")
    elif step > window:
        yield Remark(FAIL, f"a time step is {step:g} s, a window {window:g} s", "make cycle.window longer")
    elif abs(window / step - round(window / step)) > 1e-6:
        text = (
            f"a window of {window:g} s is no whole number of time steps of {step:g} s: analyses are up to a step late"
        )
        yield Remark(WARN, text, f"cycle.window: {max(round(window / step), 1) * step:g}")
    else:
        yield Remark(OK, f"{round(window / step)} time steps of {step:g} s in a window")
    if tree.getroot().find("mesh_adaptivity") is not None and plan.fixed_mesh:
        text = "the model changes its mesh (/mesh_adaptivity), but grid.space: mesh needs a fixed one"
        yield Remark(FAIL, text, "use grid.spacing, or remove /mesh_adaptivity")


def _field_of(variable: str, fields: Container[str]) -> str:
    return variable if variable in fields else variable.rpartition(".")[0] or variable


def _with_change(level: str, text: str, change: Change) -> Remark:
    return Remark(level, text, f"{change}; --fix OUT.flml writes a copy with this change", (change,))


def write_fixed(start: Path, changes: Iterable[Change], path: Path) -> None:
    """Write a copy of a start's options with changes made.

    Raises
    ------
    FileError
        if the copy would overwrite a file, or lie where the files that its options name are not found
    """
    if path.exists():
        raise FileError(f"--fix {path}: is there already; name a new file")
    if path.resolve().parent != start.resolve().parent:
        raise FileError(f"--fix {path}: the options name files beside them; choose a name in {start.parent}")
    tree = flml.read_options(start)
    for change in changes:
        change.make(tree)
    flml.write_options(tree, path)
