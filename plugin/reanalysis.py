"""Analyse the states of an archive: mpirun -n N python -m plugin.reanalysis case.yml

No model runs. Each state of `reanalysis.states` is compared with its readings and analysed, and the analyses
become an archive in time (VTKHDF) on the states' own mesh. Groups of ranks take blocks of states in turn; the ranks
of a group share the grid. A group of one rank reads ahead and writes behind, in threads; larger ones work in turn,
for ranks that wait for each other in several threads may wait for ever.

    OUTPUT.vtkhdf                   the archive, when all is done; or
    OUTPUT/000016.vtkhdf            one for each block, by the number of its first state
    RUN/reanalysis.json             the settings and what the states are
    RUN/reanalysis/000016/          a finished block: states.vtkhdf, steps.csv, readings.csv; gone when all is done
    RUN/steps.csv, readings.csv     a line for each state, and for each reading

`--resume` goes on after a stop, whenever it came: a block is there or it is not. On the same number of ranks the result
is the same to the last bit. Exit codes are those of plugin.cycle.

Cost of a state, on top of reading it (8 bytes a value, compressed) and writing what `keep` asks for: P and Q, 12 bytes
a weight each, and an analysis (:mod:`da.analysis`). A group's ranks exchange what P, Q and H need of each other and a
few numbers of each minimisation; groups exchange nothing. Memory of a group: the modes, 8 n s bytes, and states in
flight: one that is read, one that is analysed, one that is written.
"""

import argparse
import csv
import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from mpi4py import MPI

from coupling.archive import ArchiveWriter, join_archives
from coupling.archive.overlap import ahead, behind
from coupling.archive.series import reopened
from coupling.common.collective import on_rank_0, on_rank_0_asleep
from coupling.common.faults import reached
from coupling.common.files import FileError, refuse_links, remove_leftovers, whole_file, whole_folder
from coupling.common.locks import sole_writer
from coupling.common.text import counted
from coupling.common.waiting import wait_asleep
from coupling.common.watchdog import alive, watched
from da.observation.observations import Observations
from plugin.case.configuration import ConfigurationError, ReanalysisCase, read_reanalysis_case
from plugin.readings.names import as_cells
from plugin.readings.of_case import readings_of
from plugin.run.job import read_words, run_job
from plugin.run.lock import locked
from plugin.run.progress import Progress
from plugin.run.rank_groups import RankGroup, groups_for, split
from plugin.run.settings import first_difference, kept_settings, relocated, settings_of
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.background.of_case import Background, background, close_all, plan_of
from plugin.window.background.snapshots import Series, fingerprint
from plugin.window.gates.apply import Gates, columns_of, make_gates
from plugin.window.gates.mesh_operators import check_gates
from plugin.window.observations.earlier import lacking_line
from plugin.window.reanalysis_step import COLUMNS, AnalysedState, KeptStd, analysed, steps_of

_NO_MODEL = "only a model's checkpoint has them, so it goes with the cycle"
_STATES, _STEPS, _READINGS = "states.vtkhdf", "steps.csv", "readings.csv"


@dataclass(frozen=True)
class Work:
    """What a group has in hand.

    case : ReanalysisCase
    steps : all Steps
    series : the series the states are in, as the group's reading thread has them open
    within : the same, for readings between states
    readings : Observations
    background : Background over the group's ranks
    gates : Gates
    group : RankGroup
    writing : communicator of the group's writing thread
    """

    case: ReanalysisCase
    steps: list[AnalysedState]
    series: list[Series]
    within: list[Series]
    readings: Observations
    background: Background
    gates: Gates
    group: RankGroup
    writing: MPI.Comm


def reanalyse(case: ReanalysisCase, comm: MPI.Comm, resume: bool = False, progress: Progress | None = None) -> None:
    """Analyse all states that a case names. Collective.

    Parameters
    ----------
    case : ReanalysisCase
    comm : MPI communicator
    resume : go on with what an earlier job of the run folder left
    progress : Progress

    Raises
    ------
    ConfigurationError
        if the run folder holds another reanalysis or is in use, `resume` finds nothing that fits, or settings do not
        fit each other
    ReadingsError, FileError, MeshError, MinimisationError, GateError, OSError
        as the stages raise them; finished blocks stay
    """
    progress = progress or Progress(comm)
    with (
        locked(case.run, comm, progress.say),
        sole_writer(case.reanalysis.output, comm, say=progress.say),
        watched(case.watchdog),
    ):
        _reanalyse(case, comm, resume, progress)


