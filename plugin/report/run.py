"""What a run's folder says, read once for all sections."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from coupling.simulation.simulation import Simulation
from da.observation.quality import Flag
from plugin.case.configuration import ConfigurationError, ModelSection
from plugin.run.drivers import simulation_of
from plugin.run.ledger import read_ledger
from plugin.run.tables import NAMES, NUMBERS, read_tables

_YES, _NO = "yes", "no: "


@dataclass(frozen=True)
class Readings:
    """N readings of all windows.

    window : (N,) int; time : (N,) [s]; position : (N, 3) [m]
    sensor : (N,) the station's name, or its place where it has no name
    variable : (N,) name; value, error : (N,) in its units
    innovation, residual : (N,) in its units, NaN where there is none
    reason : (N,) why it was left out, "" where it was used
    """

    window: np.ndarray
    time: np.ndarray
    position: np.ndarray
    sensor: np.ndarray
    variable: np.ndarray
    value: np.ndarray
    error: np.ndarray
    innovation: np.ndarray
    residual: np.ndarray
    reason: np.ndarray

    def __len__(self) -> int:
        return len(self.window)

    @property
    def used(self) -> np.ndarray:
        """(N,) bool, whether an analysis used it."""
        return self.reason == ""

    @property
    def withheld(self) -> np.ndarray:
        """(N,) bool, withheld from the analysis but compared with it."""
        return (self.reason == Flag.WITHHELD.text) & np.isfinite(self.residual)

    def select(self, which: np.ndarray) -> "Readings":
        """Some of them, by a mask or by indices."""
        return Readings(**{name: getattr(self, name)[which] for name in Readings.__dataclass_fields__})


@dataclass(frozen=True)
class Run:
    """A run as its files describe it.

    folder : of the run
    settings : of its case file, from case.json
    windows : number of windows asked for
    entries : of the ledger, one for each finished window
    readings : Readings of these windows
    """

    folder: Path
    settings: dict[str, Any]
    windows: int
    entries: list[dict[str, Any]]
    readings: Readings

    @property
    def last(self) -> dict[str, Any]:
        """The last window's entry; not to be asked of a run without entries."""
        return self.entries[-1]


def simulation_of_run(run: Run) -> Simulation:
    """Whose restarts a run has. ConfigurationError if its driver cannot be imported."""
    return simulation_of(ModelSection.model_validate(run.settings["model"]))


def read_run(folder: Path) -> Run:
    """Read what a run has written so far.

    Raises
    ------
    ConfigurationError
        if the folder holds no run of plugin.cycle
    LedgerError, ReadingsError
        if ledger or tables are damaged
    """
    folder = Path(folder)
    path = folder / "case.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        windows = settings["cycle"]["windows"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{path}: no settings of a run of plugin.cycle: {error!r}") from None
    entries = read_ledger(folder / "ledger.jsonl")
    done = [entry["window"] for entry in entries]
    readings = _readings(read_tables(folder)) if entries else _readings(_EMPTY)
    return Run(folder, settings, windows, entries, readings.select(np.isin(readings.window, done)))


_EMPTY = {"window": np.empty(0, int), **dict.fromkeys(NUMBERS, np.empty(0)), **dict.fromkeys(NAMES, np.empty(0, str))}


def _readings(table: Mapping[str, np.ndarray]) -> Readings:
    place = np.column_stack([table[c] for c in "xyz"])
    unnamed = {
        k: "at " + ", ".join(f"{c:g}" for c in place[k]) for k in np.flatnonzero(table["station"] == "").tolist()
    }
    sensor = np.array([unnamed.get(k, name) for k, name in enumerate(table["station"].tolist())], dtype=str)
    reason = np.array(["" if used == _YES else used.removeprefix(_NO) for used in table["used"].tolist()], dtype=str)
    same = {name: table[name] for name in ("window", "time", "variable", "value", "error", "innovation", "residual")}
    return Readings(position=place, sensor=sensor, reason=reason, **same)
