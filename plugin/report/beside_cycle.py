"""The report beside a cycle: a process of its own, so that the cycle goes on whatever happens to it."""

import sys
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.text import last_lines
from coupling.simulation.launch import Ended, ModelError, launch, package_environment

_LIMIT = 300.0  # s
_LOG = "report.log"
_LINES = 100  # of the log that are searched for the error


def report_beside_cycle(run: Path, comm: MPI.Comm) -> str:
    """Have a run's report written, and wait for it. Collective.

    Parameters
    ----------
    run : folder of the run
    comm : of the cycle; the process that writes the report is none of its ranks

    Returns
    -------
    "", or a line that says why there is no report; RUN/report.log has the details
    """
    log = run / _LOG
    try:
        on_rank_0(lambda: log.unlink(missing_ok=True), comm)
        command = [sys.executable, "-m", "plugin.report", str(run)]
        ended = launch(command, run, comm, _LIMIT, package_environment(), _LOG)
        return on_rank_0(lambda: _warning(ended, log), comm)
    except (ModelError, OSError) as error:
        return f"warning: the report could not be written: {error}"


def report_is_current(run: Path) -> bool:
    """Whether a run's page is younger than the last line of its ledger. Not collective."""
    page, ledger = run / "report.html", run / "ledger.jsonl"
    return page.is_file() and page.stat().st_mtime_ns >= ledger.stat().st_mtime_ns


def _warning(ended: Ended, log: Path) -> str:
    if ended.code == 0:
        log.unlink()
        return ""
    why = f"was stopped {ended.stopped}" if ended.stopped else f"ended with exit code {ended.code}"
    return f"warning: the report {why}; {_reason(log)} (in full: {log})"


def _reason(log: Path) -> str:
    """The report's own error line, or else its last line: MPI's daemon may still write after the error."""
    lines = last_lines(log, _LINES)
    return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1] if lines else "no output")
