"""A folder's list of files with sizes and hashes, to check later that they are unchanged.

    FOLDER/manifest.json    {"files": {name: [bytes, SHA-256]}}

It is written last, so a folder without it was not finished. The ranks share the reading.
"""

import json
from collections import ChainMap
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0, raise_together
from coupling.common.files import FileError, file_hash, whole_file

NAME = "manifest.json"


def write_manifest(folder: str | Path, comm: MPI.Comm) -> None:
    """Write the list of all files in a folder and below. Collective.

    Raises
    ------
    OSError
        on every rank, if a file cannot be read or the list cannot be written
    """
    folder = Path(folder)
    names = on_rank_0(lambda: sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()), comm)
    entries: dict[str, list] = {}
    problem = None
    try:
        for name in names[comm.rank :: comm.size]:
            entries[name] = [(folder / name).stat().st_size, file_hash(folder / name)]
    except OSError as error:
        problem = error
    raise_together(problem, comm)
    parts = comm.gather(entries) or []  # None on the other ranks
    on_rank_0(lambda: _write(folder / NAME, dict(ChainMap(*parts))), comm)


def check_manifest(folder: str | Path, comm: MPI.Comm) -> None:
    """Check the files of a folder against its list. Collective.

    Raises
    ------
    FileError
        on every rank, for the first file that is missing or changed, or for the list if it is missing or broken
    """
    folder = Path(folder)
    entries, problem = on_rank_0(lambda: _read(folder / NAME), comm), None
    try:
        for name in sorted(entries)[comm.rank :: comm.size]:
            _check(folder / name, *entries[name])
    except (FileError, OSError) as error:
        problem = error
    raise_together(problem, comm)


def _write(path, files):
    with whole_file(path) as beside:
        beside.write_text(json.dumps({"files": files}, indent=1, sort_keys=True), encoding="utf-8")


def _read(path):
    try:
        files = json.loads(path.read_bytes())["files"]
        return {name: (int(size), str(digest)) for name, (size, digest) in files.items()}
    except FileNotFoundError:
        raise FileError(f"{path}: is missing, so the files beside it were not all written") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise FileError(f"{path}: is not the list that was written") from None


def _check(path, size, digest):
    if not path.is_file():
        raise FileError(f"{path}: is missing, and {NAME} names it")
    if path.stat().st_size != size:
        raise FileError(f"{path}: has {path.stat().st_size} bytes, {size} were written")
    if file_hash(path) != digest:
        raise FileError(f"{path}: its bytes are not those that were written (SHA-256)")
