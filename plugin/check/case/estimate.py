"""What an estimate of the case's parameters would cost."""

from collections.abc import Iterator

from plugin.check.case.files import CaseFiles
from plugin.check.finding import OK, WARN, Finding

_NAME = "estimate"


def estimate(files: CaseFiles) -> Iterator[Finding]:
    """Findings about `plugin.estimate`; none where the case has no parameters, or does not speak of it."""
    case = files.case
    if not case.parameters or case.ensemble is None or "estimate" not in case.model_fields_set:
        return
    iterations = case.estimate.iterations + case.estimate.rerun
    members, unknown = case.ensemble.members, len(files.parameters)
    runs, period = iterations * members, case.cycle.windows * case.cycle.window
    text = f"{iterations} × {members} = {runs} model runs of {period:g} s"
    if members <= unknown:
        advice = f"more members than the {unknown} values that are unknown; twice as many, better"
        yield Finding(WARN, _NAME, f"{text}; {members} members for {unknown} values", advice)
    else:
        yield Finding(OK, _NAME, text)
