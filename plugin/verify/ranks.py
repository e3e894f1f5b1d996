"""Whether a case comes out the same on any number of ranks: everything anew on one of them, and compared.

Rank 0 alone reads the states, makes modes, interpolations and the analysis again. Where all snapshots are too
many for one rank, both sides take fewer of them.
"""

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.text import end_of_file, last_lines
from coupling.simulation.endings import launcher_advice
from coupling.simulation.launch import ModelError, launch, launcher_words, package_environment
from da.analysis import analyse
from da.diagnostics.checks import OperatorCheck, relative_gap
from plugin.case.configuration import CycleCase
from plugin.window.observations.operator import by_reading
from plugin.window.set_up import SetUp

NAME = "same on one rank and on all"
_LIMIT = 1 << 30  # bytes of snapshots that rank 0 may hold alone
_TOLERANCE = {"float64": 1e-10, "float32": 1e-6}


def rank_check(
    case: CycleCase, of: SetUp, comm: MPI.Comm, set_up: Callable[[CycleCase, MPI.Comm], SetUp]
) -> OperatorCheck:
    """Compare a set-up over the ranks with the same on rank 0 alone. Collective.

    Parameters
    ----------
    case : Case
    of : SetUp of the case on these ranks
    comm : MPI communicator
    set_up : function (case, comm) → SetUp

    Returns
    -------
    OperatorCheck of the largest gap of the state on the grid, the innovation and the increment
    """
    size = 8 * of.background.modes.n_samples * comm.allreduce(of.background.transfer.n_local)
    smaller = case if size <= _LIMIT else with_fewer_states(case, -(-size // _LIMIT))
    if smaller is not case:
        of = set_up(smaller, comm)
    everyone = _outcome(of, comm)
    names = ("state on the grid", "innovation", "increment")

    def compared():
        alone = _outcome(set_up(smaller, MPI.COMM_SELF), MPI.COMM_SELF)
        return [relative_gap(a, b, MPI.COMM_SELF) for a, b in zip(everyone, alone, strict=True)]

    gaps = on_rank_0(compared, comm)
    detail = f"{comm.size} ranks: " + ", ".join(f"{name} {gap:.1e}" for name, gap in zip(names, gaps, strict=True))
    if smaller is not case:
        detail += f"; {of.background.modes.n_samples} of the snapshots"
    return OperatorCheck(NAME, float(np.max(gaps)), _TOLERANCE[case.background.precision], detail)


def with_fewer_states(case: CycleCase, stride: int) -> CycleCase:
    """The same case with each stride-th of its states, all their anomalies as modes, and no file of modes."""
    settings = case.background
    thinned = [s.model_copy(update={"every": s.every * int(stride)}) for s in settings.snapshots]
    fewer = {"snapshots": thinned, "transform": "reduced", "truncation": None, "modes": None}
    return case.model_copy(update={"background": settings.model_copy(update=fewer)})


def _outcome(of, comm):
    """State on the grid and increment in units of the variables, innovation in those of the errors; whole."""
    transfer, transform = of.background.transfer, of.background.transform
    inverse = np.divide(1.0, transform.scale, out=np.zeros_like(transform.scale), where=transform.scale > 0.0)
    increment = analyse(transform, of.operator, of.error, of.innovation, comm).increment
    parts = inverse * transfer.to_grid(of.state), inverse * increment
    state, increment = (np.concatenate(comm.allgather(part)) for part in parts)
    innovation = by_reading(of.reading_operator, of.innovation, len(of.readings), comm, 0.0)
    return state, innovation / of.readings.error, increment


def started_on(ranks: int, path: Path, launcher: Sequence[str], comm: MPI.Comm) -> OperatorCheck:
    """Start `python -m plugin.verify --only-ranks` on so many ranks, from one. Collective.

    Parameters
    ----------
    ranks : how many
    path : the case file
    launcher : words before the program; `{n}` becomes `ranks`
    comm : MPI communicator of one rank

    Returns
    -------
    OperatorCheck; one that failed, with the last lines of what was printed, where it could not be run
    """
    with tempfile.TemporaryDirectory() as folder:
        kept, log = Path(folder) / "ranks.json", Path(folder) / "launch.log"
        program = [sys.executable, "-m", "plugin.verify", str(path), "--only-ranks", str(kept)]
        try:
            words = launcher_words(launcher, ranks) + program
            launch(words, folder, comm, None, package_environment())
        except ModelError as error:
            return OperatorCheck(NAME, float("nan"), 0.0, f"not run: {error}")
        if kept.is_file():
            return OperatorCheck(**json.loads(kept.read_text()))
        last = " | ".join(last_lines(log, 3)) + launcher_advice(end_of_file(log))
        return OperatorCheck(NAME, float("nan"), 0.0, f"the run on {ranks} ranks ended early: {last}")
