"""The report beside a cycle: a process of its own, so that whatever befalls it the cycle goes on."""

import sys

from coupling.common.collective import on_rank_0
from coupling.simulation.launch import ModelError, launch, package_environment

_LIMIT = 300.0  # s
_LOG = "report.log"


def report_of(run, comm):
    """Make a run's report, and wait for it. Collective.

    Parameters
    ----------
    run : folder of the run
    comm : MPI communicator; the report is made by a process that is none of its ranks

    Returns
    -------
    "", or a line that says why there is no report; RUN/report.log tells more
    """
    log = run / _LOG
    try:
        on_rank_0(lambda: log.unlink(missing_ok=True), comm)
        command = [sys.executable, "-m", "plugin.report", str(run)]
        ended = launch(command, run, comm, _LIMIT, package_environment(), _LOG)
        return on_rank_0(lambda: _told(ended, log), comm)
    except (ModelError, OSError) as error:
        return f"warning: the report could not be made: {error}"


def _told(ended, log):
    if ended.code == 0:
        log.unlink()
        return ""
    last = log.read_text(errors="replace").strip().splitlines()[-1:]
    why = f"was stopped {ended.stopped}" if ended.stopped else f"ended with exit code {ended.code}"
    return f"warning: the report {why}; {' '.join(last)} (all of it: {log})"
