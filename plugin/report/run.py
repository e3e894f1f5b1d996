"""What a report is made of, read from the folder of a run once."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from da.observation.quality import Flag
from plugin.case.configuration import ConfigurationError
from plugin.run.ledger import read_ledger
from plugin.run.tables import NAMES, NUMBERS, read_tables

_YES, _NO = "yes", "no: "


@dataclass(frozen=True)
class Readings:
    """N readings of all windows.

    window : (N,) int; time : (N,) [s]; position : (N, 3) [m]
    sensor : (N,) the station's name, or where it has none its place
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

    def __len__(self):
        return len(self.window)

    @cached_property
    def used(self):
        """(N,) bool, of an analysis."""
        return self.reason == ""

    @cached_property
    def withheld(self):
        """(N,) bool, kept from the analysis but compared with it."""
        return (self.reason == Flag.WITHHELD.text) & np.isfinite(self.residual)

    def select(self, which):
        """Some of them, as numpy's indices."""
        return Readings(**{name: getattr(self, name)[which] for name in Readings.__dataclass_fields__})


@dataclass(frozen=True)
class Run:
    """A run as its files tell it.

    folder : of the run
    settings : of its case file, as case.json keeps them
    windows : how many there are to be
    entries : of the ledger, one for each finished window
    readings : Readings of these windows
    """

    folder: Path
    settings: dict
    windows: int
    entries: list[dict]
    readings: Readings

    @property
    def last(self):
        """The last window's entry; there is one."""
        return self.entries[-1]


def read_run(folder):
    """Read what a run has left so far.

    Raises
    ------
    ConfigurationError
        if the folder holds no run of plugin.cycle
    LedgerError, ReadingsError
        if ledger or tables are damaged
    """
    folder = Path(folder)
    kept = folder / "case.json"
    try:
        settings = json.loads(kept.read_text(encoding="utf-8"))
        windows = settings["cycle"]["windows"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(f"{kept}: no settings of a run of plugin.cycle: {error!r}") from None
    entries = read_ledger(folder / "ledger.jsonl")
    done = [entry["window"] for entry in entries]
    readings = _readings(read_tables(folder)) if entries else _readings(_EMPTY)
    return Run(folder, settings, windows, entries, readings.select(np.isin(readings.window, done)))


_EMPTY = {"window": np.empty(0, int), **dict.fromkeys(NUMBERS, np.empty(0)), **dict.fromkeys(NAMES, np.empty(0, str))}


def _readings(table):
    place = np.column_stack([table[c] for c in "xyz"])
    unnamed = {k: "at " + ", ".join(f"{c:g}" for c in place[k]) for k in np.flatnonzero(table["station"] == "")}
    sensor = np.array([unnamed.get(k, name) for k, name in enumerate(table["station"].tolist())], dtype=str)
    reason = np.char.replace(np.where(table["used"] == _YES, "", table["used"]).astype(str), _NO, "", 1)
    same = {name: table[name] for name in ("window", "time", "variable", "value", "error", "innovation", "residual")}
    return Readings(position=place, sensor=sensor, reason=reason, **same)
