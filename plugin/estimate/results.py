"""What an estimate leaves for people: tables of parameters and readings, a picture, and a line for each iteration.

RUN/estimate/parameters.csv   mean, spread and quantiles of each parameter after each iteration; 0 is the prior's draw
RUN/estimate/posterior.csv    each member's parameters after the last iteration
RUN/estimate/posterior.png    marginals of prior and posterior, and a map where the case names a place
"""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from coupling.common.files import whole_file
from da.ensemble.ensemble import mean_of
from da.ensemble.prior import values
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.configuration import CycleCase
from plugin.ensemble.parameters import PARTS, Parameters, statistics
from plugin.ensemble.readings import Compared, spread_of
from plugin.ensemble.setting import Setting
from plugin.estimate.picture import draw

_COLUMNS = ("iteration", "name", "mean", "std", *(f"q{round(100 * part):02d}" for part in PARTS))
REASONS = {int(flag): flag.text for flag in Flag}
_READINGS = ("station", "time", "x", "y", "z", "variable", "value", "error", "used", "mean", "spread")


def write_results(
    case: CycleCase,
    parameters: Parameters,
    prior: np.ndarray,
    entries: Sequence[Mapping[str, Any]],
    readings: Observations,
    setting: Setting,
) -> None:
    """Write tables and picture of an estimate so far. Not collective.

    prior : (P, N) that the first iteration ran with
    entries : of the ledger
    """
    of = [prior, *(np.array(entry["parameters"], dtype=np.float64) for entry in entries)]
    rows = [
        {"iteration": number, "name": label, **numbers}
        for number, unbounded in enumerate(of)
        for label, numbers in statistics(parameters, unbounded).items()
    ]
    _write(case.run / "parameters.csv", _COLUMNS, rows)
    members = values(parameters.priors, of[-1]).T
    _write(
        case.run / "posterior.csv",
        ("member", *parameters.labels),
        ({"member": k + 1, **dict(zip(parameters.labels, row, strict=True))} for k, row in enumerate(members.tolist())),
    )
    sensors = np.unique(readings.position, axis=0)
    draw(case.run / "posterior.png", parameters, prior, of[-1], case.estimate.place, sensors, setting.transfer.grid)


def write_readings(path: Path, compared: Compared) -> None:
    """Each reading with the members' mean and spread; without these where there are none. Not collective."""
    of = compared.readings
    mean, spread = mean_of(compared.values), spread_of(compared.values)
    rows = []
    for k, flag in enumerate(compared.flags):
        nothing = flag in (Flag.OUTSIDE, Flag.NO_STATE)
        own = (of.station[k], of.time[k], *of.position[k], of.variable[k], of.value[k], of.error[k])
        used = "yes" if flag == Flag.USED else f"no: {REASONS[int(flag)]}"
        rows.append(
            dict(zip(_READINGS, (*own, used, *((None, None) if nothing else (mean[k], spread[k]))), strict=True))
        )
    _write(path, _READINGS, rows)


def iteration_line(label: str, entry: Mapping[str, Any], parameters: Parameters, unbounded: np.ndarray) -> str:
    """What is said of an iteration: how the members met the readings, and what is known then."""
    known = ", ".join(
        f"{name} {of['mean']:.4g} ± {of['std']:.2g}" for name, of in statistics(parameters, unbounded).items()
    )
    times = "  ".join(f"{name} {s:.1f} s" for name, s in entry["seconds"].items())
    then = "" if entry["factor"] is None else f"  → {known}"
    return (
        f"{label}: {entry['used']} of {entry['readings']} readings  rms {entry['rms']:.3g}, spread "
        f"{entry['spread']:.3g}, χ² {entry['chi_squared']:.3g}{then}  {times}"
    )


def _write(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows(rows)
