"""A network that refines localised analyses, trained on analyses of states that their covariances do not know.

The training states but the last tenth, which validate, are split into five periods. Those of one are analysed with mean
and covariances of the other four, without the states next to it, so that residuals have the size that they have for new
states. Sensors are random, their number log-uniform, and so is the noise; half of the states are mixtures of two of
their period, for the gain is linear.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from coupling.common.files import whole_file
from models.training.errors import TrainingError
from models.training.optimisers import make_optimisers
from models.training.recipe import rate_factor
from models.zoo.refinement import Refinement
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import RefinedSection
from plugin.experiment.localised_gain import Localising
from plugin.experiment.refinement_inputs import LocalisedAnalyses, steps_before
from plugin.experiment.states import StandardisedStates
from plugin.run.progress import Progress

BATCH = 8  # states that a network takes at a time
_PERIODS, _GAP = 5, 10  # of the training states; states left out beside a period
_SETS, _STATES = 2, 24  # sets of sensors for each period in a round, and states that each observes
_RATE, _DECAY, _CLIP = 0.005, 0.01, 1.0
_MIXED = 0.5  # part of the states that are mixtures of two
_AVERAGED = 0.99  # of the mean of weights over the steps
_NO_NOISE, _NOISE = 0.4, 0.2  # part of the sets without noise, and most of it


@dataclass(frozen=True)
class AnalysedVariable:
    """What is analysed, and what is scored: the same, or the analysed one's square.

    analysed, scored : StandardisedStates
    """

    analysed: StandardisedStates
    scored: StandardisedStates

    def restored(self, values: torch.Tensor) -> torch.Tensor:
        """(B, n) standardised values that take part → the same as they are scored."""
        if self.analysed is self.scored:
            return values
        (mean, scale), (scored_mean, scored_scale) = (
            (torch.from_numpy(part[states.used]).to(values) for part in (states.mean, states.scale))
            for states in (self.analysed, self.scored)
        )
        return (torch.relu(mean + scale * values) ** 2 - scored_mean) / scored_scale


def analysed_variable(states: StandardisedStates, square_root: bool) -> AnalysedVariable:
    """The variable, or its square root; what is below zero counts as zero.

    Raises
    ------
    ConfigurationError
        if there are several variables
    """
    if len(states.variables) != 1:
        raise ConfigurationError(f"variables: {len(states.variables)} variables; the experiment refined takes one")
    if not square_root:
        return AnalysedVariable(states, states)
    values = np.sqrt(np.maximum(states.restored(states.rows), 0.0))
    training = values[: states.n_training]
    mean, scale = training.mean(axis=0), training.std(axis=0)
    # values that take part do so in both
    scale = np.where(states.scale == 0.0, 0.0, np.where(scale > 1e-12, scale, 1.0))
    rows = np.divide(values - mean, scale, out=np.zeros_like(values), where=scale != 0.0).astype(np.float32)
    roots = StandardisedStates(
        rows, mean, scale, states.times, states.n_training, states.variables, states.grid, states.about
    )
    return AnalysedVariable(roots, states)


class Refined:
    """A refinement between rows of values and the grid."""

    def __init__(self, network: Refinement, variable: AnalysedVariable) -> None:
        self.network, self.variable = network, variable
        self._used = torch.from_numpy(variable.scored.used)
        self._shape = variable.scored.grid.shape

    def linear(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, inputs, n) → (B, n) the linear analyses as they are scored."""
        return self.variable.restored(inputs[:, 0])

    def analyses(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, inputs, n) → (B, n) the refined analyses as they are scored."""
        whole = inputs.new_zeros(*inputs.shape[:2], int(np.prod(self._shape)))
        whole[..., self._used] = inputs
        refined = self.network(whole.reshape(*inputs.shape[:2], *self._shape))
        return self.variable.restored(refined.reshape(len(inputs), -1)[:, self._used])


def relative_errors(analyses: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """(B,) ‖x_a − x_t‖ / ‖x_t‖."""
    return torch.linalg.norm(analyses - truth, dim=1) / torch.linalg.norm(truth, dim=1)


def trained_refinement(
    variable: AnalysedVariable, settings: RefinedSection, folder: Path, progress: Progress
) -> Refined:
    """A refinement from the folder, trained first if it is not there.

    Raises
    ------
    ConfigurationError
        if the lags do not fit the states, the states are too few, or the file is of another training
    TrainingError, OSError
        if the loss is no longer a number, or the file cannot be written
    """
    states = variable.analysed
    keys = {"sensors", "lags", "square_root", "horizontal", "vertical", "modes", "variance", "rounds", "seed"}
    about = json.dumps({**states.about, **settings.model_dump(mode="json", include=keys)}, sort_keys=True)
    network = Refinement(states.grid.shape, len(settings.lags), seed=settings.seed)
    path = folder / f"Refinement-{states.variables[0]}-{settings.rounds}rounds-{settings.seed}.safetensors"
    if path.exists():
        _load(network, path, about)
    else:
        _train(Refined(network, variable), settings, progress)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            save_file(network.state_dict(), beside, {"about": about})
    return Refined(network.eval(), variable)


def _load(network: Refinement, path: Path, about: str) -> None:
    try:
        with safe_open(path, "pt") as file:
            of = (file.metadata() or {}).get("about")
        if of != about:
            raise ConfigurationError(f"{path}: a refinement of other states or settings; remove it, or name a folder")
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ConfigurationError(f"{path}: does not hold this refinement ({error}); remove it") from error


def _train(refined: Refined, settings: RefinedSection, progress: Progress) -> None:
    """Train a refinement's network, whose weights become their mean over the steps."""
    draws, network = _Draws(refined.variable, settings), refined.network
    optimisers = make_optimisers(network, "muon", _RATE, _DECAY)
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    averaged = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    with progress.bar("refinement") as bar:
        for done in range(settings.rounds):
            inputs, truth = draws.round()
            batches = np.array_split(draws.rng.permutation(len(inputs)), -(-len(inputs) // BATCH))
            ratios = []
            for k, numbers in enumerate(batches):
                for group in groups:
                    group["lr"] = group["peak"] * rate_factor("cosine", (done + k / len(batches)) / settings.rounds)
                    for weight in group["params"]:
                        weight.grad = None
                given, wanted = torch.from_numpy(inputs[numbers]), torch.from_numpy(truth[numbers])
                with torch.no_grad():
                    wanted = refined.variable.restored(wanted)
                    before = relative_errors(refined.linear(given), wanted)
                loss = (relative_errors(refined.analyses(given), wanted) / before).mean()
                loss.backward()  # type: ignore[no-untyped-call]
                torch.nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
                for optimiser in optimisers:
                    optimiser.step()
                for key, value in network.state_dict().items():
                    averaged[key].lerp_(value, 1.0 - _AVERAGED)
                ratios.append(loss.item())
                bar.step(k + 1, len(batches))
            mean = float(np.mean(ratios))
            if not np.isfinite(mean):
                raise TrainingError(f"refinement, round {done + 1}: the loss is {mean:g}")
            bar.describe(f"refinement: round {done + 1} of {settings.rounds}, errors times {mean:.4g}")
    network.load_state_dict(averaged)


class _Draws:
    """Cross-fitted analyses of random sensors."""

    def __init__(self, variable: AnalysedVariable, settings: RefinedSection) -> None:
        self.states, self.settings = variable.analysed, settings
        self.rng = np.random.default_rng((settings.seed, 11))
        try:
            self.steps = steps_before(self.states, settings.lags)
        except ValueError as error:
            raise ConfigurationError(f"experiment.refined.lags: {error}") from error
        train = np.arange(self.states.validating[0])
        self.periods = [period[period >= self.steps.max()] for period in np.array_split(train, _PERIODS)]
        gap = min(_GAP, len(train) // 20)
        others = [train[(train < p[0] - gap) | (train > p[-1] + gap)] for p in np.array_split(train, _PERIODS)]
        if min(map(len, (*others, *self.periods))) < 2:
            raise ConfigurationError(f"experiment.refined: {len(train)} states to train with are too few")
        self.known = [LocalisedAnalyses(self.states, numbers) for numbers in others]

    def round(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (k, inputs, n) and truth (k, n), standardised, of some sets of sensors in each period."""
        pairs = [
            self._observed(known, period)
            for known, period in zip(self.known, self.periods, strict=True)
            for _ in range(_SETS)
        ]
        return np.concatenate([one for one, _ in pairs]), np.concatenate([truth for _, truth in pairs])

    def _observed(self, known: LocalisedAnalyses, period: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng, of, n = self.rng, self.settings, len(known.used)
        low, high = np.log(min(of.sensors)), np.log(max(of.sensors))
        count = min(n, round(float(np.exp(rng.uniform(low - np.log(2.0), high + np.log(2.0))))))
        rows = np.sort(rng.choice(n, max(2, count), replace=False))
        noise = 0.0 if rng.random() < _NO_NOISE else float(rng.uniform(0.0, _NOISE))
        gain = known.gain(rows, localising(of, float(rng.choice(of.horizontal)), noise))
        numbers = rng.choice(period, min(_STATES, len(period)), replace=False)
        inputs = gain.inputs(noisy_readings(self.states, numbers, self.steps, rows, noise, rng), noise)
        truth = self.states.rows[numbers][:, known.used]
        other = rng.permutation(len(numbers))
        share = np.where(rng.random(len(numbers)) < _MIXED, rng.uniform(0.0, 1.0, len(numbers)), 1.0)
        share = share.astype(np.float32)[:, None]
        for channel in (0, 3, *range(6, inputs.shape[1])):
            inputs[:, channel] = share * inputs[:, channel] + (1.0 - share) * inputs[other, channel]
        return inputs, share * truth + (1.0 - share) * truth[other]


def localising(of: RefinedSection, horizontal: float, noise: float) -> Localising:
    """The setting of a length, for readings with some noise."""
    return Localising(horizontal, of.vertical, of.modes, of.variance + noise**2)


def noisy_readings(
    states: StandardisedStates,
    numbers: np.ndarray,
    steps: Sequence[int] | np.ndarray,
    rows: np.ndarray,
    noise: float,
    rng: np.random.Generator,
) -> np.ndarray:
    """(k, L + 1, M) readings of states and of those some steps before, each state's noise one draw.

    rows : (M,) of the sensors, among the values that take part
    """
    wanted = np.asarray(numbers)[:, None] - np.asarray(steps)[None]
    times, index = np.unique(wanted, return_inverse=True)
    readings = states.rows[times][:, states.used[rows]] + noise * rng.standard_normal((len(times), len(rows)))
    return readings[index.reshape(wanted.shape)]