def _reanalyse(case, comm, resume, progress):
    of = case.reanalysis
    if MPI.Query_thread() < MPI.THREAD_MULTIPLE:
        raise ConfigurationError("this MPI was started without threads; reading ahead needs MPI_THREAD_MULTIPLE")
    check_gates(case.gates, _NO_MODEL)
    if case.observations.bias is not None:
        raise ConfigurationError(
            "observations.bias: biases go on from window to window, states are analysed alone here"
        )
    for key, instead in (("adaptive", "inflation"), ("lengths", "localisation")):
        if getattr(case.background, key) is not None and key in case.background.model_fields_set:
            raise ConfigurationError(
                f"background.{key} goes with plugin.cycle, because a reanalysis takes each state by itself; "
                f"give background.{instead} instead"
            )
    if "std" in of.keep and case.background.linear_transform != case.background.transform:
        raise ConfigurationError("reanalysis.keep: std goes with background.transform: tsvd, reduced or local")
    left_out: list[str] | None = [] if of.missing == "skip" else None
    plan = plan_of(of.states, comm, left_out)
    for problem in left_out or ():
        progress.say(f"left out: {problem}")
    steps, series = steps_of(plan)
    about = on_rank_0(lambda: _about(case, plan), comm)
    if on_rank_0(lambda: _begin(case, about, resume), comm):
        progress.say(f"{of.output}: all is done already")
        return
    readings = on_rank_0(lambda: readings_of(case, progress.say), comm)
    with progress.stage("background"):
        made, group = _backgrounds(case, comm, len(steps), progress)
    gates = make_gates(case.gates, made.transfer, _NO_MODEL)
    threads = group.comm.Dup(), group.comm.Dup()
    own, within = ([reopened(one, ranks) for one in series] for ranks in (threads[0], group.comm))
    close_all(plan)
    work = Work(case, steps, own, within, readings, made, gates, group, threads[1])
    blocks = [steps[first : first + of.block] for first in range(0, len(steps), of.block)]
    spacing = min(step.spacing for step in steps)
    ends = [step.time for step in steps]
    if line := lacking_line(readings, ends, ends[0], case.observations, 0.5 * spacing):
        progress.say(line)
    todo = on_rank_0(lambda: [block for block in blocks if not _folder(case, block).is_dir()], comm)
    progress.say(_start_line(work, blocks, todo))
    with progress.stage("analyses"):
        kept, cache, began = KeptStd(), AnalysisCache(), time.perf_counter()
        for block in group.share(todo):
            _block(block, work, cache, kept)
            if comm.rank == 0:  # the others would ask the file system in vain
                progress.say(_progress_line(case, blocks, len(blocks) - len(todo), began))
        wait_asleep(comm)
    with progress.stage("archive"):
        _join(case, blocks, comm)
    reached("archive joined")
    on_rank_0(lambda: _finish(case, blocks, left_out or []), comm)
    progress.say(
        f"{of.output}: {counted(len(steps), 'state')}; analyses {progress.seconds['analyses']:.1f} s, "
        f"archive {progress.seconds['archive']:.1f} s; tables: {case.run / _STEPS}, {case.run / _READINGS}"
    )


