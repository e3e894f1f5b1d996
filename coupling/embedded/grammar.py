"""The options of Fluidity that the embedded model knows; all others are refused, with their path.

`READ` names the options that are used. `ELSEWHERE` marks those that cannot alter an answer of this
model, though they alter Fluidity's: solver settings, statistics, output of detectors and the like.
They, and all options below them, are ignored.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lxml import etree

from coupling.common.files import FileError

ELSEWHERE = None  # known, ignored with all that is below

_REAL: dict[str, dict] = {"real_value": {}}
_INTEGER: dict[str, dict] = {"integer_value": {}}
_STRING: dict[str, dict] = {"string_value": {}}
_VALUE = {"constant": _REAL, "python": _STRING}
_INITIAL = {**_VALUE, "from_file": {"format": {}}}
_OUTPUT: dict[str, dict] = {"exclude_from_vtu": {}}
_SURFACES = {"surface_ids": _INTEGER}

_IN_NO_ANSWER = dict.fromkeys(
    ("stat", "convergence", "detectors", "particles", "steady_state", "consistent_interpolation", "galerkin_projection")
)
_PRESCRIBED_SCALAR = {"value": _VALUE, "output": _OUTPUT, **_IN_NO_ANSWER}
_DIFFUSIVITY = {"value": {"isotropic": {"constant": _REAL}}, "output": _OUTPUT, **_IN_NO_ANSWER}

_TRACER = {
    "mesh": {},
    "equation": {},
    "spatial_discretisation": {
        "continuous_galerkin": {"advection_terms": {}, "mass_terms": {}},
        "conservative_advection": _REAL,
    },
    "temporal_discretisation": {"theta": _REAL},
    "solver": ELSEWHERE,
    "initial_condition": _INITIAL,
    "boundary_conditions": {**_SURFACES, "type": _VALUE},
    "tensor_field": {"prescribed": _DIFFUSIVITY},
    "scalar_field": {"prescribed": _PRESCRIBED_SCALAR},
    "output": _OUTPUT,
    **_IN_NO_ANSWER,
}
_COMPONENTS = {f"{axis}_component": _VALUE for axis in "xyz"}
_VELOCITY = {
    "mesh": {},
    "embedded_relaxation_time": _REAL,
    "solver": ELSEWHERE,
    "initial_condition": _INITIAL,
    "boundary_conditions": {**_SURFACES, "type": {"align_bc_with_cartesian": _COMPONENTS}},
    "output": _OUTPUT,
    **_IN_NO_ANSWER,
}

READ = {
    "simulation_name": _STRING,
    "problem_type": _STRING,
    "geometry": {
        "dimension": _INTEGER,
        "mesh": {
            "from_file": {"format": {}, "stat": ELSEWHERE},
            "from_mesh": {"mesh": {}, "stat": ELSEWHERE},
        },
        "quadrature": ELSEWHERE,
    },
    "io": {
        "dump_format": _STRING,
        "dump_period": {"constant": _REAL},
        "output_mesh": {},
        "disable_dump_at_start": {},
        "disable_dump_at_end": {},
        "checkpointing": {"checkpoint_period_in_dumps": _INTEGER, "checkpoint_at_start": {}, "checkpoint_at_end": {}},
        "stat": ELSEWHERE,
        "convergence": ELSEWHERE,
        "detectors": ELSEWHERE,
        "log_output": ELSEWHERE,
    },
    "timestepping": {
        "current_time": _REAL,
        "timestep": _REAL,
        "finish_time": _REAL,
        "nonlinear_iterations": _INTEGER,
    },
    "physical_parameters": {},
    "material_phase": {
        "vector_field": {"prognostic": _VELOCITY},
        "scalar_field": {"prognostic": _TRACER},
    },
}


def option_path(element: etree._Element) -> str:
    """An element's path as Fluidity writes it, e.g. /material_phase::Air/scalar_field::Tracer/prognostic."""
    steps = []
    while element.getparent() is not None:
        name = element.get("name")
        steps.append(element.tag if name is None else f"{element.tag}::{name}")
        element = element.getparent()
    return "/" + "/".join(reversed(steps))


def check_known(root: etree._Element, path: str | Path, known: Mapping[str, Any] = READ) -> None:
    """Refuse the first element of an options tree that is not in the grammar.

    Raises
    ------
    FileError
        naming the option and what is known in its place
    """
    for element in root.iterchildren("*"):
        if element.tag not in known:
            raise FileError(
                f"{path}: the embedded model does not know option {option_path(element)};"
                f" below {option_path(root)} it knows {', '.join(sorted(known)) or 'nothing'}."
                " Remove it, or run the case with Fluidity"
            )
        if known[element.tag] is not ELSEWHERE:
            check_known(element, path, known[element.tag])
