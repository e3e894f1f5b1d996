"""The table of an analysis' readings: a row each, with its innovation and residual, or why it was left out."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coupling.common.files import whole_file
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.readings.names import as_cells

TABLE = ("time", "x", "y", "z", "station", "variable", "value", "error", "innovation", "residual", "used")
_REASONS = {int(flag): flag.text for flag in Flag}


def reading_rows(readings: Observations, innovation: np.ndarray, residual: np.ndarray, flags: np.ndarray) -> list[dict]:
    """One dict per reading, its keys those of TABLE.

    Parameters
    ----------
    readings : Observations, their errors as they count
    innovation, residual : (M,) in the readings' units; a NaN becomes None
    flags : (M,) of Flag's values
    """
    rows = []
    for i in range(len(readings)):
        x, y, z = readings.position[i].tolist()
        rows.append(
            {
                "time": float(readings.time[i]),
                "x": x,
                "y": y,
                "z": z,
                "station": str(readings.station[i]),
                "variable": str(readings.variable[i]),
                "value": float(readings.value[i]),
                "error": float(readings.error[i]),
                "innovation": None if np.isnan(innovation[i]) else float(innovation[i]),
                "residual": None if np.isnan(residual[i]) else float(residual[i]),
                "used": "yes" if flags[i] == Flag.USED else f"no: {_REASONS[flags[i]]}",
            }
        )
    return rows


def write_table(path: Path, rows: Sequence[dict]) -> None:
    """Write an analysis' table as CSV, whole or not at all.

    rows : as `WindowAnalysis.table`; keys beyond TABLE, the same in all rows, become columns after its own
    """
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(dict.fromkeys([*TABLE, *(rows[0] if rows else ())])))
        table.writeheader()
        table.writerows(map(as_cells, rows))
