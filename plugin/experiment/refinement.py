"""A network that refines linear analyses, trained on analyses of states that their covariances do not know.

The training states but the last tenth, which validate, are split into five periods. Those of one are analysed with mean
and covariances of the other four, without the states next to it, so that residuals have the size that they have for new
states. Sensors are random, their number log-uniform, with the setting that was chosen for the nearest number; half of
the states are mixtures of two of their period, for the gain is linear.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from coupling.common.files import whole_file
from da.background.anamorphosis import Anamorphosis
from models.training.errors import TrainingError
from models.training.optimisers import make_optimisers
from models.training.recipe import rate_factor
from models.zoo.refinement import Refinement
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import RefinedSection
from plugin.experiment.lagged_gain import Lagging
from plugin.experiment.refinement_inputs import LaggedAnalyses, with_history
from plugin.experiment.states import StandardisedStates
from plugin.run.progress import Progress

Chosen = Mapping[tuple[float, int], Lagging]  # (noise, number of sensors) → setting of the linear analysis

BATCH = 8  # states that a network takes at a time
_PERIODS, _GAP = 5, 10  # of the training states; states left out beside a period
_STATES = 48  # that a round's set of sensors of each period observes
_RATE, _DECAY, _CLIP = 0.005, 0.01, 1.0
_MIXED = 0.5  # part of the states that are mixtures of two
_AVERAGED = 0.99  # of the mean of weights over the steps


class _Inverse(torch.autograd.Function):
    """c = ψ(a) of values; below the bound with the slope of ψ continued, so that training finds its way back."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, form: Anamorphosis) -> torch.Tensor:  # type: ignore[override]
        ctx.save_for_backward(values)
        ctx.form = form
        return torch.from_numpy(form.inverse(values.detach().numpy().astype(np.float64))).to(values)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:  # type: ignore[override]
        (values,) = ctx.saved_tensors
        return gradient * torch.from_numpy(ctx.form.slope(values.numpy().astype(np.float64))).to(gradient), None


