"""Options of the embedded model, from an options file (.flml).

The names are Fluidity's, the subset is in :mod:`coupling.embedded.grammar`. One option is our own:
`material_phase/vector_field::Velocity/prognostic/embedded_relaxation_time` [s], the time scale with
which the velocity relaxes to the mass-consistent wind; 20 s where it is not given.

How a Velocity boundary condition is understood:

- type `no_normal_flow`, or `dirichlet` with every component it gives the constant 0: the surface is
  impermeable and slips. (A single component must be the one along the surface's normal.)
- type `dirichlet` with any other value: inflow. It gives the first guess of the wind at *every* node, so
  there can be only one; components it does not give are zero. The surface itself is open.
- surfaces without a condition are open.

Without an inflow the wind is calm air.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree

from coupling.common.files import FileError
from coupling.embedded.functions import Constant, Function, compile_function
from coupling.embedded.grammar import check_known, option_path
from coupling.embedded.wind import Walls
from coupling.fluidity import options as flml

_RELAXATION_TIME = 20.0  # s


@dataclass(frozen=True)
class FromFile:
    """An initial condition that is read from a VTU or PVTU file."""

    name: str


Initial = Function | FromFile


@dataclass(frozen=True)
class VelocityOptions:
    """mesh: its name; initial: Constant, PythonFunction or FromFile; guess: one function per component,
    or None without inflow; walls: Walls; relaxation: s; ignore_failures, shown: bool."""

    mesh: str
    initial: Initial
    guess: tuple[Function, ...] | None
    walls: Walls
    relaxation: float
    ignore_failures: bool
    shown: bool


@dataclass(frozen=True)
class TracerOptions:
    """name, mesh: its names; initial: as for the velocity; dirichlet: ((surface ids, function), …);
    source: function or None; diffusivity: m²/s; ignore_failures: bool;
    shown: which of "", "Source", "Diffusivity" appear in dumps."""

    name: str
    mesh: str
    initial: Initial
    dirichlet: tuple[tuple[tuple[int, ...], Function], ...]
    source: Function | None
    diffusivity: float
    ignore_failures: bool
    shown: frozenset[str]


@dataclass(frozen=True)
class SimulationOptions:
    """All options of a run. Times in s; `tree` is the parsed file, for checkpoints to change."""

    path: Path
    tree: etree._ElementTree
    name: str
    coordinate_mesh: str
    mesh_file: str
    dump_period: float
    checkpoint_period: int | None
    flags: frozenset[str]
    time: float
    timestep: float
    finish: float
    velocity: VelocityOptions
    tracers: tuple[TracerOptions, ...]


def read_case(path: str | Path) -> SimulationOptions:
    """Read an options file.

    Raises
    ------
    FileError
        if it is broken, lacks an option that is needed or holds one that is not known
    FunctionError
        if Python in it does not compile
    """
    path = Path(path)
    tree = flml.read_options(path)
    root = tree.getroot()
    check_known(root, path)
    for known, option in ((("fluids",), "problem_type"), (("vtk",), "io/dump_format")):
        _one_of(flml.required(tree, option, str, path), known, option, path)
    _one_of(flml.required(tree, "geometry/dimension", int, path), (3,), "geometry/dimension", path)
    coordinate, file_name, meshes = _meshes(root, path)
    phases = root.findall("material_phase")
    if len(phases) != 1:
        raise FileError(f"{path}: {len(phases)} material phases, the embedded model knows one")
    velocity, tracers = _fields(phases[0], meshes, path)
    output = root.find("io/output_mesh")
    if output is not None:
        _one_of(output.get("name"), meshes, "io/output_mesh", path)
    flags = [f"disable_dump_at_{end}" for end in ("start", "end")]
    flags += [f"checkpointing/checkpoint_at_{end}" for end in ("start", "end")]
    return SimulationOptions(
        path,
        tree,
        flml.required(tree, "simulation_name", str, path),
        coordinate,
        file_name,
        _positive(flml.required(tree, "io/dump_period/constant", float, path), "io/dump_period/constant", path),
        flml.option(tree, "io/checkpointing/checkpoint_period_in_dumps", int, path),
        frozenset(flag.split("/")[-1] for flag in flags if root.find(f"io/{flag}") is not None),
        flml.required(tree, "timestepping/current_time", float, path),
        _positive(flml.required(tree, "timestepping/timestep", float, path), "timestepping/timestep", path),
        flml.required(tree, "timestepping/finish_time", float, path),
        velocity,
        tracers,
    )


def _one_of(value, known, option, path):
    if value not in known:
        raise FileError(f"{path}: {option} is {value!r}, the embedded model knows {', '.join(map(str, known))}")


def _positive(value, option, path):
    if not 0 < value < np.inf:
        raise FileError(f"{path}: {option} is {value:g}, expected a number above zero")
    return value


def _meshes(root, path):
    """(name of the mesh from file, name of its file, names of all meshes)."""
    files, names = {}, []
    for mesh in root.findall("geometry/mesh"):
        names.append(mesh.get("name"))
        for source in mesh.findall("from_file"):
            files[mesh.get("name")] = _attribute(source, "file_name", path)
            _format(source, "gmsh", path)
        for source in mesh.findall("from_mesh/mesh"):
            _one_of(source.get("name"), names, option_path(source), path)
    if len(files) != 1:
        raise FileError(f"{path}: {len(files)} meshes from_file, expected one")
    return *next(iter(files.items())), names


def _attribute(element, name, path):
    value = element.get(name)
    if not value:
        raise FileError(f"{path}: {option_path(element)} has no {name}")
    return value


def _format(element, known, path):
    given = element.find("format")
    _one_of(None if given is None else given.get("name"), (known,), f"{option_path(element)}/format", path)


def _fields(phase, meshes, path):
    vectors = phase.findall("vector_field")
    if [field.get("name") for field in vectors] != ["Velocity"]:
        raise FileError(f"{path}: vector fields {[v.get('name') for v in vectors]}, expected one: Velocity")
    for field in phase:
        if isinstance(field.tag, str) and field.find("prognostic") is None:
            raise FileError(f"{path}: {option_path(field)} is not prognostic")
    tracers = tuple(_tracer(field, meshes, path) for field in phase.findall("scalar_field"))
    names = [tracer.name for tracer in tracers]
    if len(set(names)) != len(names) or "Pressure" in names:
        raise FileError(
            f"{path}: scalar fields {names}; expected tracers, each name once, and no Pressure: none is solved for"
        )
    return _velocity(vectors[0], meshes, path), tracers


def _mesh_of(field, meshes, path):
    mesh = field.find("mesh")
    _one_of(None if mesh is None else mesh.get("name"), meshes, f"{option_path(field)}/mesh", path)
    return mesh.get("name")


def _value(element, size, path):
    """The function of an element that holds `constant` or `python`."""
    code = element.find("python/string_value")
    if code is not None:
        return compile_function(code.text or "", f"{path}: {option_path(element)}/python", size)
    text = element.findtext("constant/real_value")
    try:
        value = np.array((text or "").split(), dtype=np.float64)
    except ValueError:
        value = np.empty(0)
    if len(value) != size:
        raise FileError(f"{path}: {option_path(element)}/constant is {text!r}, expected {size} number(s), or python")
    return Constant(value)


def _initial(field, size, path):
    conditions = field.findall("initial_condition")
    if [c.get("name") for c in conditions] != ["WholeMesh"]:
        raise FileError(f"{path}: {option_path(field)} needs one initial_condition::WholeMesh")
    source = conditions[0].find("from_file")
    if source is None:
        return _value(conditions[0], size, path)
    _format(source, "vtu", path)
    return FromFile(_attribute(source, "file_name", path))


def _surfaces(condition, path):
    text = condition.findtext("surface_ids/integer_value") or ""
    if not text.split() or not all(word.isdigit() for word in text.split()):
        raise FileError(f"{path}: {option_path(condition)}/surface_ids is {text!r}, expected surface ids")
    return tuple(int(word) for word in text.split())


def _typed(condition, known, path):
    type_ = condition.find("type")
    _one_of(None if type_ is None else type_.get("name"), known, f"{option_path(condition)}/type", path)
    return type_


def _ignores_failures(field):
    return field.find("solver/ignore_all_solver_failures") is not None


def _shown(field):
    return field.find("output/exclude_from_vtu") is None


def _velocity(element, meshes, path):
    field = element.find("prognostic")
    directions: dict[int, tuple[int, ...]] = {}
    guess: tuple[Function, ...] | None = None
    inflow: tuple[int, ...] = ()
    for condition in field.findall("boundary_conditions"):
        surfaces = _surfaces(condition, path)
        values = _cartesian(_typed(condition, ("dirichlet", "no_normal_flow"), path), path)
        if all(value.is_zero for value in values.values()):
            for surface in surfaces:
                directions[surface] = tuple({*directions.get(surface, ()), *(values or (0, 1, 2))})
        elif guess is None:
            guess = tuple(values.get(axis, Constant(np.zeros(1))) for axis in range(3))
            inflow = surfaces
        else:
            raise FileError(
                f"{path}: {option_path(condition)} is a second inflow; the first guess of the wind comes from one"
            )
    both = sorted(set(inflow) & set(directions))
    if both:
        raise FileError(
            f"{path}: {option_path(field)}: surfaces {both} are inflow and impermeable; expected one of the two"
        )
    relaxation = field.findtext("embedded_relaxation_time/real_value")
    try:
        relaxation = _RELAXATION_TIME if relaxation is None else float(relaxation)
    except ValueError:
        relaxation = -1.0
    if not 0 <= relaxation < np.inf:
        raise FileError(f"{path}: {option_path(field)}/embedded_relaxation_time: expected seconds, zero or more")
    return VelocityOptions(
        _mesh_of(field, meshes, path),
        _initial(field, 3, path),
        guess,
        Walls(tuple(sorted(directions)), directions),
        relaxation,
        _ignores_failures(field),
        _shown(field),
    )


def _cartesian(type_, path):
    """{axis: function} of a Velocity condition; none for no_normal_flow, which stops any flow across."""
    if type_.get("name") == "no_normal_flow":
        return {}
    aligned = type_.find("align_bc_with_cartesian")
    parts = {} if aligned is None else {part.tag: part for part in aligned.iterchildren("*")}
    if not parts:
        raise FileError(
            f"{path}: {option_path(type_)} gives no component; expected align_bc_with_cartesian/x_component, …"
        )
    return {axis: _value(parts[f"{a}_component"], 1, path) for axis, a in enumerate("xyz") if f"{a}_component" in parts}


def _tracer(element, meshes, path):
    field, name = element.find("prognostic"), element.get("name")
    _checked_discretisation(field, path)
    dirichlet = []
    for condition in field.findall("boundary_conditions"):
        surfaces = _surfaces(condition, path)
        dirichlet.append((surfaces, _value(_typed(condition, ("dirichlet",), path), 1, path)))
    source = _prescribed(field, "scalar_field", "Source", path)
    tensor = _prescribed(field, "tensor_field", "Diffusivity", path)
    diffusivity = 0.0 if tensor is None else float(_value(tensor.find("prescribed/value/isotropic"), 1, path).value[0])
    if not 0 <= diffusivity < np.inf:
        raise FileError(f"{path}: {option_path(tensor)} is {diffusivity:g}, expected zero or more")
    shown = {"": _shown(field)}
    for what, below in (("Source", source), ("Diffusivity", tensor)):
        shown[what] = below is not None and _shown(below.find("prescribed"))
    return TracerOptions(
        name,
        _mesh_of(field, meshes, path),
        _initial(field, 1, path),
        tuple(dirichlet),
        None if source is None else _value(source.find("prescribed/value"), 1, path),
        diffusivity,
        _ignores_failures(field),
        frozenset(what for what, is_shown in shown.items() if is_shown),
    )


def _prescribed(field, kind, name, path):
    """The field of this kind and name below a tracer, which must have one value over the whole mesh."""
    fields = field.findall(kind)
    if not fields:
        return None
    if [f.get("name") for f in fields] != [name]:
        raise FileError(
            f"{path}: {option_path(field)} has {kind}s {[f.get('name') for f in fields]}, known is one: {name}"
        )
    values = fields[0].findall("prescribed/value")
    if [v.get("name") for v in values] != ["WholeMesh"]:
        raise FileError(f"{path}: {option_path(fields[0])} needs one prescribed/value::WholeMesh")
    if kind == "tensor_field" and values[0].find("isotropic") is None:
        raise FileError(f"{path}: {option_path(values[0])} needs isotropic/constant")
    return fields[0]


def _checked_discretisation(field, path):
    equation = field.find("equation")
    if equation is not None:
        _one_of(equation.get("name"), ("AdvectionDiffusion",), f"{option_path(field)}/equation", path)
    for option, values in (
        ("spatial_discretisation/conservative_advection", ("0", "0.0")),
        ("temporal_discretisation/theta", ("1", "1.0")),
    ):
        value = field.findtext(f"{option}/real_value")
        if value is not None:
            _one_of(value.strip(), values, f"{option_path(field)}/{option}", path)
