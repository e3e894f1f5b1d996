"""Training of networks that forecast codes, on roll-outs of several steps that begin at codes with noise.

A roll-out that begins a little off the training's codes, and is asked to come back to them, keeps long forecasts near
these (Sanchez-Gonzalez et al. 2020, arXiv:2002.09405). The loss is the squares of all errors of a roll-out over those
of the codes' distances from their mean, so that it weighs codes by their variance; 1 is what the mean has.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from models.dynamics.linear import linear_dynamics
from models.dynamics.network import DTYPE, NETWORKS, CodeNetwork, NetworkDynamics, warm


@dataclass(frozen=True)
class RollOuts:
    """A recipe.

    steps : of a roll-out
    before : codes that a memory is made of; a network without one needs none
    noise : of the codes that roll-outs begin at, in their standard deviations
    hidden : numbers of a hidden layer, or of the memory
    ridge : of the linear inverse model that training begins at
    """

    steps: int = 5
    before: int = 8
    noise: float = 0.05
    hidden: int = 64
    ridge: float = 1e-2
    epochs: int = 100
    patience: int = 15
    batch: int = 32
    rate: float = 1e-3
    weight_decay: float = 1e-2
    seed: int = 0


@dataclass(frozen=True)
class TrainedDynamics:
    """What a training came to.

    dynamics : NetworkDynamics with the weights of the best epoch
    history : (epochs + 1, 2) loss of training, NaN before the first epoch, and of validation
    epoch : the best, 0 for the linear model itself
    """

    dynamics: NetworkDynamics
    history: np.ndarray
    epoch: int


def train_dynamics(
    name: str, runs: Sequence[np.ndarray], validation: Sequence[np.ndarray], recipe: RollOuts
) -> TrainedDynamics:
    """Train a network.

    Parameters
    ----------
    name : one of `models.dynamics.network.NETWORKS`
    runs : (m, S) codes of states a time step apart, of each run
    validation : codes of other runs, which choose the epoch
    recipe : RollOuts

    Returns
    -------
    TrainedDynamics

    Raises
    ------
    ValueError
        if there is no such network, no run is long enough for a roll-out, the ridge is too small, or the loss is no
        longer a number
    """
    if name not in NETWORKS:
        raise ValueError(f"dynamics {name!r}, expected one of {', '.join(NETWORKS)}")
    early, late = (np.concatenate([run[:, part] for run in runs], axis=1) for part in (slice(0, -1), slice(1, None)))
    linear = linear_dynamics(early, late, recipe.ridge)
    scale = early.std(axis=1)
    module: CodeNetwork = NETWORKS[name](linear, np.where(scale > 0.0, scale, 1.0), recipe.hidden, recipe.seed)
    before = recipe.before if module.n_memory else 1
    known, judged = (_windows(of, before + recipe.steps) for of in (runs, validation))
    optimiser = torch.optim.AdamW(module.layers.parameters(), recipe.rate, weight_decay=recipe.weight_decay)
    rng = np.random.default_rng(recipe.seed)
    history, best, weights = [(np.nan, _judged(module, judged, before))], 0, _copied(module)
    while len(history) <= recipe.epochs and len(history) - 1 - best < recipe.patience:
        total = 0.0
        order = rng.permutation(len(known))
        for first in range(0, len(order), recipe.batch):
            batch = known[order[first : first + recipe.batch]]
            noise = torch.as_tensor(rng.standard_normal((len(batch), before, module.n_codes)))
            begun = batch[:, :before] + recipe.noise * module.scale * noise
            loss = _loss(module, begun, batch[:, before:])
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.layers.parameters(), 1.0)
            optimiser.step()
            total += float(loss.detach()) * len(batch)
        history.append((total / len(known), _judged(module, judged, before)))
        if not np.isfinite(history[-1]).all():
            raise ValueError(f"the loss is {history[-1][0]} in epoch {len(history) - 1}; train at a smaller rate")
        if history[-1][1] < history[best][1]:
            best, weights = len(history) - 1, _copied(module)
    module.load_state_dict(weights)
    module.eval().requires_grad_(False)
    return TrainedDynamics(
        NetworkDynamics(module, _noise(module, _windows(validation, before + 1))), np.array(history), best
    )


def _windows(runs: Sequence[np.ndarray], length: int) -> torch.Tensor:
    """(B, length, m) of all starts."""
    every = [run.T[k : k + length] for run in runs for k in range(run.shape[1] - length + 1)]
    if not every:
        longest = max((run.shape[1] for run in runs), default=0)
        raise ValueError(f"runs of at most {longest} states, a roll-out needs {length}; train with shorter ones")
    return torch.as_tensor(np.stack(every), dtype=DTYPE)


def _loss(module: CodeNetwork, begun: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    state, error = warm(module, begun), begun.new_zeros(())
    for k in range(truth.shape[1]):
        state = module(state)
        error = error + ((state[:, : module.n_codes] - truth[:, k]) ** 2).sum()
    return error / ((truth - module.centre) ** 2).sum()


def _judged(module: CodeNetwork, windows: torch.Tensor, before: int) -> float:
    with torch.no_grad():
        return float(_loss(module, windows[:, :before], windows[:, before:]))


def _noise(module: CodeNetwork, windows: torch.Tensor) -> np.ndarray:
    """Covariance of errors of a step."""
    with torch.no_grad():
        error = (module(warm(module, windows[:, :-1]))[:, : module.n_codes] - windows[:, -1]).numpy()
    return np.asarray(error.T @ error / len(error))


def _copied(module: CodeNetwork) -> dict[str, torch.Tensor]:
    return {key: value.detach().clone() for key, value in module.state_dict().items()}
