"""The model's own settings as its driver sees them: what would break a cycle, and a copy with changes that help."""

from collections.abc import Iterator
from pathlib import Path

from coupling.simulation.advice import Plan
from plugin.case.configuration import ConfigurationError, CycleCase
from plugin.case.observations import ANALYSIS_TIME
from plugin.check.case.files import CaseFiles
from plugin.check.finding import OK, Finding

_NAME = "model's options"


def plan_of_cycle(case: CycleCase) -> Plan:
    """What a case's cycle asks of the model."""
    of, window = case.observations, case.cycle.window
    dumped = of.window != ANALYSIS_TIME
    within = dumped and not (of.lagged and min(of.lagged.lags) >= window)
    return Plan(window, tuple(case.variables), dumped, of.window if within else "", case.grid.space == "mesh")


def model_settings(files: CaseFiles, fix: Path | None) -> Iterator[Finding]:
    """Findings about the settings that a case starts from.

    fix : file to write a copy to with the changes that help; None writes none
    """
    start, simulation = files.case.model.start, files.simulation
    remarks = simulation.remarks(start, plan_of_cycle(files.case))
    yield from (Finding(of.level, _NAME, of.text, of.advice) for of in remarks)
    changes = [change for of in remarks for change in of.changes]
    if fix is None:
        return
    if simulation.write_fixed is None:
        raise ConfigurationError(f"--fix {fix}: {simulation.name} has no copies with changes; make them by hand")
    if not changes:
        yield Finding(OK, "--fix", "nothing to change; no file was written")
        return
    simulation.write_fixed(start, changes, fix)
    text = f"{fix} has {len(changes)} change{'s' if len(changes) != 1 else ''}"
    yield Finding(OK, "--fix", text, f"name it in model.start: {fix}")