class Refined:
    """A refinement between rows of values and the grid.

    network : Refinement; states : StandardisedStates of one variable, as they are analysed
    """

    def __init__(self, network: Refinement, states: StandardisedStates) -> None:
        self.network, self.states = network, states
        self._used = torch.from_numpy(states.used)
        self._shape = states.grid.shape

    def linear(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, inputs, n) → (B, n) the linear analyses as they are scored."""
        return self.scored(inputs[:, 0])

    def analyses(self, inputs: torch.Tensor) -> torch.Tensor:
        """(B, inputs, n) → (B, n) the refined analyses as they are scored."""
        whole = inputs.new_zeros(*inputs.shape[:2], int(np.prod(self._shape)))
        whole[..., self._used] = inputs
        refined = self.network(whole.reshape(*inputs.shape[:2], *self._shape))
        return self.scored(refined.reshape(len(inputs), -1)[:, self._used])

    def scored(self, values: torch.Tensor) -> torch.Tensor:
        """(B, n) standardised values that are analysed → the same of the variable itself."""
        states = self.states
        if states.plain is None or states.forms[0] is None:
            return values
        (mean, scale), (plain_mean, plain_scale) = (
            (torch.from_numpy(part[states.used]).to(values) for part in (of.mean, of.scale))
            for of in (states, states.plain)
        )
        return (_Inverse.apply(mean + scale * values, states.forms[0]) - plain_mean) / plain_scale


def scored_truth(states: StandardisedStates, numbers: np.ndarray) -> np.ndarray:
    """(k, n) states as they are scored."""
    return (states.plain or states).rows[numbers][:, states.used]


def relative_errors(analyses: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """(B,) ‖x_a − x_t‖ / ‖x_t‖."""
    return torch.linalg.norm(analyses - truth, dim=1) / torch.linalg.norm(truth, dim=1)


def trained_refinement(
    states: StandardisedStates, chosen: Chosen, settings: RefinedSection, seed: int, folder: Path, progress: Progress
) -> Refined:
    """A refinement from the folder, trained first if it is not there.

    chosen : setting of the linear analyses for each noise and number of sensors; all have the same lags
    seed : of weights, sensors and noise in the training

    Raises
    ------
    ConfigurationError
        if the states are too few, or the file is of another training
    TrainingError, OSError
        if the loss is no longer a number, or the file cannot be written
    """
    analysed = {f"{noise:g} {count}": asdict(of) for (noise, count), of in chosen.items()}
    about = json.dumps({**states.about, "analysed": analysed, "rounds": settings.rounds, "seed": seed}, sort_keys=True)
    network = Refinement(states.grid.shape, len(settings.lags), seed=seed)
    path = folder / f"Refinement-{states.variables[0]}-{settings.rounds}rounds-{seed}.safetensors"
    if path.exists():
        _load(network, path, about)
    else:
        _train(Refined(network, states), _Draws(states, chosen, seed), settings.rounds, progress)
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as beside:
            save_file(network.state_dict(), beside, {"about": about})
    return Refined(network.eval(), states)


def _load(network: Refinement, path: Path, about: str) -> None:
    try:
        with safe_open(path, "pt") as file:
            of = (file.metadata() or {}).get("about")
        if of != about:
            raise ConfigurationError(f"{path}: a refinement of other states or settings; remove it, or name a folder")
        network.load_state_dict(load_file(path))
    except (SafetensorError, OSError, RuntimeError) as error:
        raise ConfigurationError(f"{path}: does not hold this refinement ({error}); remove it") from error


def _train(refined: Refined, draws: "_Draws", rounds: int, progress: Progress) -> None:
    """Train a refinement's network, whose weights become their mean over the steps."""
    network = refined.network
    optimisers = make_optimisers(network, "muon", _RATE, _DECAY)
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    averaged = {key: value.clone() for key, value in network.state_dict().items()}
    network.train()
    with progress.bar("refinement") as bar:
        for done in range(rounds):
            inputs, truth = draws.round()
            batches = np.array_split(draws.rng.permutation(len(inputs)), -(-len(inputs) // BATCH))
            ratios = []
            for k, numbers in enumerate(batches):
                for group in groups:
                    group["lr"] = group["peak"] * rate_factor("cosine", (done + k / len(batches)) / rounds)
                    for weight in group["params"]:
                        weight.grad = None
                given, wanted = torch.from_numpy(inputs[numbers]), torch.from_numpy(truth[numbers])
                with torch.no_grad():
                    wanted = refined.scored(wanted)
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
            bar.describe(f"refinement: round {done + 1} of {rounds}, errors times {mean:.4g}")
    network.load_state_dict(averaged)


class _Draws:
    """Cross-fitted analyses of random sensors."""

    def __init__(self, states: StandardisedStates, chosen: Chosen, seed: int) -> None:
        self.states, self.chosen = states, chosen
        self.rng = np.random.default_rng((seed, 11))
        train, lags = np.arange(states.validating[0]), next(iter(chosen.values())).lags
        self.periods = [with_history(states, period, lags) for period in np.array_split(train, _PERIODS)]
        gap = min(_GAP, len(train) // 20)
        others = [train[(train < p[0] - gap) | (train > p[-1] + gap)] for p in np.array_split(train, _PERIODS)]
        if min(map(len, (*others, *self.periods))) < 2:
            raise ConfigurationError(f"experiment.refined: {len(train)} states to train with are too few")
        self.known = [LaggedAnalyses(states, numbers) for numbers in others]

    def round(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs (k, inputs, n) and truth (k, n), standardised, of a set of sensors in each period."""
        pairs = [self._observed(known, period) for known, period in zip(self.known, self.periods, strict=True)]
        return np.concatenate([one for one, _ in pairs]), np.concatenate([truth for _, truth in pairs])

    def _observed(self, known: LaggedAnalyses, period: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rng, states = self.rng, self.states
        noise = float(rng.choice(sorted({noise for noise, _ in self.chosen})))
        counts = np.array(sorted({count for _, count in self.chosen}))
        wanted = np.exp(rng.uniform(np.log(0.5 * counts[0]), np.log(counts[-1])))
        nearest = int(counts[np.argmin(np.abs(np.log(counts / wanted)))])
        rows = np.sort(rng.choice(len(known.used), max(2, round(wanted)), replace=False))
        gain = known.gain(rows, self.chosen[noise, nearest])
        numbers = rng.choice(period, min(_STATES, len(period)), replace=False)
        drawn = noise * rng.standard_normal((len(states.rows), len(rows)))
        inputs = gain.inputs(states, numbers, drawn, noise)
        truth = states.rows[numbers][:, known.used]
        other = rng.permutation(len(numbers))
        share = np.where(rng.random(len(numbers)) < _MIXED, rng.uniform(0.0, 1.0, len(numbers)), 1.0)
        share = share.astype(np.float32)[:, None]
        for channel in (0, 3, *range(6, inputs.shape[1])):
            inputs[:, channel] = share * inputs[:, channel] + (1.0 - share) * inputs[other, channel]
        return inputs, share * truth + (1.0 - share) * truth[other]
