"""Unknown numbers of the model: what their priors mean, and whether the model's options have a place for them."""

from collections.abc import Iterator

from coupling.simulation.parameters import PARAMETERS
from da.ensemble.prior import quantile
from plugin.check.case.files import CaseFiles
from plugin.check.finding import FAIL, OK, WARN, Finding
from plugin.ensemble.parameters import Parameters, target_problem, unread

_NAME = "parameters"


def parameters(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the case's parameters; none where it has none."""
    unknown = files.parameters
    if len(unknown) == 0:
        return
    silent = unread(unknown, files.restart, files.simulation)
    for name, section in unknown.sections.items():
        if problem := target_problem(unknown, name, files.restart, files.simulation):
            yield Finding(FAIL, _NAME, problem)
            continue
        text = f"{_meaning(unknown, name)}; to {section.to.option or PARAMETERS}"
        if name in silent:
            text += f", which nothing in {files.restart.path.name} reads by this name"
            yield Finding(WARN, _NAME, text, silent[name])
        else:
            yield Finding(OK, _NAME, text)


def _meaning(unknown: Parameters, name: str) -> str:
    """A prior in words."""
    row = unknown.rows(name)[0]
    prior = unknown.priors[row]
    low, middle, high = (quantile(prior, part) for part in (0.025, 0.5, 0.975))
    text = f"{name}: {middle:.4g}, between {low:.4g} and {high:.4g} in 19 of 20 cases"
    if (times := unknown.times.get(name)) is not None:
        text += f", at {len(times)} times from {times[0]:g} to {times[-1]:g} s"
    return text
