"""How errors of a forecast grow with lead time: of persistence, of a linear inverse model of TSVD's codes, of networks.

Each test state with states long enough after it is a start. The number of modes and the other settings are chosen by
the last tenth of the training states, their mean error over the lead times; the model is then fitted to all training
states, and the test states are scored once. What lies outside the modes has no forecast: it is left at the mean, or, in
the rows that keep the rest, falls by a factor in each step. Networks are trained by the first nine tenths of the states
that they are given, and choose their epoch by the last. With an error of 1 a forecast is no better than the mean of the
training states.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from models.dynamics.linear import LinearDynamics, linear_dynamics
from models.dynamics.network import NetworkDynamics
from models.dynamics.training import RollOuts, train_dynamics
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import GrowthSection
from plugin.experiment.experiments.rows import Row
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.scores import spread
from plugin.experiment.states import ExperimentInputs, StandardisedStates
from plugin.experiment.systems import tsvd

_PERSISTENCE, _LINEAR, _KEPT = "persistence", "linear", "{}, the rest kept"
_STYLES = ("--", "-", "-.", ":", (0, (5, 1)))


@dataclass(frozen=True)
class _Setting:
    """Of a forecast by codes.

    name : linear, or a network's
    rest : part of what lies outside the modes that is left after a step
    noise : of a network's training
    """

    name: str
    modes: int
    ridge: float
    rest: float = 0.0
    noise: float | None = None


def growth(inputs: ExperimentInputs) -> Result:
    """Errors of forecasts against lead time."""
    states, settings = inputs.states, inputs.settings.growth
    known = _Codes(states.validation(), inputs, max(*settings.modes, *settings.network_modes))
    starts, steps = _starts(states, settings.leads)
    stays = [_mean_error(states, states.rows[starts][:, states.used].astype(np.float64).T, starts + k) for k in steps]
    rows = _rows(_PERSISTENCE, {}, settings.leads, [stays], len(starts))
    chosen = _chosen(known, settings)
    whole = _Codes(states, inputs, max(of.modes for of in chosen))
    for of in chosen:
        seeds = range(1 if of.noise is None else settings.seeds)
        name = of.name if of.rest == 0.0 else _KEPT.format(of.name)
        inputs.progress.say(f"{name}: {of.modes} modes, ridge {of.ridge:g}")
        told = {"modes": of.modes, "ridge": of.ridge, "rest": of.rest, "noise": of.noise}
        errors = [_forecasts(whole, settings, of, seed) for seed in seeds]
        rows += _rows(name, told, settings.leads, errors, len(starts))
    for row in rows:
        inputs.progress.say(f"{row['system']}, {row['lead']:g} s: error {row['error']:.4g}")
    columns = {
        "system": "system", "lead": "lead [s]", "error": "error", "modes": "modes", "ridge": "ridge",
        "rest": "rest kept", "noise": "noise",
    }  # fmt: skip
    return Result("growth", (ScoreTable("Error by lead time", columns, rows),), lambda f: _draw(f, rows))


def _rows(
    name: str, told: dict[str, Any], leads: Sequence[float], errors: Sequence[Sequence[float]], starts: int
) -> list[Row]:
    by_lead = np.array(errors).T
    return [
        {"system": name, "lead": lead, **spread("error", of), "starts": starts, **told}
        for lead, of in zip(leads, by_lead, strict=True)
    ]


class _Codes:
    """States and their codes by their training's modes.

    base : (values that take part, modes) orthonormal
    codes : (modes, S)
    """

    def __init__(self, states: StandardisedStates, inputs: ExperimentInputs, modes: int) -> None:
        of = tsvd(states, inputs.protocol, min(modes, states.n_training - 1))
        assert of.singular_values is not None  # TSVD's modes have them
        self.states = states
        self.base = np.asarray(of.vectors[states.used] / of.singular_values[: of.n_modes])
        self.codes = np.asarray(self.base.T @ states.rows[:, states.used].T, np.float64)


def _chosen(known: _Codes, settings: GrowthSection) -> list[_Setting]:
    """The setting of each row, of least validation error."""

    def mean(of: _Setting) -> float:
        return float(np.mean(_forecasts(known, settings, of)))

    most = len(known.codes)
    by_modes = []
    for modes in sorted({min(modes, most) for modes in settings.modes}):
        trials = {of: mean(of) for of in (_Setting(_LINEAR, modes, ridge) for ridge in settings.ridges)}
        by_modes.append(min(trials.items(), key=lambda item: item[1]))
    least, _ = min(by_modes, key=lambda item: item[1])
    kept = _least([replace(of, rest=rest) for (of, _), rest in product(by_modes, settings.rests)], mean)
    networks = []
    for name in settings.networks:
        numbers = sorted({min(modes, most) for modes in settings.network_modes})
        tried = product(numbers, settings.noise)
        networks.append(_least([replace(kept, name=name, modes=modes, noise=noise) for modes, noise in tried], mean))
    return [least, kept, *networks]


def _least(settings: Sequence[_Setting], mean: Any) -> _Setting:
    trials = {of: mean(of) for of in settings}
    return min(trials, key=trials.__getitem__)


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


def _forecasts(of: _Codes, settings: GrowthSection, setting: _Setting, seed: int = 0) -> list[float]:
    """Mean error at each lead time, of the model fitted to the codes of the training states."""
    states, base, codes = of.states, of.base[:, : setting.modes], of.codes[: setting.modes]
    starts, steps = _starts(states, settings.leads)
    recipe = RollOuts(noise=setting.noise or 0.0, ridge=setting.ridge, epochs=settings.epochs, seed=seed)
    try:
        model = _model(codes[:, : states.n_training], setting, recipe)
    except ValueError as error:
        raise ConfigurationError(f"experiment.growth: {error}") from error
    reached = codes[:, starts]
    if isinstance(model, NetworkDynamics):
        before = np.arange(-min(recipe.before, states.n_training) + 1, 1)
        reached = model.warmed_up(codes[:, starts[None] + before[:, None]].transpose(1, 0, 2))
    outside = states.rows[starts][:, states.used].T - base @ codes[:, starts] if setting.rest else 0.0
    errors, done = {}, 0
    for k in np.unique(steps):
        for _ in range(k - done):
            reached = model.step(reached)
        done = k
        errors[k] = _mean_error(states, base @ reached[: setting.modes] + setting.rest**k * outside, starts + k)
    return [errors[k] for k in steps]


def _model(training: np.ndarray, setting: _Setting, recipe: RollOuts) -> LinearDynamics | NetworkDynamics:
    if setting.noise is None:
        return linear_dynamics(training[:, :-1], training[:, 1:], setting.ridge)
    judged = max(recipe.before + recipe.steps, training.shape[1] // 10)
    return train_dynamics(setting.name, [training[:, :-judged]], [training[:, -judged:]], recipe).dynamics


def _mean_error(states: StandardisedStates, increments: np.ndarray, numbers: np.ndarray) -> float:
    return float(np.mean(states.errors(increments, numbers, states.used)))


def _draw(figure: Figure, rows: list[Row]) -> None:
    axes = figure.subplots()
    for number, name in enumerate(dict.fromkeys(row["system"] for row in rows)):
        own = sorted((row["lead"], row["error"]) for row in rows if row["system"] == name)
        style = _STYLES[number % len(_STYLES)]
        axes.plot(*zip(*own, strict=True), linestyle=style, marker="o", markersize=3, label=name)
    axes.set(xlabel="lead time [s]", ylabel="error", ylim=(0.0, None))
    axes.legend(fontsize="small")
