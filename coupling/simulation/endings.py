"""What every driver looks at when its program has ended: exit code, time, values, and the end of the logs.

Each check raises a :class:`~coupling.simulation.launch.ModelError` whose message ends with `logs`, the text that the
driver makes by :func:`end_of_logs`.
"""

import re
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.common.text import end_of_file, lines_of
from coupling.geometry.mesh import Field, MeshError, State
from coupling.simulation.forecast import Forecast, R
from coupling.simulation.launch import Ended, ModelError

_TAIL = 15  # lines of the model's log that an error shows
# Times this near, in time steps, are the same: a sum of steps drifts, and just short of its end a run makes one more
NEAR = 1e-3


def is_ahead(until: float, now: float, timestep: float) -> bool:
    """Whether a run from `now` until `until` has a step to make [s]."""
    return until - now > NEAR * timestep


def has_arrived(time: float, until: float, timestep: float) -> bool:
    """Whether a run that stopped at `time` made the first step that reaches `until`, and none beyond it [s]."""
    return until - NEAR * timestep <= time < until + timestep


def check_ended(ended: Ended, logs: Callable[[], str]) -> None:
    """ModelError if a program was stopped or ended with another exit code than 0."""
    if ended.stopped is not None:
        raise ModelError(f"the model was stopped {ended.stopped}{logs()}")
    if ended.code != 0:
        raise ModelError(f"the model ended with {exit_code_in_words(ended.code)}{logs()}")


def check_arrived(time: float, until: float, timestep: float, logs: Callable[[], str]) -> None:
    """ModelError if a run did not stop where it was to, see `has_arrived`."""
    if not has_arrived(time, until, timestep):
        raise ModelError(f"the model stopped at {time:g} s, {until:g} s was asked for{logs()}")


def check_finite(fields: Mapping[str, Field], comm: MPI.Comm, logs: Callable[[], str]) -> None:
    """ModelError on every rank if a value is not finite on one of them. Collective."""
    for name, field in fields.items():
        broken = comm.allreduce(int(np.size(field.values) - np.isfinite(field.values).sum()))
        if broken:
            raise ModelError(f"the model ended well but {broken} values of {name} are not finite{logs()}")


def forecast_left(
    ended: Ended,
    start: R,
    until: float,
    folder: Path,
    comm: MPI.Comm,
    last: Callable[[], tuple[R, float]],
    read: Callable[[R], Mapping[str, Field]],
    logs: Callable[[], str],
) -> Forecast[R]:
    """The forecast that a program left in `folder`, if it is a good one. Collective.

    Parameters
    ----------
    ended : how the program ended
    start : what it continued from
    until : s, where it was to arrive
    folder : of the run
    comm : MPI communicator
    last : called on rank 0 where the exit code is good: the restart at the end, and the exact time of it [s]
    read : called on every rank: the restart's fields
    logs : the end of an error's message

    Raises
    ------
    ModelError
        on every rank, see `ForecastModel.run`
    """
    arrived, problem = None, None
    if comm.rank == 0:
        try:
            check_ended(ended, logs)
            restart, time = arrived = last()
            check_arrived(time, until, max(start.timestep, restart.timestep), logs)
        except (ModelError, FileError) as error:
            problem = error
    try:
        raise_together(problem, comm)
        restart, time = comm.bcast(arrived)
        fields = read(restart)
    except (FileError, MeshError) as error:
        raise ModelError(f"the model ended well but what it left cannot be used: {error}{logs()}") from error
    check_finite(fields, comm, logs)
    return Forecast(restart, State(time, fields), folder, ended.seconds)


def exit_code_in_words(code: int) -> str:
    """An exit code in words; launchers and shells add 128 to the number of a signal."""
    number = -code if code < 0 else code - 128
    try:
        by = f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"exit code {code}"
    return by if code < 0 else f"exit code {code}, as after {by}"


def end_of_logs(folder: Path, patterns: Sequence[str], errors: str, usual: re.Pattern[str] | None = None) -> str:
    """The last lines of a program's log, to end an error message with.

    Parameters
    ----------
    folder : of the logs
    patterns : of the logs' names, the first to show first
    errors : beginning of the names of those that hold nothing but errors; one with the word ERROR in it goes before
        all others
    usual : what every run writes, and which says nothing of a failure; a log with nothing else counts as empty
    """
    first = None
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        text = end_of_file(path)
        if usual is not None:
            text = usual.sub("", text).rstrip()
        if text and "ERROR" in text and path.name.startswith(errors):
            first = path, text
            break
        first = first or ((path, text) if text else None)
    if first is None:
        return f"; its logs in {folder} are empty"
    path, text = first
    shown = "\n".join(f"    {line}" for line in lines_of(text, _TAIL))
    return f"\n  end of {path}:\n{shown}{launcher_advice(text)}"


_REFUSALS = (
    (
        "attempt to run as root",
        "Open MPI's mpirun does not run as root unless it is allowed to: "
        "export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1",
    ),
    (
        "not enough slots available",
        "more processes than cores: take fewer, or allow it: Open MPI 4 mpirun --oversubscribe, or "
        "export OMPI_MCA_rmaps_base_oversubscribe=1; Open MPI 5 mpirun --map-by :OVERSUBSCRIBE, or "
        "export PRTE_MCA_rmaps_default_mapping_policy=:oversubscribe",
    ),
)


def launcher_advice(text: str) -> str:
    """What to do where a launcher's words say why it started nothing, as lines to end a message with; else nothing."""
    return "".join(f"\n  {advice}" for words, advice in _REFUSALS if words in text)
