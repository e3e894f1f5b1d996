"""Runs of a forecast model side by side: without analyses, and cycles of different kinds, as plugin.cycle wrote them.

All are compared with states of a truth at the analysis times, on the experiment's grid and standardised like its
states, so that the training mean scores 1.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from coupling.geometry.mesh import State
from coupling.simulation.simulation import Simulation
from plugin.case.configuration import ConfigurationError, read_cycle_case
from plugin.case.sections import SeriesSection
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import relative_error
from plugin.experiment.states import COMM, ExperimentInputs, StandardisedStates
from plugin.run.drivers import simulation_of
from plugin.run.ledger import read_ledger
from plugin.state.transfer import Transfer, variables_of
from plugin.window.background.of_case import close_all, plan_of, states_of

FREE = "free run"
KINDS = {"forecast": "forecast", "analysis": "restart"}  # and the ledger's key of their checkpoints
_NEAR = 0.1  # of the time between analyses: a state this close counts as one of the analysis time


def cycled(inputs: ExperimentInputs) -> Result:
    """Errors of forecasts and analyses of the settings' runs at their analysis times."""
    settings = inputs.settings.cycled
    if settings is None:
        raise ConfigurationError("experiment.cycled: this section is missing; it names the truth and the runs")
    cases = {name: read_cycle_case(path) for name, path in settings.runs.items()}
    folders = {name: case.run for name, case in cases.items()}
    ledgers = {name: read_ledger(folder / "ledger.jsonl") for name, folder in folders.items()}
    times = _times(ledgers, folders)
    grid = _grid(settings.truth, inputs)
    truth = _states_at(settings.truth, times, "truth", grid)
    errors = {}
    if settings.free is not None:
        errors[FREE] = _errors(_states_at([settings.free], times, "free", grid), truth)
    for name, ledger in ledgers.items():
        simulation = simulation_of(cases[name].model)
        for kind, key in KINDS.items():
            states = (_checkpoint(folders[name] / entry[key], simulation, grid) for entry in ledger)
            errors[f"{name} {kind}"] = _errors(states, truth)
    seconds = {f"{name} analysis": [e["seconds"]["analysis"] for e in ledger] for name, ledger in ledgers.items()}
    last = slice(len(times) // 2, None)
    rows = [
        {"system": name, "error": float(np.mean(e)), "later": float(np.mean(e[last])), **_median(seconds.get(name))}
        for name, e in errors.items()
    ]
    each = [{"time": float(t), **{name: e[k] for name, e in errors.items()}} for k, t in enumerate(times)]
    columns = {"system": "run", "error": "error", "later": "error, last half of the windows", "seconds": "time [s]"}
    tables = ScoreTable(f"{len(times)} windows", columns, rows), ScoreTable("Windows", {}, each)
    return Result("cycled", tables, lambda figure: _draw(figure, times, errors))


def _median(seconds: Sequence[float] | None) -> dict[str, float]:
    return {} if seconds is None else {"seconds": float(np.median(seconds))}


def _times(ledgers: Mapping[str, list[dict]], folders: Mapping[str, Path]) -> np.ndarray:
    """(windows,) analysis times, which all runs share [s]."""
    times = {name: [entry["time"] for entry in ledger] for name, ledger in ledgers.items()}
    first = next(iter(times.values()))
    for name, own in times.items():
        if len(own) < 1:
            raise ConfigurationError(f"experiment.cycled.runs: {folders[name]} holds no finished window; run the cycle")
        if len(own) != len(first) or not np.allclose(own, first):
            raise ConfigurationError(
                f"experiment.cycled.runs: {name} has {_windows(len(own))} to {own[-1]:g} s, others {len(first)} to "
                f"{first[-1]:g} s; runs are compared at the same times"
            )
    return np.array(first)


def _windows(n: int) -> str:
    return "1 window" if n == 1 else f"{n} windows"


def _states_at(snapshots: Sequence[SeriesSection], times: np.ndarray, key: str, grid: "_Grid") -> np.ndarray:
    """(windows, n) states of a series at some times, standardised."""
    plan = plan_of(snapshots, COMM)
    available = np.array([series.times[step] for series, step in plan])
    near = _NEAR * (np.diff(times).min() if len(times) > 1 else np.inf)
    states = []
    for time in times:
        k = int(np.argmin(np.abs(available - time)))
        if abs(available[k] - time) > near:
            raise ConfigurationError(
                f"experiment.cycled.{key}: no state at {time:g} s, the nearest is at {available[k]:g} s"
            )
        series, step = plan[k]
        states.append(grid.standardised(series.read(step, grid.fields)))
    close_all(plan)
    return np.array(states)


def _checkpoint(path: Path, simulation: Simulation, grid: "_Grid") -> np.ndarray:
    return grid.standardised(simulation.read_fields(simulation.open_restart(path), COMM, grid.fields))


@dataclass(frozen=True)
class _Grid:
    """The experiment's grid, and the transfer to it."""

    states: StandardisedStates
    transfer: Transfer

    @property
    def fields(self) -> list[str]:
        """Names of the model's fields."""
        return list(self.transfer.field_names)

    def standardised(self, state: State) -> np.ndarray:
        """(n,) values of a state on a mesh."""
        away, scale = self.transfer.to_grid(state) - self.states.mean, self.states.scale
        return np.divide(away, scale, out=np.zeros_like(away), where=scale > 0.0)


def _grid(snapshots: Sequence[SeriesSection], inputs: ExperimentInputs) -> _Grid:
    """The grid for the states of a series, whose first state determines the variables."""
    plan = plan_of(snapshots, COMM)
    first = next(states_of(inputs.case, plan[:1]))
    close_all(plan)
    variables = variables_of(inputs.case.variables, first)
    states = inputs.states.plain or inputs.states
    return _Grid(states, Transfer(states.grid, variables, COMM, inputs.case.run / "cache"))


def _errors(states: Iterable[np.ndarray], truth: np.ndarray) -> list[float]:
    return [relative_error(x, true) for x, true in zip(states, truth, strict=True)]


def _draw(figure: Figure, times: np.ndarray, errors: dict[str, Any]) -> None:
    axes, names = figure.subplots(), list[str]()
    for name, values in errors.items():
        run = name.rpartition(" ")[0]
        names += [run] if run not in names else []
        line = ":" if name.endswith(" forecast") else "-"
        axes.plot(times, values, line, color=f"C{names.index(run)}", marker="o", markersize=3, label=name)
    axes.set(xlabel="time [s]", ylabel="DA MSE", ylim=(0.0, None))
    axes.legend(fontsize="small")
