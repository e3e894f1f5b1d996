"""What every driver looks at when its program has ended: exit code, time, values, and the end of the logs.

Each check raises a :class:`~coupling.simulation.launch.ModelError` whose message ends with `logs`, the text that the
driver makes by :func:`end_of_logs`.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import Field
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


def exit_code_in_words(code: int) -> str:
    """An exit code in words; launchers and shells add 128 to the number of a signal."""
    number = -code if code < 0 else code - 128
    try:
        by = f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"exit code {code}"
    return by if code < 0 else f"exit code {code}, as after {by}"


def end_of_logs(folder: Path, patterns: Sequence[str], errors: str) -> str:
    """The last lines of a program's log, to end an error message with.

    Parameters
    ----------
    folder : of the logs
    patterns : of the logs' names, the first to show first
    errors : beginning of the names of those that hold nothing but errors; one with the word ERROR in it goes before
        all others
    """
    logs = []
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            text = path.read_text(errors="replace").rstrip()
            if text:
                logs.append((path, text))
    if not logs:
        return f"; its logs in {folder} are empty"
    path, text = next(((p, t) for p, t in logs if "ERROR" in t and p.name.startswith(errors)), logs[0])
    return f"\n  end of {path}:\n" + "\n".join(f"    {line}" for line in text.splitlines()[-_TAIL:])
