"""What a person sees while a job runs: live stages on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mpi4py import MPI
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from coupling.common.text import printable
from coupling.common.watchdog import alive
from plugin.run import output


def bytes_in_words(size: float) -> str:
    """A number of bytes in words."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


class Progress:
    """Shows stages as they begin and end, on rank 0 only. Each message and stage also resets the watchdog.

    seconds : {stage: wall-clock time of the last one of that name [s]}
    """

    def __init__(self, comm: MPI.Comm, console: Console | None = None) -> None:
        self._console = None if comm.rank != 0 else console or output.console()
        self.seconds: dict[str, float] = {}

    def say(self, text: str) -> None:
        """One line that stays."""
        alive()
        if self._console is not None:
            self._console.print(printable(text), markup=False, soft_wrap=True)

    @contextmanager
    def stage(self, name: str, said: str | None = None) -> Iterator[None]:
        """Time a stage; on a terminal show a spinner meanwhile."""
        alive()
        began = time.perf_counter()
        if self._console is not None and self._console.is_terminal:
            with self._console.status(escape(f"{printable(said or name)} …")):
                yield
        else:
            yield
        self.seconds[name] = time.perf_counter() - began
        alive()

    @contextmanager
    def bar(self, name: str) -> Iterator["Bar | LiveBar"]:
        """Yield a Bar: on a terminal a live one, elsewhere a line for each description."""
        if self._console is None or not self._console.is_terminal:
            yield Bar(self.say)
            return
        columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Bars(*columns, console=self._console, transient=True) as bars:
            yield LiveBar(bars, bars.add_task(name, total=None))


@dataclass(frozen=True)
class Bar:
    """Work in steps, shown as lines."""

    say: Callable[[str], None]

    def describe(self, text: str) -> None:
        """What has been done, once some of the work is."""
        self.say(text)

    def step(self, done: int, steps: int) -> None:
        """`done` of `steps` parts are done."""


@dataclass(frozen=True)
class LiveBar:
    """Work in steps, as a bar with a description."""

    bars: Bars
    task: TaskID

    def describe(self, text: str) -> None:
        self.bars.update(self.task, description=printable(text))

    def step(self, done: int, steps: int) -> None:
        self.bars.update(self.task, completed=done, total=steps)
