"""The epochs: shuffled batches over ranks, steps, a validation period, early stopping.

N ranks take the same steps as one, up to rounding: batches are global and dealt to the ranks, each rank's loss counts
by its samples, and batch norm takes its statistics over all ranks. (Objectives and augmentations that put samples
together do so within a rank, and so do batch norms other than ours, of which rank 0's statistics are kept.)
"""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from numpy.typing import ArrayLike
from torch import nn

from coupling.common.collective import on_rank_0
from models.training import ranks, state
from models.training.adversarial import Adversary
from models.training.averaging import Average
from models.training.dataset import (
    NETWORK,
    OBJECTIVE,
    ORDER,
    Samples,
    batches_of,
    batches_together,
    random,
    random_seed,
    read_batches,
    share,
)
from models.training.errors import TrainingError
from models.training.linear_start import CrossFitted
from models.training.objectives import Batch, Objective, adversarial, objective_of, reconstruction
from models.training.optimisers import make_optimisers
from models.training.recipe import Recipe, check, rate_factor, told
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder

__all__ = ["Recipe", "Trained", "train"]


@dataclass(frozen=True)
class Trained:
    """What a training came to; the model holds the best epoch's weights, on the CPU and in evaluation mode.

    history : for each epoch a dict of epoch, train, validation, error, rate, gradient, seconds
    epoch, loss : of the least validation loss
    device : in words
    """

    history: list[dict[str, Any]]
    epoch: int
    loss: float
    device: str


def train(
    model: Autoencoder | ObservationEncoder,
    samples: Samples,
    n_validation: int,
    recipe: Recipe,
    comm: MPI.Comm,
    *,
    part: ArrayLike | None = None,
    folder: str | Path | None = None,
    every: int = 10,
    about: Mapping[str, Any] | None = None,
    resume: int | None = None,
    cross_fitted: CrossFitted | None = None,
    teacher: Autoencoder | None = None,
    after_epoch: Callable[[list[dict[str, Any]]], None] = lambda history: None,
    stepped: Callable[[int, int], None] = lambda done, steps: None,
) -> Trained:
    """Train a network. Collective.

    Parameters
    ----------
    model : Autoencoder
    samples : (S, C, nx, ny, nz) standardised, in time order: an array, or an HDF5 dataset that each rank opened
    n_validation : the last so many samples are for validation
    recipe : Recipe
    comm : MPI communicator; each rank with a GPU of its own, or all on CPUs
    part : (C, nx, ny, nz) ones where a value takes part in the loss; None for the model's mask
    folder : where each epoch's state is kept; None keeps none
    every : the last state, and every so-manieth, stays
    about : {item: value} on the data, which a state must agree in
    resume : epoch to go on from, its state in `folder`, where later ones are removed; None starts anew
    cross_fitted : modes of a network that begins at them; each batch is of one fold, and sees its modes. The trained
        network has those of `cross_fitted.validation`
    teacher : trained Autoencoder that the objective `distilled` learns from
    after_epoch : called after each epoch with the records so far
    stepped : called after each step with the number of steps done and all steps of the epoch

    Returns
    -------
    Trained

    Raises
    ------
    ValueError
        if recipe, samples and model do not fit each other
    ModelFileError, OSError
        if the state to go on from is not there, or of another training; or states cannot be written
    TrainingError
        if the loss is no longer a number
    """
    _check(model, samples, n_validation, recipe, comm)
    _check_teacher(model, teacher)
    device = ranks.device_of(comm)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    about = {**(about or {}), **told(recipe)}
    with ranks.joined(comm, device), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # channels_last_3d would save a seventh of a CPU's time, but gives gradients wrong by a hundredth (torch 2.13)
        model.to(device)
        every_value = model.mask.expand(model.channels, *model.shape)
        counted = every_value if part is None else torch.as_tensor(np.array(part))
        if teacher is not None:
            teacher = copy.deepcopy(teacher).to(device).eval().requires_grad_(False)
        adversary = None
        if recipe.objective == "adversarial":
            adversary = Adversary(model, recipe.discriminator, random_seed(NETWORK, recipe.seed), device)
        objective = objective_of(recipe, teacher)
        part = counted.to(model.mask)
        run = _Run(model, samples, n_validation, recipe, comm, device, part, cross_fitted, objective, adversary)
        optimisers = make_optimisers(model, recipe.optimiser, recipe.rate, recipe.weight_decay)
        current = state.TrainingState()
        if resume is not None:
            if folder is None:
                raise ValueError(f"epoch {resume} to go on from, and no folder that holds it")
            current = state.load_state(folder, resume, model, optimisers, about)
            if adversary is not None:
                adversary.load(current.adversary)
            on_rank_0(lambda: state.forget_after(folder, resume), comm)
        average = Average(model, recipe.average, current.average)
        with ranks.norms_over_ranks(model, comm):
            while current.epoch < recipe.epochs and current.epoch - current.best_epoch < recipe.patience:
                record = _epoch(run, optimisers, average, current.epoch, stepped)
                with average.in_place():
                    _note(current, record, model)
                current.average = average.values
                current.adversary = {} if adversary is None else adversary.arrays()
                if folder is not None:
                    on_rank_0(lambda: state.save_state(folder, model, optimisers, current, about, every), comm)
                after_epoch(current.history)
    model.load_state_dict(current.best)
    model.to("cpu").eval()
    return Trained(current.history, current.best_epoch, current.best_loss, _in_words(device, comm))