def _backgrounds(case, comm, n_steps, progress):
    """(Background of this rank's group, RankGroup); the modes are made by all ranks, and read by each group."""
    of, settings = case.reanalysis, case.background
    cache = case.run / "cache"
    settings = settings.model_copy(update={"adaptive": None, "modes": settings.modes or cache / "modes.h5"})
    case = case.model_copy(update={"background": settings})
    made = background(case, comm, cache, progress.say)
    size = made.modes.vectors.dtype.itemsize * comm.allreduce(made.modes.vectors.size)
    memory = None if of.memory is None else of.memory * 2**30
    n_blocks = -(-n_steps // of.block)
    n_groups = of.groups or groups_for(n_blocks, size, comm, memory)
    try:
        group = split(comm, n_groups)
    except ValueError as error:
        raise ConfigurationError(f"reanalysis.groups: {error}") from None
    if group.count > 1:
        made = background(case, group.comm, cache)
    return made, group


def _block(block, work, cache, kept):
    """Analyse a block of states and write its folder. Collective over the group."""
    case, comm = work.case, work.group.comm
    of, fields = case.reanalysis, list(work.background.transfer.field_names)
    rows, table = [], []

    def read(step):
        return work.series[step.series].read(step.index, fields)

    # from the inside out: the last state is written, its archive is closed, the folder is there
    with whole_folder(_folder(case, block), comm) as folder, ExitStack() as closing, behind(comm.size == 1) as write:
        archive = None
        for step, coming in ahead(read, block, comm.size == 1):
            alive()
            try:
                state = coming.result()
            except FileError as error:
                if of.missing == "stop":
                    raise
                rows.append(dict.fromkeys(COLUMNS) | {"time": step.time, "skipped": str(error)})
                continue
            within = work.within[step.series]
            with_what = work.background, work.gates, comm, cache, kept
            kept_state, row, readings = analysed(step, state, within, work.readings, case, *with_what)
            if archive is None:
                archive = closing.enter_context(
                    ArchiveWriter(folder / _STATES, work.writing, of.precision, of.compression)
                )
            write(archive.append, kept_state)
            rows.append(row)
            table += readings
        on_rank_0(lambda: _write_csv(folder / _STEPS, COLUMNS, rows), comm)
        on_rank_0(lambda: _write_csv(folder / _READINGS, columns_of(case.gates), table), comm)


def _folder(case, block):
    return case.run / "reanalysis" / f"{block[0].number:06d}"


def _write_csv(path, columns, rows):
    with open(path, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, columns)
        table.writeheader()
        table.writerows(map(as_cells, rows))


def _read_csv(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _join(case, blocks, comm):
    """Put the blocks' states into the archive, or their archives into the folder. Collective."""
    of = case.reanalysis
    if of.output.suffix:
        archives = on_rank_0(lambda: _archives(case, blocks), comm)
        join_archives(archives, of.output, comm, of.precision, of.compression)
    else:
        on_rank_0_asleep(lambda: _move(case, blocks), comm)


def _archives(case, blocks):
    """The blocks' archives; a block of broken states only has none."""
    archives = [path for path in (_folder(case, block) / _STATES for block in blocks) if path.is_file()]
    if not archives:
        raise FileError(f"{case.reanalysis.output}: no state could be read; see steps.csv of the blocks in {case.run}")
    case.reanalysis.output.parent.mkdir(parents=True, exist_ok=True)
    return archives


def _move(case, blocks):
    """Move the blocks' archives to where they are wanted; a stop may have left some of them there."""
    folder = case.reanalysis.output
    if not folder.is_dir():
        _archives(case, blocks)
        folder.mkdir()
    for block in blocks:
        path = _folder(case, block) / _STATES
        alive()
        if path.is_file():
            with whole_file(folder / f"{path.parent.name}.vtkhdf") as beside:
                shutil.move(path, beside)  # within a file system no byte is copied


def _about(case, plan):
    """What blocks depend on: the settings, and the states."""
    settings = settings_of(case)
    for name in ("model", "cycle", "experiment", "watchdog"):
        del settings[name]
    for name in ("groups", "memory"):
        del settings["reanalysis"][name]
    times = [float(series.times[index]) for series, index in plan]
    return {"settings": settings, "states": fingerprint(plan, times)}


def _begin(case, about, resume):
    """Keep what the blocks depend on, or see that it is what it was. Returns whether all is done already."""
    kept, output = case.run / "reanalysis.json", case.reanalysis.output
    for folder in (case.run, case.run / "cache"):
        remove_leftovers(folder)
    if not resume:
        for path, what in ((kept, "a reanalysis"), (output, "an archive")):
            if path.exists():
                raise ConfigurationError(
                    f"{path}: there is {what} already; go on with it by --resume, or choose another folder and file "
                    "(keys 'run' and 'reanalysis.output')"
                )
        with whole_file(kept) as beside:
            beside.write_text(json.dumps(about, indent=2))
        return False
    if (case.run / "reanalysis").is_dir():
        refuse_links(case.run / "reanalysis", depth=1)
    if not kept.is_file():
        raise ConfigurationError(f"{kept}: no reanalysis to resume; start without --resume")
    earlier = kept_settings(kept)
    different = first_difference(about["settings"], relocated(earlier.get("settings", {}), case))
    if different:
        raise ConfigurationError(
            f"{kept}: the reanalysis was started with another {different!r} section; resume with it"
        )
    if about["states"] != earlier.get("states"):
        raise ConfigurationError(
            f"{kept}: the states are others than those it was started with; start a new run folder"
        )
    if output.exists() and (case.run / _READINGS).exists():
        shutil.rmtree(case.run / "reanalysis", ignore_errors=True)  # a stop while these were taken away
        return True
    return False


def _finish(case, blocks, left_out):
    """Join the tables, and take the blocks away, whose states are in the archive."""
    rows = [dict.fromkeys(COLUMNS) | {"skipped": problem} for problem in left_out]
    for name, columns in ((_STEPS, COLUMNS), (_READINGS, columns_of(case.gates))):
        for block in blocks:
            rows += _read_csv(_folder(case, block) / name)
        with whole_file(case.run / name) as beside:
            _write_csv(beside, columns, rows)
        rows = []
    shutil.rmtree(case.run / "reanalysis")


def _start_line(work, blocks, todo):
    of, modes = work.background, work.background.modes
    n_steps, done = len(work.steps), len(blocks) - len(todo)
    megabytes = modes.vectors.nbytes / 1e6 * work.group.comm.size
    return (
        f"{counted(n_steps, 'state')} in {counted(len(blocks), 'block')}{f', {done} done before' if done else ''}; "
        f"{counted(modes.n_modes, 'mode')} ({modes.name}), {of.transfer.grid}; "
        f"{counted(len(work.readings), 'reading')}; {counted(work.group.count, 'group')} of "
        f"{counted(work.group.comm.size, 'rank')}, each holds the modes ({megabytes:.3g} MB) and three states in flight"
    )


def _progress_line(case, blocks, before, began):
    done = sum(_folder(case, block).is_dir() for block in blocks)
    rate = (done - before) / (time.perf_counter() - began)
    left = (len(blocks) - done) / rate if rate else 0.0
    per_block = len(blocks[0])
    return f"{done} of {len(blocks)} blocks  {rate * per_block:.3g} states/s  {left:.0f} s to go"


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.reanalysis", description="Analyse an archive's states.")
    parser.add_argument("case", type=Path, help="case file (YAML) with a section reanalysis")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished blocks")
    words = read_words(parser, argv, comm)
    reanalyse(read_reanalysis_case(words.case), comm, words.resume)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
