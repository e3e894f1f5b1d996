"""Pack a run's dumps into one archive, unpack it again, or show what is in it: python -m plugin.archive

    pack OUT.vtkhdf DUMPS…     VTU/PVTU files, folders or patterns, a case of OpenFOAM → one temporal VTKHDF file
    unpack IN.vtkhdf FOLDER    back to NAME_k.vtu, or NAME_k.pvtu with a folder of pieces; of polyhedra NAME_k.vtkhdf
    info IN.vtkhdf             times, fields, meshes, sizes

Under mpirun each rank reads and writes its own pieces. Exit code 2 is bad input, with one message;
then nothing was written.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from mpi4py import MPI
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table
from rich.text import Text

from coupling.archive import Archive, ArchiveWriter, describe
from coupling.archive.series import write_state
from coupling.common.collective import on_rank_0
from coupling.common.files import FileError, whole_folder
from coupling.common.locks import sole_writer
from coupling.common.text import printable
from coupling.vtk.dumps import Dumps
from plugin.run import output
from plugin.run.job import read_words, run_job
from plugin.run.progress import bytes_in_words
from plugin.state.filling import learned_bridges, states_between, steps_between
from plugin.window.background.snapshots import open_states, parts_of

Choose = Callable[[np.ndarray], Sequence[int] | np.ndarray]  # times [s] → numbers of the states that are kept


def pack(
    out: str | Path,
    sources: Dumps,
    comm: MPI.Comm,
    console: Console | None,
    fields: Sequence[str] | None = None,
    chosen: Choose | None = None,
    precision: str = "float64",
    compression: int = 4,
) -> None:
    """Pack dumps into an archive. Collective.

    Parameters
    ----------
    out : new .vtkhdf file
    sources : dumps as :func:`coupling.archive.series.open_series` takes them, a case of OpenFOAM with its times; or an
        archive, to pack it anew
    comm : MPI communicator
    console : rich Console of rank 0; None elsewhere
    fields : names of the fields to keep; None keeps all
    chosen : function of the times [s] that gives the numbers of the states to keep; None keeps all
    precision : "float64" or "float32"
    compression : 0 … 9

    Raises
    ------
    FileError, MeshError, OSError
        if a dump is broken, fields or times do not fit, or `out` is there already, or another job is making it; nothing
        is left
    """
    on_rank_0(lambda: _check_new(out), comm)
    began = time.perf_counter()
    with ExitStack() as closing:
        closing.enter_context(sole_writer(out, comm, say=lambda text: None if console is None else _say(console, text)))
        on_rank_0(lambda: _check_new(out), comm)  # another job may have made it before the lock was taken
        series = open_states(sources, comm)
        closing.callback(series.close)
        steps = _steps(series.times, chosen, sources)
        with ArchiveWriter(out, comm, precision, compression, replace=False) as archive:
            for step in _counted(steps, "packing", comm, console):
                archive.append(series.read(step, fields))
        before = on_rank_0(lambda: _size_of(series, steps), comm)
    if console is not None:
        _say(console, _packed_line(out, before, time.perf_counter() - began))


def fill(
    out: str | Path,
    sources: Dumps,
    runs: Sequence[Path],
    comm: MPI.Comm,
    console: Console | None,
    fields: Sequence[str] | None = None,
    chosen: Choose | None = None,
    precision: str = "float64",
    compression: int = 4,
) -> None:
    """Pack dumps into an archive with states between them, see `da.window.between`. Collective.

    Parameters
    ----------
    runs : series of states on the same mesh, of which several lie within the time between two dumps
    out, sources, comm, console, fields, chosen, precision, compression : as for :func:`pack`

    Raises
    ------
    FileError, MeshError, OSError
        as :func:`pack`; or if the runs' states do not fit the dumps in mesh, fields or times
    """
    on_rank_0(lambda: _check_new(out), comm)
    say = (lambda text: None) if console is None else partial(_say, console)
    with ExitStack() as closing:
        closing.enter_context(sole_writer(out, comm, say=say))
        series, *learned = (open_states(of, comm) for of in (sources, *runs))
        for of in (series, *learned):
            closing.callback(of.close)
        steps = _steps(series.times, chosen, sources)
        n, step = steps_between(series.times[steps], [of.times for of in learned])
        state = series.read(steps[0], fields)
        bridges = learned_bridges(learned, state, n, comm, say)
        with ArchiveWriter(out, comm, precision, compression, replace=False) as archive:
            archive.append(state)
            for number in _counted(steps[1:], "filling", comm, console):
                before, state = state, series.read(number, fields)
                for between in states_between(before, state, bridges, comm):
                    archive.append(between)
                archive.append(state)
    say(f"{out}: {len(steps)} states, and {(n - 1) * (len(steps) - 1)} between them, {step:g} s apart")


def unpack(
    source: str | Path,
    folder: str | Path,
    comm: MPI.Comm,
    console: Console | None,
    fields: Sequence[str] | None = None,
    chosen: Choose | None = None,
) -> None:
    """Unpack an archive into files of one state that hold its values bit for bit, named by their step. Collective.

    They are dumps, and of polyhedra, which no dump holds, archives of one state; ParaView opens both. Parameters are
    those of :func:`pack`; `folder` is new, and appears when all is in it.

    Raises
    ------
    FileError, OSError
        if the archive is not one or is damaged, or `folder` is there already or written by another job
    """
    name = Path(source).stem
    with sole_writer(folder, comm), Archive(source, comm) as archive:
        steps = _steps(archive.times, chosen, source)
        archive.read(steps[0], fields)  # most that can be wrong shows here, before a folder is made
        with whole_folder(folder, comm) as beside:
            for step in _counted(steps, "unpacking", comm, console):
                file = write_state(archive.read(step, fields), beside / f"{name}_{step}", comm)
    if console is not None:
        of = "dumps" if file.suffix != ".vtkhdf" else "archives of one state"
        _say(console, f"{folder}: {len(steps)} {of}, {name}_{steps[0]} … {name}_{steps[-1]}")


def info(source: str | Path, console: Console) -> None:
    """Print what an archive holds. Not collective."""
    times, fields, meshes = describe(source)
    gaps = np.diff(times)
    spaced = f", {gaps.min():g} … {gaps.max():g} s apart" if len(gaps) else ""
    size = Path(source).stat().st_size
    _say(console, f"{source}: {len(times)} states, {times[0]:g} … {times[-1]:g} s{spaced}; {bytes_in_words(size)}")
    table = _table("field", "at", "components", "stored as", "size", "compressed", "ratio")
    for f in fields:
        ratio = f"{f.raw_bytes / f.stored_bytes:.1f}" if f.stored_bytes else "–"
        kind = np.dtype(f.kind).name
        sizes = bytes_in_words(f.raw_bytes), bytes_in_words(f.stored_bytes), ratio
        table.add_row(Text(printable(f.name)), f.location + "s", str(f.components), kind, *sizes)
    console.print(table)
    table = _table("mesh", "nodes", "cells", "pieces", "states", "from step", "fingerprint")
    for k, m in enumerate(meshes):
        numbers = (k, m.nodes, m.cells, m.parts, m.steps, m.first_step)
        table.add_row(*map(str, numbers), m.fingerprint or "none stored")
    console.print(table)


def _table(*titles):
    """A table whose words are folded rather than cut where there is no room."""
    return Table(*(Column(title, overflow="fold") for title in titles))


def _check_new(out):
    out = Path(out)
    if out.suffix != ".vtkhdf":
        raise FileError(f"{out}: an archive's name ends in .vtkhdf; is the new archive's name given first?")
    if out.exists():
        raise FileError(f"{out}: is there already; remove it or choose another name")
    if not out.absolute().parent.is_dir():
        raise FileError(f"{out}: there is no folder {out.parent}; make it first")


def _steps(times, chosen, sources):
    steps = range(len(times)) if chosen is None else chosen(times)
    if len(steps) == 0:
        what = sources if isinstance(sources, (str, Path)) else ", ".join(map(str, sources))
        raise FileError(f"{what}: no state in that span of time; there are {len(times)}, "
                        f"{times[0]:g} … {times[-1]:g} s")  # fmt: skip
    return [int(step) for step in steps]


def _counted(steps, doing, comm, console):
    """The steps one by one; on a terminal with a bar, elsewhere with a line at every tenth."""
    if comm.rank != 0:
        yield from steps
    elif console.is_terminal:
        yield from track(steps, doing, console=console, transient=True)
    else:
        for count, step in enumerate(steps, 1):
            yield step
            if count % math.ceil(len(steps) / 10) == 0 or count == len(steps):
                _say(console, f"{doing}: {count} of {len(steps)}")


def _say(console, text):
    console.print(printable(text), markup=False, soft_wrap=True)


def _size_of(series, steps):
    if isinstance(series, Archive):
        return Path(series.path).stat().st_size
    return sum(part.stat().st_size for step in steps for part in parts_of(series.files[step]))


def _packed_line(out, before, seconds):
    times, fields, meshes = describe(out)
    raw = sum(f.raw_bytes for f in fields)
    return (
        f"{out}: {len(times)} states of {times[0]:g} … {times[-1]:g} s, {len(fields)} fields, {len(meshes)} "
        f"mesh{'es' if len(meshes) > 1 else ''}; {bytes_in_words(Path(out).stat().st_size)}, "
        f"before {bytes_in_words(before)}; {seconds:.1f} s, {raw / 1e6 / seconds:.0f} MB/s of values"
    )


def _names(text):
    names = [name.strip() for name in text.split(",")]
    if "" in names or len(set(names)) != len(names):
        raise argparse.ArgumentTypeError(f"{text!r}: expected different names, e.g. Tracer,Velocity")
    return names


def _positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1, 2, 3 …")
    return int(text)


def _add_storage(parser):
    parser.add_argument("--precision", choices=["float64", "float32"], default="float64", help="of the fields")
    parser.add_argument("--compression", type=int, choices=range(10), default=4, metavar="0-9", help="gzip level")


def _parser():
    parser = argparse.ArgumentParser(prog="python -m plugin.archive", description="Archives as temporal VTKHDF.")
    commands = parser.add_subparsers(dest="command", required=True)
    choice = argparse.ArgumentParser(add_help=False)
    choice.add_argument("--fields", type=_names, metavar="A,B", help="fields to keep; all if left out")
    choice.add_argument("--from", dest="start", type=float, default=-np.inf, metavar="S", help="first time kept [s]")
    choice.add_argument("--until", type=float, default=np.inf, metavar="S", help="last time kept [s]")
    choice.add_argument("--every", type=_positive, default=1, metavar="N", help="keep every N-th state of these")
    packing = commands.add_parser("pack", parents=[choice], help="dumps into one archive")
    packing.add_argument("archive", type=Path, metavar="OUT.vtkhdf", help="new file")
    packing.add_argument(
        "dumps", nargs="+", metavar="DUMPS", help="VTU/PVTU files, folders, patterns; or one archive, to pack it anew"
    )
    filling = commands.add_parser("fill", parents=[choice], help="dumps, and states between them, into one archive")
    filling.add_argument("archive", type=Path, metavar="OUT.vtkhdf", help="new file")
    filling.add_argument("dumps", nargs="+", metavar="DUMPS", help="as for pack")
    filling.add_argument(
        "--learn", nargs="+", required=True, metavar="RUN", help="archives or folders of runs with states between"
    )
    for parser_of in (packing, filling):
        _add_storage(parser_of)
    unpacking = commands.add_parser("unpack", parents=[choice], help="an archive into dumps")
    unpacking.add_argument("archive", type=Path, metavar="IN.vtkhdf")
    unpacking.add_argument("folder", type=Path, metavar="FOLDER", help="new folder")
    describing = commands.add_parser("info", help="what an archive holds")
    describing.add_argument("archive", type=Path, metavar="IN.vtkhdf")
    return parser


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    words = read_words(_parser(), argv, comm)
    if words.command == "info":
        on_rank_0(lambda: info(words.archive, output.console()), comm)
        return 0
    console = output.console() if comm.rank == 0 else None

    def chosen(times):
        return np.flatnonzero((times >= words.start) & (times <= words.until))[:: words.every]

    if words.command == "fill":
        storage = words.precision, words.compression
        fill(words.archive, words.dumps, words.learn, comm, console, words.fields, chosen, *storage)
    elif words.command == "pack":
        pack(words.archive, words.dumps, comm, console, words.fields, chosen, words.precision, words.compression)
    else:
        unpack(words.archive, words.folder, comm, console, words.fields, chosen)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
