"""The code of a forecast's end, kept beside its restart in codes.json.

A network's code of the state that a forecast has left is not quite the code that the forecast had reached. A forecast
that goes on from that restart, with nothing of it changed, takes this one, and ends as one that has not stopped.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coupling.common.files import file_hash, whole_file

_FILE = "codes.json"


def keep_code(folder: Path, code: np.ndarray, files: Sequence[Path], dynamics: str) -> None:
    """Write the code of a restart.

    Parameters
    ----------
    folder : of the restart
    code : (m,)
    files : of the restart
    dynamics : hash of the file of the dynamics

    OSError if the file cannot be written
    """
    told = {"dynamics": dynamics, "restart": _hash_of(files), "codes": code.tolist()}  # of floats JSON loses nothing
    with whole_file(folder / _FILE) as beside:
        Path(beside).write_text(json.dumps(told) + "\n", encoding="utf-8")


def kept_code(folder: Path, files: Sequence[Path], dynamics: str, n_codes: int) -> np.ndarray | None:
    """(m,) the code of a restart; None where there is none, or it is of other files or dynamics."""
    try:
        told = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        code = np.array(told["codes"], np.float64)
        same = told["dynamics"] == dynamics and told["restart"] == _hash_of(files)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return code if same and code.shape == (n_codes,) and np.isfinite(code).all() else None


def _hash_of(files: Sequence[Path]) -> str:
    return hashlib.sha256("".join(map(file_hash, files)).encode()).hexdigest()