@dataclass(frozen=True)
class _Run:
    """What stays the same over the epochs."""

    model: Autoencoder | ObservationEncoder
    samples: Samples
    n_validation: int
    recipe: Recipe
    comm: MPI.Comm
    device: torch.device
    part: torch.Tensor
    cross_fitted: CrossFitted | None
    objective: Objective
    adversary: Adversary | None

    @property
    def n_training(self) -> int:
        return len(self.samples) - self.n_validation

    @property
    def together(self) -> int:
        """Batches that are in memory at a time."""
        return batches_together(self.samples, self.recipe.batch)

    def epoch(self, number: int) -> tuple[list[np.ndarray], list[int]]:
        """Numbers of an epoch's samples, batch by batch, and the fold of each batch."""
        recipe = self.recipe
        if self.cross_fitted is None:
            batches = batches_of(self.n_training, recipe.batch, self.together, recipe.seed, number)
            return batches, [0] * len(batches)
        made = [
            (of_fold[batch], fold)
            for fold, of_fold in enumerate(self.cross_fitted.numbers)
            for batch in batches_of(len(of_fold), recipe.batch, self.together, recipe.seed, number)
        ]
        order = random(ORDER, recipe.seed, number, len(made)).permutation(len(made))
        return [made[k][0] for k in order], [made[k][1] for k in order]

    def begin_at(self, fold: int | None) -> None:
        """Give the network the modes of a fold, or those for validation."""
        of = self.cross_fitted
        if of is not None:
            (of.validation if fold is None else of.folds[fold]).load(self.model)

    def batches(self, batches: Iterable[np.ndarray]) -> Iterator[tuple[np.ndarray, torch.Tensor]]:
        """(numbers, this rank's fields on its device) of global batches."""
        mine = [share(numbers, self.comm.rank, self.comm.size) for numbers in batches]
        for numbers, values in read_batches(self.samples, mine, self.together):
            fields = torch.from_numpy(values)
            if self.device.type == "cuda":
                fields = fields.pin_memory()
            yield numbers, fields.to(self.device, self.part.dtype, non_blocking=True)

    def augmented(self, fields: torch.Tensor, numbers: np.ndarray, epoch: int) -> Batch:
        """The Batch of samples in an epoch; epoch 0 is validation, which few augmentations take part in."""
        augmentation, pair = self.recipe.augmentation, (fields, fields)
        if augmentation is not None and (epoch > 0 or augmentation.in_validation):
            pair = augmentation.apply(fields, numbers, self.recipe.seed, epoch)
        return Batch(*pair, self.part, [random_seed(OBJECTIVE, self.recipe.seed, epoch, int(k)) for k in numbers])

    def half(self) -> AbstractContextManager[Any]:
        """The context in which convolutions run in the recipe's precision; on CPUs that is the model's own."""
        if self.device.type == "cuda" and self.recipe.precision == "bfloat16":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def generator(self, *numbers: int) -> torch.Generator:
        """A generator for what an objective draws."""
        seed = random_seed(OBJECTIVE, self.recipe.seed, *numbers, self.comm.rank)
        return torch.Generator(self.device).manual_seed(seed)


