"""What the plugin asks of a simulation: one :class:`Simulation`, made of functions, and what these take and give.

A restart is opened, read, written and listed; states in time are opened as a series; the rest says what the simulation
can do beside that, and has a default. :mod:`coupling.fluidity.simulation` is Fluidity's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import Field, State
from coupling.simulation.advice import Plan, Remark
from coupling.simulation.boundary import BoundaryOperators
from coupling.simulation.parameters import PARAMETERS, Numbers, read_entries
from coupling.simulation.parameters import Series as SeriesInTime


class Restart(Protocol):
    """What a model continues from: a folder of its own files, opened, changed and written as a whole."""

    @property
    def path(self) -> Path:
        """What it was opened by."""

    @property
    def folder(self) -> Path:
        """Where all its files lie."""

    @property
    def name(self) -> str:
        """The simulation's name."""

    @property
    def time(self) -> float:
        """s, as the restart's own files have it."""

    @property
    def timestep(self) -> float:
        """s."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """{field: where it starts from} of the fields that start from files; none in a cold start."""


R = TypeVar("R", bound=Restart)  # a simulation's own restart
R_in = TypeVar("R_in", bound=Restart, contravariant=True)


class Series(Protocol):
    """States in time, open for reading; it closes at the end of a `with` block."""

    @property
    def times(self) -> np.ndarray:
        """(S,) [s], rising."""

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of the fields. Collective."""

    def read(self, step: int, names: Collection[str] | None = None) -> State:
        """One state, of all fields or some; IndexError if there is no such step. Collective."""

    def close(self) -> None:
        """Close what is open."""

    def __len__(self) -> int: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


class ReadFields(Protocol[R_in]):
    """Fields of a restart, each on its own mesh: all, or those with some names. Collective.

    FileError if a field does not start from a file; MeshError if files do not fit each other
    """

    def __call__(self, restart: R_in, comm: MPI.Comm, names: Collection[str] | None = None, /) -> State: ...


class WriteRestart(Protocol[R]):
    """Write a restart into a new folder, which appears whole or not at all; the old one stays as it is. Collective.

    changes : {name: Field} as `read_fields` gave them, with other values; all else is copied
    manifest : with a list of the files, by `coupling.common.manifest.write_manifest`
    numbers : parameters for the run to come

    MeshError if a value is not finite or a field is not on its own mesh; FileError if a number has no place
    """

    def __call__(
        self,
        restart: R,
        folder: str | Path,
        comm: MPI.Comm,
        changes: Mapping[str, Field] | None = None,
        /,
        *,
        manifest: bool = False,
        numbers: Numbers | None = None,
    ) -> R: ...


class WriteLater(Protocol[R]):
    """Write the restart of a later state, as a run of the model would have left it, into a new folder. Collective.

    changes : {name: Field} of that state; what else the restart holds stays as it was
    time : of that state [s]

    MeshError if a value is not finite or a field is not on its own mesh
    """

    def __call__(
        self, restart: R, folder: str | Path, comm: MPI.Comm, changes: Mapping[str, Field], time: float, /
    ) -> R: ...


class OpenSeries(Protocol):
    """Open the states that a run left in its folder. Collective; FileError if there are none that can be read.

    left_out : list that receives the problems of broken ones; None makes that an error
    """

    def __call__(self, path: Path, comm: MPI.Comm, left_out: list[str] | None = None, /) -> Series: ...


@dataclass(frozen=True)
class Simulation(Generic[R]):
    """A simulation's files, as functions; what is below `open_series` may be left out.

    name : in messages
    open_restart : of a path, `model.start` or a restart's own `path`; FileError if it is broken. Not collective
    read_fields, write_restart, open_series : as their types say
    restart_files : paths of all files of a restart, each once. Not collective
    is_series : whether a path is a folder of states in a form that no other simulation has, which its `open_series`
        reads wherever a case names it; VTU files and archives do not need it. Not collective
    holds_states : whether a file of a run or a restart holds meshes or fields; such are removed of windows that are not
        kept (`cycle.keep`)
    program : the words of the model's command where a case names none
    refusal : why an analysis of some fields alone would do nothing in the model; None if it would
    wrong_processes : why the model cannot start from a restart on so many processes, None if it can. Not collective
    doubtful_processes : why the model may fail on so many processes though its files are cut for them; None if nothing
        speaks for it. A cycle says so and begins all the same. Not collective
    check_start : raises FileError or MeshError if the files of a start do not agree with each other. Collective
    number_at : the number that a restart has where a parameter's key `to: {option: PLACE}` points; FileError, which
        names the nearest places, if there is none. None: the simulation has no such places. Not collective
    series_at : as `number_at`, of a parameter in time: the table that is there, or None for a value that a table may
        replace. None: the simulation has no tables
    unread : {name: what to do} of those of some entries of parameters.json that nothing in a restart reads, as far as
        can be seen
    boundary : what gates need of a boundary; or why there is no such thing
    environment : the variables that the model's programs need, made from those that a case gives
    version_words : words after the program with which it tells its version; none if it does not
    version_lines : regular expression at the start of the lines that tell it; the first two of its words if empty
    remarks : what a path to a start says about settings of the model that fit a cycle or do not
    write_fixed : writes a copy of a start with some remarks' changes made; None if that cannot be
    write_later : writes the restart of a later state that another program has computed; None if that cannot be, and
        learned dynamics then cannot stand in for the model
    """

    name: str
    open_restart: Callable[[str | Path], R]
    read_fields: ReadFields[R]
    write_restart: WriteRestart[R]
    restart_files: Callable[[R], list[Path]]
    open_series: OpenSeries
    is_series: Callable[[Path], bool] = lambda path: False
    holds_states: Callable[[Path], bool] = lambda path: False
    program: Callable[[R], tuple[str, ...]] = lambda restart: ()
    refusal: Callable[[Collection[str]], str | None] = lambda names: None
    wrong_processes: Callable[[R, int], str | None] = lambda restart, processes: None
    doubtful_processes: Callable[[R, int], Remark | None] = lambda restart, processes: None
    check_start: Callable[[R, MPI.Comm], None] = lambda restart, comm: None
    number_at: Callable[[R, str], float] | None = None
    series_at: Callable[[R, str], SeriesInTime | None] | None = None
    unread: Callable[[R, Collection[str]], dict[str, str]] = lambda restart, names: {}
    boundary: BoundaryOperators | str = "its driver does not tell of surfaces and boundary conditions"
    environment: Callable[[Mapping[str, str]], dict[str, str]] = dict
    version_words: tuple[str, ...] = ()
    version_lines: str = ""
    remarks: Callable[[Path, Plan], list[Remark]] = lambda start, plan: []
    write_fixed: Callable[[Path, Iterable[Any], Path], None] | None = None
    write_later: WriteLater[R] | None = None


def carries(simulation: Simulation, restart: Restart, numbers: Numbers) -> bool:
    """Whether a restart has all these numbers already. Not collective."""

    def there_is(place: str, x: float | SeriesInTime) -> bool:
        at = simulation.series_at if isinstance(x, SeriesInTime) else simulation.number_at
        return at is not None and at(restart, place) == x

    there = read_entries(restart.folder / PARAMETERS)
    return all(there_is(place, x) for place, x in numbers.options.items()) and {
        name: there.get(name) for name in numbers.entries
    } == {name: of if isinstance(of, float) else of.as_json() for name, of in numbers.entries.items()}
