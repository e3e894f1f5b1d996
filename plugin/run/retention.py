"""Which windows keep their states, and whether the disk has room for them.

With `cycle: {keep: K}` every K-th window keeps its forecast and its restart. Of the others the files that hold meshes
and fields are removed once the next window is in the ledger: until then a resume, or another try of a model that
failed, may need them. Tables, options, logs and series of detectors stay.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from coupling.common.faults import reached
from coupling.common.text import counted
from coupling.simulation.simulation import Simulation
from plugin.case.configuration import ConfigurationError, CycleSection
from plugin.run.progress import bytes_in_words

# of the members of an ensemble: one state for all of them
_SMALL = ("mean", "spread", "forecast_mean", "forecast_spread", "smoothed")


def window_folder(run: Path, number: int) -> Path:
    """Folder of a window."""
    return run / f"{number:04d}"


def prune(run: Path, numbers: Iterable[int], keep: int | None, simulation: Simulation) -> None:
    """Remove the states of those of some windows that are not kept; it may have been begun before. Not collective.

    keep : every `keep`-th window stays as it is; None keeps all
    simulation : Simulation, which knows the files of its states
    """
    if not keep:
        return
    for number in numbers:
        if number % keep or number == 0:  # number 0: starts of the members of an ensemble
            for part in _own_folders(window_folder(run, number)):
                if not os.path.basename(part).startswith(_SMALL):
                    _remove_states(part, simulation)
            reached("window pruned")


def _own_folders(folder):
    """Folders directly in a folder, without links: behind these lie the files of somebody else."""
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]


def _remove_states(folder, simulation):
    for inside, folders, names in os.walk(folder, topdown=False):
        for name in names:
            if simulation.holds_states(path := Path(inside, name)):
                path.unlink()
        for name in folders:
            with suppress(OSError):  # something stays in it
                os.rmdir(os.path.join(inside, name))


def disk_need(run: Path, start: Sequence[Path], done: int, cycle: CycleSection, members: int = 1) -> str:
    """What the windows to come need of the disk, and what there is, in words. Not collective.

    Parameters
    ----------
    run : Path
    start : files of the run's start; before any window is done they show what one will need at least: a copy for the
        model, and another for the analysis
    done : number of windows done; the last of them shows what one needs
    cycle : CycleSection
    members : models of each window

    Raises
    ------
    ConfigurationError
        if the disk is sure to be full before the last window
    """
    keep = cycle.keep or 1
    n_kept = cycle.windows // keep - done // keep + (cycle.windows % keep > 0)  # every keep-th, and the last
    if done:
        each, least = _size(window_folder(run, done)), ""
    else:
        each, least = 2 * members * sum(path.stat().st_size for path in start), "at least "
    need, free = n_kept * each, shutil.disk_usage(run).free
    sizes = f"{least}{bytes_in_words(each)} each: {least}{bytes_in_words(need)}"
    budget = f"{counted(n_kept, 'window')} to keep, {sizes}; {bytes_in_words(free)} are free"
    if need > free:
        raise ConfigurationError(
            f"{run}: the disk is too small: {budget}; make room, or keep every so-many-th window only (key cycle.keep)"
        )
    return f"disk: {budget}"


def _size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
