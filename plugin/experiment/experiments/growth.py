"""How errors of a forecast grow with lead time: of persistence, and of a linear inverse model of TSVD's codes.

Each test state with states long enough after it is a start. The number of modes and the ridge are chosen by the last
tenth of the training states, their mean error over the lead times; the model is then fitted to all training states, and
the test states are scored once. What lies outside the modes has no forecast and is left at the mean. With an error of
1 a forecast is no better than the mean of the training states.
"""

from itertools import product

import numpy as np
from matplotlib.figure import Figure

from models.dynamics.linear import LinearDynamics, linear_dynamics
from plugin.case.configuration import ConfigurationError
from plugin.experiment.experiments.rows import Row
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.states import ExperimentInputs, StandardisedStates
from plugin.experiment.systems import tsvd

_PERSISTENCE, _LINEAR = "persistence", "linear"


def growth(inputs: ExperimentInputs) -> Result:
    """Errors of forecasts against lead time."""
    states, settings = inputs.states, inputs.settings.growth
    known = states.validation()
    numbers = sorted({min(modes, known.n_training - 1) for modes in settings.modes})
    trials = {}
    base = _base(known, max(numbers), inputs)
    codes = _codes(known, base)
    for modes, ridge in product(numbers, settings.ridges):
        errors = _forecasts(known, settings.leads, base[:, :modes], codes[:modes], ridge)
        trials[modes, ridge] = float(np.mean(errors))
    modes, ridge = min(trials, key=trials.__getitem__)
    inputs.progress.say(f"{modes} modes, ridge {ridge:g}: validation error {trials[modes, ridge]:.4g}")
    starts, steps = _starts(states, settings.leads)
    used, rows = states.used, []
    stays = [_mean_error(states, states.rows[starts][:, used].astype(np.float64).T, starts + k) for k in steps]
    base = _base(states, modes, inputs)
    forecasts = _forecasts(states, settings.leads, base, _codes(states, base), ridge)
    for name, of in {_PERSISTENCE: stays, _LINEAR: forecasts}.items():
        for lead, error in zip(settings.leads, of, strict=True):
            chosen = {"modes": modes, "ridge": ridge} if name == _LINEAR else {}
            row: Row = {"system": name, "lead": lead, "error": float(error), "starts": len(starts), **chosen}
            inputs.progress.say(f"{name}, {lead:g} s: error {row['error']:.4g}")
            rows.append(row)
    columns = {"system": "system", "lead": "lead [s]", "error": "error", "modes": "modes", "ridge": "ridge"}
    return Result("growth", (ScoreTable("Error by lead time", columns, rows),), lambda f: _draw(f, rows))


def _starts(states: StandardisedStates, leads: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the test states that forecasts start from, and the steps of each lead time."""
    apart = np.diff(states.times)
    step = float(apart[0])
    if not step > 0.0 or np.any(np.abs(apart - step) > 1e-3 * step):
        raise ConfigurationError("experiment.states: times are not evenly spaced; growth needs them so")
    steps = np.round(np.array(leads) / step).astype(int)
    if steps.min() < 1 or np.any(np.abs(steps * step - leads) > 1e-3 * step):
        raise ConfigurationError(f"experiment.growth.leads: {leads}, expected multiples of the {step:g} s of a step")
    starts = np.arange(states.n_training, len(states.rows) - steps.max())
    if len(starts) == 0:
        raise ConfigurationError(
            f"experiment.growth.leads: no state has another {max(leads):g} s after it; give shorter ones"
        )
    return starts, steps


def _base(states: StandardisedStates, modes: int, inputs: ExperimentInputs) -> np.ndarray:
    """(values that take part, modes) orthonormal modes of the training states."""
    of = tsvd(states, inputs.protocol, modes)
    assert of.singular_values is not None  # TSVD's modes have them
    return np.asarray(of.vectors[states.used] / of.singular_values[: of.n_modes])


def _codes(states: StandardisedStates, base: np.ndarray) -> np.ndarray:
    """(modes, S) codes of all states."""
    return np.asarray(base.T @ states.rows[:, states.used].T, np.float64)


def _forecasts(
    states: StandardisedStates, leads: list[float], base: np.ndarray, codes: np.ndarray, ridge: float
) -> list[float]:
    """Mean error at each lead time, of the model fitted to the codes of the training states."""
    starts, steps = _starts(states, leads)
    training, begun = codes[:, : states.n_training], codes[:, starts]
    try:
        model: LinearDynamics = linear_dynamics(training[:, :-1], training[:, 1:], ridge)
    except ValueError as error:
        raise ConfigurationError(f"experiment.growth: {error}") from error
    errors, reached, done = {}, begun, 0
    for k in np.unique(steps):
        for _ in range(k - done):
            reached = model.step(reached)
        done = k
        errors[k] = _mean_error(states, base @ reached, starts + k)
    return [errors[k] for k in steps]


def _mean_error(states: StandardisedStates, increments: np.ndarray, numbers: np.ndarray) -> float:
    return float(np.mean(states.errors(increments, numbers, states.used)))


def _draw(figure: Figure, rows: list[Row]) -> None:
    axes = figure.subplots()
    for name, style in {_PERSISTENCE: "--", _LINEAR: "-"}.items():
        own = sorted((row["lead"], row["error"]) for row in rows if row["system"] == name)
        axes.plot(*zip(*own, strict=True), style, marker="o", markersize=3, label=name)
    axes.set(xlabel="lead time [s]", ylabel="error", ylim=(0.0, None))
    axes.legend(fontsize="small")
