"""Earlier states: whether background errors can be estimated from them."""

from collections.abc import Iterator, Sequence

from plugin.case.configuration import CycleCase
from plugin.check.case.files import CaseFiles
from plugin.check.finding import FAIL, OK, WARN, Finding
from plugin.ensemble.setting import method_of

_FEW = 20
_MEMBERS_ALONE = ("etkf", "letkf", "4denvar")  # methods whose background errors are the members' differences


def states(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the states that `background.snapshots` names."""
    if not files.case.background.snapshots:
        yield Finding(OK, "earlier states", "none are named; the members start alike")
        return
    case, plan = files.case, files.plan
    times = sorted(float(series.times[step]) for series, step in plan)
    text = f"{len(plan)} from {times[0]:g} to {times[-1]:g} s"
    modes = case.background.truncation
    if len(plan) < 2:
        yield Finding(
            FAIL, "earlier states", text, "name more: background errors are estimated from differences between states"
        )
    elif modes is not None and modes >= 1 and modes > len(plan) - 1:
        yield Finding(
            FAIL,
            "earlier states",
            f"{text} give at most {len(plan) - 1} modes, {modes} are asked for",
            "reduce truncation",
        )
    elif len(plan) < _FEW and _for_the_unit_alone(case):
        yield Finding(OK, "earlier states", f"{text}, for the variables' units alone: errors are the members' own")
    elif len(plan) < _FEW:
        yield Finding(
            WARN,
            "earlier states",
            f"{text} are few",
            "an analysis can only combine these states; tens to hundreds are better",
        )
    else:
        yield Finding(OK, "earlier states", text)
    yield _period(files, times)


def _for_the_unit_alone(case: CycleCase) -> bool:
    """Whether members neither begin nor are analysed with the earlier states' differences."""
    begins_alike = case.ensemble is not None and case.ensemble.start.source == "restart"
    return begins_alike and method_of(case) in _MEMBERS_ALONE


def _period(files: CaseFiles, times: Sequence[float]) -> Finding:
    begins = files.restart.time
    ends = begins + files.case.cycle.windows * files.case.cycle.window
    text = f"the run goes from {begins:g} to {ends:g} s, the earlier states from {times[0]:g} to {times[-1]:g} s"
    if times[0] < ends and times[-1] > begins:
        hint = "fine if they come from other runs; states of the period to forecast would make it look too good"
        return Finding(OK, "period", text, hint)
    return Finding(OK, "period", text)


def same_mesh(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the meshes of the earlier states and of the model's start."""
    here, there = files.state, files.earlier
    different = [
        name
        for name, field in here.fields.items()
        if name in there.fields and field.mesh.fingerprint != there[name].mesh.fingerprint
    ]
    if not different:
        yield Finding(OK, "mesh", "earlier states lie on the mesh of the start")
    elif files.case.grid.space == "mesh":
        text = f"{different[0]} at the start is on another mesh, or in other pieces, than the earlier states"
        yield Finding(FAIL, "mesh", text, "grid.space: mesh needs the same mesh and pieces; use grid.spacing")
    else:
        yield Finding(OK, "mesh", "earlier states lie on another mesh, or in other pieces; the grid connects them")
