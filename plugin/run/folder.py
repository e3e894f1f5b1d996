"""The cycle's run folder: the settings that a run keeps, where it goes on, and what is cleared away before it does."""

import json
import os
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import FileError, leads_out, remove_leftovers, whole_file
from coupling.common.manifest import check_manifest
from plugin.case.configuration import ConfigurationError, CycleCase
from plugin.run.drivers import simulation_of
from plugin.run.ledger import go_back, read_ledger
from plugin.run.recovery import Beginning
from plugin.run.retention import prune, window_folder
from plugin.run.settings import first_difference, kept_settings, relocated, settings_of

# what may be another at a resume: how long a run goes on, how its model is watched, what is kept and shown
_CHANGEABLE = {
    "cycle": ("windows", "keep", "report"),
    "model": ("timeout", "silence", "on_failure"),
    "ensemble": ("at_once", "failures"),
}
_OTHERS = ("diagnostics", "estimate", "report", "reanalysis", "experiment", "watchdog")


def find_run(case: CycleCase, comm: MPI.Comm, resume: bool = False, after: int | None = None) -> tuple[int, Beginning]:
    """Where to go on. Collective; nothing is written.

    Parameters
    ----------
    case : CycleCase
    comm : MPI communicator
    resume : go on with the run that is there
    after : window to go on after; None for the last one that is finished

    Returns
    -------
    (number of windows done, Beginning of the next)

    Raises
    ------
    ConfigurationError
        if there is a run, or none to resume, or one with other settings
    FileError
        if the restart to go on from is not as it was written; the message names the nearest ones that are
    """
    entries = on_rank_0(lambda: finished(case, resume, after), comm)
    open_restart = simulation_of(case.model).open_restart
    if not entries:
        return 0, Beginning(open_restart(case.model.start), None, {})
    entry = entries[-1]
    restart = on_rank_0(lambda: own_file(case.run, entry["restart"]), comm)
    check_restarts([restart.parent], case.run, len(entries), comm)
    background = open_restart(own_file(case.run, entry["forecast"])) if "analysis" in entry else None
    losses = {name: of["losses"] for name, of in entry.get("lengths", {}).get("fields", {}).items()}
    carried = entry.get("biases", {}), entry.get("background_factors", {}), losses
    return len(entries), Beginning(open_restart(restart), background, *carried)


def check_restarts(folders: Iterable[Path], run: Path, asked: int, comm: MPI.Comm) -> None:
    """FileError if the files of a window's restarts are not as they were written. Collective.

    folders : of the restarts
    run : Path; asked : number of the window
    """
    try:
        for folder in folders:
            check_manifest(folder, comm)
    except FileError as error:
        raise FileError(f"{error}; {_advice(run, asked, comm)}") from error


def finished(case: CycleCase, resume: bool, after: int | None) -> list[dict[str, Any]]:
    """Entries of the ledger that a run is to go on after. Not collective.

    ConfigurationError as `find_run`
    """
    kept = case.run / "case.json"
    if not resume:
        if kept.exists():
            raise ConfigurationError(
                f"{case.run}: holds a run already; go on with it by --resume, or choose another folder (key 'run')"
            )
        return []
    if not kept.is_file():
        raise ConfigurationError(f"{case.run}: no run to resume, case.json is missing; start without --resume")
    entries = read_ledger(case.run / "ledger.jsonl")
    if after is not None and not 0 <= after <= len(entries):
        raise ConfigurationError(f"--after {after}: {case.run} has {len(entries)} finished windows")
    entries = entries[:after]
    if not entries:  # nothing yet that other settings would contradict
        return []
    now, earlier = _lasting(settings_of(case)), _lasting(relocated(kept_settings(kept), case))
    different = first_difference(now, earlier)
    if different:
        raise ConfigurationError(
            f"{kept}: the run was started with another {different!r} section ({earlier.get(different)}); "
            "resume with the same settings, or start a new run folder"
        )
    return entries


def _lasting(settings):
    """What a run keeps to."""
    return {
        name: {key: value for key, value in section.items() if key not in _CHANGEABLE[name]}
        if name in _CHANGEABLE and section is not None
        else section
        for name, section in settings.items()
        if name not in _OTHERS
    }


def _advice(run: Path, asked: int, comm: MPI.Comm) -> str:
    """What to do where the restart of the window asked for is gone or broken. Collective."""
    finished = len(on_rank_0(lambda: read_ledger(run / "ledger.jsonl"), comm))
    earlier = _first_whole(run, range(asked - 1, 0, -1), comm)
    later = _first_whole(run, range(asked + 1, finished + 1), comm)
    words = []
    if earlier is not None:
        words.append(f"--after {earlier} goes on after window {earlier}, the last one whose restart is whole")
        words[0] += " before it" if asked < finished else ""
    if later is not None:
        words.append(f"--after {later} goes on after window {later}, the first one after it whose restart is whole")
    return "; ".join(words) or "no other restart is whole; --after 0 begins anew"


def _first_whole(run: Path, numbers: Iterable[int], comm: MPI.Comm) -> int | None:
    """The first of some windows whose restart is as it was written, None if there is none. Collective."""
    for number in numbers:
        try:
            for folder in on_rank_0(partial(_restart_folders, run, number), comm):
                check_manifest(folder, comm)
        except FileError:
            continue
        return number
    return None


def _restart_folders(run, number):
    """Folders of the restarts that a window left: one, or those of the members."""
    folder = window_folder(run, number)
    if (folder / "members").is_dir():
        return [member / "analysis" for member in sorted((folder / "members").iterdir())]
    return [folder / "analysis"]


def _remove(folder):
    """Remove a folder with all that is in it, or a link without what is behind it."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def own_file(run: Path, name: str) -> Path:
    """Path of a file of the run, by its name in the ledger. FileError if that leads out of the run folder."""
    if leads_out(run, name):
        raise FileError(f"{run / 'ledger.jsonl'}: names {name}, which lies outside of the run folder; restore the file")
    return run / name


def begin_run(case: CycleCase, resume: bool, done: int) -> None:
    """Keep the settings, and clear away what a kill left; at a resume all but finished windows. Not collective."""
    with whole_file(case.run / "case.json") as beside:
        beside.write_text(json.dumps(settings_of(case), indent=2))
    for folder in (case.run, case.run / "cache", *(window_folder(case.run, n) for n in range(1, done + 1))):
        remove_leftovers(folder)
    if not resume:
        return
    ledger = case.run / "ledger.jsonl"
    if len(read_ledger(ledger)) > done:
        go_back(ledger, done)
    for folder in sorted(case.run.iterdir()):
        name = folder.name.removeprefix(".").removesuffix(".unfinished")
        if not name.isdecimal() or 0 < done >= int(name):
            continue
        aside = folder.with_name(f".{name}.unfinished")
        if folder != aside:
            _remove(aside)
            os.replace(folder, aside)  # a model that outlived its cycle may still write there
        _remove(aside)
    prune(case.run, range(done), case.cycle.keep, simulation_of(case.model))
