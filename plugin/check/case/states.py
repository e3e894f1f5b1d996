"""Earlier states: whether background errors can be learnt from them."""

from plugin.check.finding import FAIL, OK, WARN, Finding

_FEW = 20


def states(subject):
    """Findings about the states that `background.snapshots` names."""
    case, plan = subject.case, subject.plan
    times = sorted(float(series.times[step]) for series, step in plan)
    told = f"{len(plan)} from {times[0]:g} to {times[-1]:g} s"
    modes = case.background.truncation
    if len(plan) < 2:
        yield Finding(FAIL, "earlier states", told, "name more of them: errors are learnt from differences of states")
    elif modes is not None and modes >= 1 and modes > len(plan) - 1:
        yield Finding(
            FAIL,
            "earlier states",
            f"{told} give at most {len(plan) - 1} modes, {modes} are asked for",
            "lower truncation",
        )
    elif len(plan) < _FEW:
        yield Finding(
            WARN,
            "earlier states",
            f"{told} are few",
            "analyses can only be combinations of them; tens to hundreds serve better",
        )
    else:
        yield Finding(OK, "earlier states", told)
    yield _period(subject, times)


def _period(subject, times):
    begins = subject.restart.time
    ends = begins + subject.case.cycle.windows * subject.case.cycle.window
    told = f"the run goes from {begins:g} to {ends:g} s, the earlier states from {times[0]:g} to {times[-1]:g} s"
    if times[0] < ends and times[-1] > begins:
        hint = "right where they are of other runs; states of what is to be forecast would flatter it"
        return Finding(OK, "period", told, hint)
    return Finding(OK, "period", told)


def same_mesh(subject):
    """Findings about the mesh of the earlier states and that of the model's start."""
    here, there = subject.state, subject.earlier
    different = [
        n for n, of in here.fields.items() if n in there.fields and of.mesh.fingerprint != there[n].mesh.fingerprint
    ]
    if not different:
        yield Finding(OK, "mesh", "earlier states lie on the mesh of the start")
    elif subject.case.grid.space == "mesh":
        told = f"{different[0]} of the start is on another mesh, or in other pieces, than the earlier states"
        yield Finding(FAIL, "mesh", told, "with grid.space: mesh they must be the same; take grid.spacing")
    else:
        yield Finding(OK, "mesh", "earlier states lie on another mesh, or in other pieces; the grid stands between")