def _epoch(run, optimisers, average, done, stepped):
    """One epoch and its record. Collective."""
    began, recipe, comm = time.perf_counter(), run.recipe, run.comm
    epoch = done + 1
    torch.manual_seed(random_seed(NETWORK, recipe.seed, epoch, comm.rank))  # for networks that draw, by dropout
    batches, folds = run.epoch(epoch)
    groups = [group for optimiser in optimisers for group in optimiser.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    adversary = run.adversary
    minimised = run.objective if adversary is None else adversary.loss
    run.model.train()
    if done >= recipe.settle * recipe.epochs:
        for layer in ranks.norms(run.model):
            layer.eval()
    sums = torch.zeros(2, dtype=torch.float64, device=run.device)
    for k, (numbers, fields) in enumerate(run.batches(batches)):
        factor = rate_factor(recipe.schedule, (done + k / len(batches)) / recipe.epochs)
        for group in groups:
            group["lr"] = factor * group["peak"]
        run.begin_at(folds[k])
        batch = run.augmented(fields, numbers, epoch)
        with run.half():
            loss = minimised(run.model, batch, run.generator(epoch, k))
        for p in parameters:
            p.grad = None
        part = len(numbers) * comm.size / len(batches[k])  # the mean over ranks is then that over samples
        (loss * part).backward()
        ranks.average_gradients(parameters, comm)
        norm = nn.utils.clip_grad_norm_(parameters, recipe.clip or math.inf)
        for optimiser in optimisers:
            optimiser.step()
        if adversary is not None:
            adversary.step(part, comm)
        average.update(done * len(batches) + k + 1)
        sums += torch.stack([loss.detach() * len(numbers), norm])
        stepped(k + 1, len(batches))
    ranks.share_buffers(run.model, comm)
    total, gradient = sums.tolist()
    trained = comm.allreduce(total) / run.n_training
    run.begin_at(None)
    with average.in_place():
        validation, error = _validate(run)
    if not (math.isfinite(trained) and math.isfinite(validation)):
        raise TrainingError(
            f"epoch {epoch}: the loss is {trained:g} in training and {validation:g} in validation; "
            f"a lower rate than {max(group['peak'] for group in groups):g}, a clip below {recipe.clip}, or on a GPU "
            "precision: float32 may help"
        )
    return {
        "epoch": epoch, "train": trained, "validation": validation, "error": error,
        "rate": max(group["lr"] for group in groups), "gradient": gradient / len(batches),
        "seconds": time.perf_counter() - began,
    }  # fmt: skip


def _validate(run):
    """Loss and rms of x − g(f(x)) [spreads] over the validation period. Collective."""
    numbers = np.arange(run.n_training, len(run.samples))
    batches = np.array_split(numbers, -(-len(numbers) // max(run.recipe.batch, run.comm.size)))
    asked = run.objective
    sums = torch.zeros(2, dtype=torch.float64, device=run.device)
    run.model.eval()
    with torch.no_grad(), run.half():
        for k, (mine, fields) in enumerate(run.batches(batches)):
            if len(mine):
                batch, drawn = run.augmented(fields, mine, 0), run.generator(0, k)
                square = reconstruction(run.model, batch, drawn)
                loss = square if asked in (reconstruction, adversarial) else asked(run.model, batch, drawn)
                sums += torch.stack([loss, square]).double() * len(mine)
    loss, square = run.comm.allreduce(sums.cpu().numpy()) / run.n_validation
    return float(loss), float(np.sqrt(square))


def _note(current, record, model):
    """Take an epoch into the state."""
    current.epoch = record["epoch"]
    current.history.append(record)
    if record["validation"] < current.best_loss:
        current.best_epoch, current.best_loss = current.epoch, record["validation"]
        current.best = {key: value.detach().to("cpu", copy=True) for key, value in model.state_dict().items()}


def _check(model, samples, n_validation, recipe, comm):
    expected = (model.channels, *model.shape)
    if len(samples.shape) != 5 or tuple(samples.shape[1:]) != expected:
        raise ValueError(f"samples of shape {tuple(samples.shape)}, expected (S, {', '.join(map(str, expected))})")
    if not 1 <= n_validation < len(samples) - 1:
        raise ValueError(f"{n_validation} of {len(samples)} samples for validation; 1 are needed, and 2 to train")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no weights to train")
    if recipe.objective == "vae" and getattr(model, "variance", None) is None:
        raise ValueError("objective vae needs a network with variances of its codes; make it with variational=True")
    steps = -(-(len(samples) - n_validation) // recipe.batch)
    if (len(samples) - n_validation) // steps < comm.size:
        raise ValueError(f"batches of {recipe.batch} samples for {comm.size} ranks; each needs one or more")
    check(recipe)


def _check_teacher(model, teacher):
    if teacher is not None:
        facts = [(m.channels, tuple(m.shape), m.n_latent) for m in (teacher, model)]
        if facts[0] != facts[1]:
            raise ValueError(
                f"the teacher has variables, points and numbers in its latent {facts[0]}, the network {facts[1]}; "
                "they must be alike"
            )


def _in_words(device, comm):
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{comm.size} × {name}"
