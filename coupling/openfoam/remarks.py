"""What a case of OpenFOAM says about a cycle: settings that would break it, and what OpenFOAM does without a word.

The driver sets start, end, writing and the order of tracers in its own copy. What it leaves alone is looked at here.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from coupling.openfoam.controls import Controls, controls_of, time_schemes
from coupling.openfoam.dictionary import read_dictionary, unpacked
from coupling.openfoam.edit import refusal
from coupling.openfoam.restart import OpenFoamRestart
from coupling.simulation.advice import FAIL, OK, WARN, Plan, Remark

# what OpenFOAM compiles, and what it gives to a shell
_COMPILED = re.compile(rb"#codeStream|#calc\b|\bcoded\w*\s*;|\bcodeInclude\b")
_SHELL = re.compile(rb"\bsystemCall\b")
# solvers for one fluid of one temperature, and what they carry on themselves; tracers are up to function objects
_ISOTHERMAL = {"icoFoam", "pisoFoam", "pimpleFoam", "pimpleDyMFoam", "nonNewtonianIcoFoam"}
_CARRIED = {"U", "p", "nut", "k", "epsilon", "omega", "nuTilda", "R", "phi", "kl", "kt", "v2", "f"}


def remarks_on(restart: OpenFoamRestart, plan: Plan) -> list[Remark]:
    """What a case that a cycle starts from says.

    Raises
    ------
    FileError
        if its settings cannot be read
    """
    controls = controls_of(restart.case)
    own = Remark(OK, "the driver sets start, end and writing in its own copy, and takes them away again")
    return [
        own,
        *_analysed(restart, controls, plan),
        *_in_time(restart, controls, plan),
        *_mesh(restart),
        *_code(restart),
    ]


def _analysed(restart: OpenFoamRestart, controls: Controls, plan: Plan) -> Iterator[Remark]:
    names = {name.partition(".")[0] for name in plan.variables}
    if problem := refusal(names):
        yield Remark(FAIL, problem)
    tracers = controls.tracer_names()
    for name in sorted(names & tracers):
        text = f"{name} is a tracer of scalarTransport, which the driver has read before and written after its step"
        if "CrankNicolson" in time_schemes(restart.case):
            text += "; with CrankNicolson OpenFOAM writes ddt0 of it one step late"
            yield Remark(WARN, text, f"each restart moves {name} by some per cent; take Euler or backward for it")
        else:
            yield Remark(OK, text)
    if restart.name in _ISOTHERMAL:
        for name in sorted(names - _CARRIED - tracers):
            text = f"{controls.path}: neither {restart.name} nor a function object scalarTransport carries {name} on"
            yield Remark(FAIL, text, f"add scalarTransport with field {name}, or do not analyse it")


def _in_time(restart: OpenFoamRestart, controls: Controls, plan: Plan) -> Iterator[Remark]:
    if "steadyState" in time_schemes(restart.case):
        text = f"{restart.case / 'system/fvSchemes'}: ddtSchemes is steadyState, so there is no forecast in time"
        yield Remark(FAIL, text, "take a transient solver and scheme, as pimpleFoam with Euler")
        return
    step, window = restart.timestep, plan.window
    run = controls.plan(0.0, window, step)
    if not run.adjusts and abs(run.end - window) > 1e-6 * window:
        text = f"deltaT of {step:g} s does not divide the window of {window:g} s: forecasts end at {run.end:g} s"
        yield Remark(WARN, text, "take a deltaT that divides it, or adjustTimeStep yes")
    if plan.within and run.interval > 0.6 * window:
        text = f"{controls.path}: times are written {run.interval:g} s apart, of a window of {window:g} s its ends only"
        yield Remark(WARN, text, f"observations.window: {plan.within} needs several; take a shorter writeInterval")


def _mesh(restart: OpenFoamRestart) -> Iterator[Remark]:
    path = restart.case / "constant/dynamicMeshDict"
    if path.is_file():
        kind = read_dictionary(path).text("dynamicFvMesh") or "staticFvMesh"
        if kind != "staticFvMesh":
            yield Remark(FAIL, f"{path}: {kind} moves or changes the mesh, which is not read here", "take staticFvMesh")


def _code(restart: OpenFoamRestart) -> Iterator[Remark]:
    """What in a case is a program; see SECURITY.md."""
    for path in sorted(_dictionaries(restart)):
        data = unpacked(path)
        if found := _COMPILED.search(data):
            word = found[0].decode().strip("; \n")
            text = f"{path}: OpenFOAM compiles code of it and runs that ({word})"
            if os.geteuid() == 0:
                yield Remark(FAIL, f"{text}, which it refuses to root", "start as another user, or take the code out")
            else:
                yield Remark(WARN, text, "take such a case from people only whose programs you would run; SECURITY.md")
        if _SHELL.search(data):
            text = f"{path}: OpenFOAM gives commands of it to a shell (systemCall)"
            yield Remark(WARN, text, "take such a case from people only whose programs you would run; SECURITY.md")


def reads(restart: OpenFoamRestart, name: str) -> bool:
    """Whether a dictionary of a case speaks of a file."""
    return any(name.encode() in unpacked(path) for path in _dictionaries(restart))


def _dictionaries(restart: OpenFoamRestart) -> Iterator[Path]:
    """The files of a case that OpenFOAM reads as dictionaries: settings, and the fields of its time."""
    for folder in (restart.case / "system", restart.case / "constant", restart.pieces[0] / restart.time_name):
        for inside, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if name not in ("polyMesh", "triSurface", "uniform")]
            yield from (Path(inside, name) for name in names)
