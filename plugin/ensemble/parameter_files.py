"""What a run keeps of its parameters: members' values by window, a table of them, and a line in the ledger.

RUN/0007/parameters.json   {"names": […], "forecast": (P, N), "analysis": (P, N), "next": (P, N)}, unbounded
RUN/parameters.csv         window, time, name, mean, std, quantiles; window 0 is the prior
"""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.special import ndtri

from coupling.common.faults import reached
from coupling.common.files import FileError, whole_file
from da.ensemble.prior import quantile
from plugin.case.configuration import CycleCase
from plugin.ensemble.parameters import PARTS, Parameters, statistics
from plugin.run.retention import window_folder

COLUMNS = ("window", "time", "name", "mean", "std", *(f"q{round(100 * part):02d}" for part in PARTS))
TABLE = "parameters.csv"
_NORMAL = ndtri((np.arange(10_000) + 0.5) / 10_000)


@dataclass(frozen=True)
class MemberValues:
    """(P, N) unbounded values of the members: of the forecasts (or draws for them), of the analysis, and next."""

    forecast: np.ndarray
    analysis: np.ndarray
    following: np.ndarray


def write_parameters(run: Path, window: int, time: float, parameters: Parameters, of: MemberValues) -> None:
    """Write a window's values and add it to the table, in place of windows that are made again. Not collective."""
    if len(parameters) == 0:
        return
    values = {
        "names": list(parameters.labels),
        "forecast": of.forecast.tolist(),
        "analysis": of.analysis.tolist(),
        "next": of.following.tolist(),
    }
    with whole_file(window_folder(run, window) / "parameters.json") as beside:
        Path(beside).write_text(json.dumps(values) + "\n", encoding="utf-8")
    reached("parameters written")
    rows = [row for row in _rows(run / TABLE) if int(row["window"]) < window] or _prior_rows(parameters)
    for label, statistic in statistics(parameters, of.analysis).items():
        rows.append({"window": window, "time": time, "name": label, **statistic})
    with whole_file(run / TABLE) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(rows)


def _rows(path: Path) -> list[dict]:
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _prior_rows(parameters: Parameters) -> list[dict]:
    rows = []
    for label, prior in zip(parameters.labels, parameters.priors, strict=True):
        x = prior.value(_NORMAL)
        quantiles = {f"q{round(100 * part):02d}": quantile(prior, part) for part in PARTS}
        rows.append({"window": 0, "time": "", "name": label, "mean": x.mean(), "std": x.std(), **quantiles})
    return rows


def read_next(case: CycleCase, window: int) -> np.ndarray:
    """(P, N) of the runs after a window that is done. Not collective.

    FileError if the file is not what was written
    """
    assert case.ensemble is not None
    if not case.parameters:
        return np.empty((0, case.ensemble.members))
    path = window_folder(case.run, window) / "parameters.json"
    try:
        values = np.array(json.loads(path.read_text(encoding="utf-8"))["next"], dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FileError(f"{path}: is not what was written ({error}); restore it, or start a new run") from None
    if values.ndim != 2 or values.shape[1] != case.ensemble.members or not np.isfinite(values).all():
        raise FileError(f"{path}: is not what was written; restore it, or start a new run")
    return values


def ledger_entry(parameters: Parameters, of: MemberValues) -> dict[str, dict]:
    """What the ledger has of a window's parameters: means and standard deviations after the analysis."""
    if len(parameters) == 0:
        return {}
    return {
        "parameters": {
            label: {"mean": values["mean"], "std": values["std"]}
            for label, values in statistics(parameters, of.analysis).items()
        }
    }
