"""What a run keeps of an ensemble's window: its table of readings, its ledger entry, and a line for people."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from da.observation.observations import Observations
from plugin.case.configuration import CycleCase
from plugin.ensemble.analysis import Base, EnsembleAnalysis, Written
from plugin.ensemble.forecasts import Forecasts
from plugin.ensemble.readings import Compared
from plugin.ensemble.scores import scores_of
from plugin.ensemble.setting import Setting, method_of
from plugin.window.observations.table import reading_rows


def table_of(compared: Compared, values: np.ndarray, random: np.random.Generator) -> list[dict]:
    """Rows of readings.csv: departures of the members' means, and what `plugin.ensemble.scores` has.

    values : (M, N) of the analyses
    random : as in `scores_of`
    """
    rows = reading_rows(compared.readings, compared.innovation, compared.departure(values), compared.flags)
    for name, column in scores_of(compared, values, random).items():
        for row, value in zip(rows, column.tolist(), strict=True):
            row[name] = None if np.isnan(value) else value
    return rows


def entry_of(
    number: int,
    time: float,
    table: Sequence[Mapping[str, Any]],
    forecasts: Forecasts,
    bases: Sequence[Base],
    written: Written,
    analysis: EnsembleAnalysis,
    replaced: int,
    run: Path,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The ledger's entry of a window.

    Parameters
    ----------
    number, time : of the window [s]
    table : rows of readings.csv
    forecasts : Forecasts
    bases : Base of each member
    written : Written
    analysis : EnsembleAnalysis
    replaced : members replaced over the run so far
    run : folder of the run
    seconds : {stage: wall-clock time [s]}
    """
    members = []
    for member, base in enumerate(bases):
        of: dict[str, Any] = {
            "restart": str(written.restarts[member].path.relative_to(run)),
            "forecast": str(base.forecast.restart.path.relative_to(run)),
            "changed": written.changed[member],
        }
        if member in forecasts.failed:
            of["replaced"] = {"problem": forecasts.failed[member]}
        elif (recovery := forecasts.good[member].recovery) is not None:
            of["recovery"] = recovery
        if written.gates[member]:
            of["gates"] = written.gates[member]
        members.append(of)
    used = [row for row in table if row["used"] == "yes"]
    entry: dict[str, Any] = {
        "window": number,
        "time": time,
        "readings": len(table),
        "used": len(used),
        "left_out": dict(Counter(row["used"].removeprefix("no: ") for row in table if row["used"] != "yes")),
        "members": members,
        "replaced": replaced,
        "seconds": {name: round(s, 4) for name, s in seconds.items() if name != "background"},
        "model_seconds": round(sum(of.seconds for of in forecasts.good.values()), 4),
    }
    if analysis.factors:
        entry["inflation"] = analysis.factors
    if analysis.summary is not None:
        entry["analysis"] = {
            **analysis.summary,
            "innovation": _statistics([row["innovation"] for row in used]),
            "residual": _statistics([row["residual"] for row in used]),
            **_spreads(used),
            "by_variable": {name: _of_variable(used, name) for name in dict.fromkeys(row["variable"] for row in used)},
        }
    return entry


def window_line(label: str, entry: Mapping[str, Any]) -> str:
    """What is said of a window once it is done."""
    times = "  ".join(f"{name} {s:.2f} s" for name, s in entry["seconds"].items())
    again = sum("recovery" in of for of in entry["members"])
    new = sum("replaced" in of for of in entry["members"])
    failed = f"  {again} members run again from their background" if again else ""
    failed += f"  {new} members replaced by a draw" if new else ""
    begin = f"{label}: t = {entry['time']:g} s"
    if "analysis" not in entry:
        why = "no readings of this time" if not entry["readings"] else "no reading is used"
        return f"{begin}  {why}, the forecasts go on as they are{failed}  {times}"
    a = entry["analysis"]
    return (
        f"{begin}  {entry['used']} of {entry['readings']} readings  {a['method']}  "
        f"rms innovation {a['innovation']['rms']:.3g} ({a['expected']:.3g} expected) → residual "
        f"{a['residual']['rms']:.3g}  spread {a['spread']:.3g} → {a['analysis_spread']:.3g}{failed}  {times}"
    )


def _spreads(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    return {
        "spread": _rms([row["spread"] for row in rows]),
        "analysis_spread": _rms([row["analysis_spread"] for row in rows]),
        "expected": _rms([np.hypot(row["spread"], row["error"]) for row in rows]),
    }


def _of_variable(used: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    rows = [row for row in used if row["variable"] == name]
    departures = {key: _statistics([row[key] for row in rows]) for key in ("innovation", "residual")}
    return {**departures, **_spreads(rows), "crps": float(np.mean([row["crps"] for row in rows]))}


def _statistics(values: Sequence[float]) -> dict[str, Any]:
    of = np.asarray(values, float)
    return {"count": len(of), "mean": float(of.mean()), "std": float(of.std()), "rms": _rms(values)}


def _rms(values: Sequence[float]) -> float:
    return float(np.sqrt(np.mean(np.square(np.asarray(values, float)))))


def beginning_line(case: CycleCase, setting: Setting, at_once: int, readings: Observations, seconds: float) -> str:
    """What is said before the first window."""
    assert case.ensemble is not None
    n = case.ensemble.members
    return (
        f"ensemble: {n} members ({method_of(case)}), {at_once} at once: a window takes the time of {-(-n // at_once)} "
        f"model runs one after another; {setting.transfer.grid}, variables "
        f"{', '.join(v.name for v in setting.transfer.variables)}; {len(readings)} readings; {seconds:.1f} s"
    )
