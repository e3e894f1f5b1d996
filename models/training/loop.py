"""The epochs: shuffled batches over ranks, AdamW, a validation period, early stopping.

N ranks take the same steps as one, up to rounding: batches are global and dealt to the ranks, each rank's loss counts by
its samples, and batch norm takes its statistics over all ranks. (Objectives that compare samples with each other
do so within a rank.)
"""

import math
import time
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from mpi4py import MPI
from torch import nn

from models.training import ranks, state
from models.training.augmentation import Augmentation
from models.training.dataset import batches_of, buffer_size, random, read_batches, share
from models.training.errors import TrainingError
from models.training.objectives import Batch, objective, reconstruction

SCHEDULES = ("cosine", "constant")
_WARM_UP, _LAST_RATE = 0.02, 0.01  # part of the epochs in which the rate rises; part of it that is left at the end
_WEIGHTS = (nn.Conv3d, nn.ConvTranspose3d, nn.Linear)  # whose weights decay; norms, slopes and GDN's β and γ do not


@dataclass(frozen=True)
class Recipe:
    """How to train.

    epochs : at most; patience : epochs without a lower validation loss after which training ends
    batch : samples of all ranks in a step
    rate : largest learning rate; schedule : "cosine" or "constant", both after a short rise from zero
    weight_decay : of AdamW, on convolutions' and dense layers' weights
    clip : largest norm of the gradient, or None
    objective : a name of :mod:`models.training.objectives`
    augmentation : Augmentation, or None
    precision : "float32", "bfloat16" for convolutions in half precision, None for the latter on GPUs alone
    seed : of order and augmentation; that of the weights is the model's own
    """

    epochs: int = 300
    batch: int = 16
    rate: float = 2e-3
    schedule: str = "cosine"
    weight_decay: float = 1e-4
    patience: int = 50
    clip: float | None = 1.0
    objective: str = "reconstruction"
    augmentation: Augmentation | None = Augmentation()
    precision: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Trained:
    """What a training came to; the model holds the best epoch's weights, on the CPU and in evaluation mode.

    history : for each epoch a dict of epoch, train, validation, error, rate, gradient, seconds
    epoch, loss : of the least validation loss
    device : in words
    """

    history: list
    epoch: int
    loss: float
    device: str


def train(
    model, samples, n_validation, recipe, comm, *, part=None, folder=None, every=10, about=None, resume=None,
    told=lambda history: None, stepped=lambda done, steps: None,
):  # fmt: skip
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
    resume : epoch to go on from, its state in `folder`; None starts anew
    told : called after each epoch with the records so far
    stepped : called after each step with the number of steps done and all steps of the epoch

    Returns
    -------
    Trained

    Raises
    ------
    ValueError
        if recipe, samples and model do not fit each other
    ModelFileError
        if the state to go on from is not there, or of another training
    TrainingError
        if the loss is no longer a number
    """
    _check(model, samples, n_validation, recipe, comm)
    device = ranks.device_of(comm)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    about = {**(about or {}), "objective": recipe.objective, "batch": recipe.batch, "seed": recipe.seed}
    with ranks.joined(comm, device), torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # the layout that convolutions are fastest in
        model.to(device=device, memory_format=torch.channels_last_3d)
        part = model.mask.expand(model.channels, *model.shape) if part is None else torch.as_tensor(np.array(part))
        run = _Run(model, samples, n_validation, recipe, comm, device, part.to(model.mask))
        optimiser = torch.optim.AdamW(_groups(model, recipe), recipe.rate, fused=True)
        found = state.State()
        if resume is not None:
            found = state.load_state(folder, resume, model, optimiser, about)
        with ranks.norms_over_ranks(model, comm):
            while found.epoch < recipe.epochs and found.epoch - found.best_epoch < recipe.patience:
                record = _epoch(run, optimiser, found.epoch, stepped)
                _note(found, record, model)
                if folder is not None and comm.rank == 0:
                    state.save_state(folder, model, optimiser, found, about, every)
                told(found.history)
    model.load_state_dict(found.best)
    model.to("cpu", memory_format=torch.contiguous_format).eval()
    return Trained(found.history, found.best_epoch, found.best_loss, _in_words(device, comm))


@dataclass(frozen=True)
class _Run:
    """What stays the same over the epochs."""

    model: object
    samples: object
    n_validation: int
    recipe: Recipe
    comm: MPI.Comm
    device: torch.device
    part: torch.Tensor

    @property
    def n_training(self):
        return len(self.samples) - self.n_validation

    def batches(self, batches):
        """(numbers, this rank's fields on its device) of global batches."""
        mine = [share(numbers, self.comm.rank, self.comm.size) for numbers in batches]
        buffer = -(-buffer_size(self.samples, self.recipe.batch) // self.comm.size)
        for numbers, values in read_batches(self.samples, mine, buffer):
            fields = torch.from_numpy(values)
            if self.device.type == "cuda":
                fields = fields.pin_memory()
            fields = fields.to(self.device, self.part.dtype, non_blocking=True)
            yield numbers, fields.contiguous(memory_format=torch.channels_last_3d)

    def half(self):
        """The context in which convolutions run in the recipe's precision."""
        precision = self.recipe.precision or ("bfloat16" if self.device.type == "cuda" else "float32")
        return torch.autocast(self.device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()

    def generator(self, *numbers):
        """A generator for what an objective draws."""
        seed = int(random(self.recipe.seed, *numbers, self.comm.rank, 2).integers(2**63))
        return torch.Generator(self.device).manual_seed(seed)


def _epoch(run, optimiser, done, stepped):
    """One epoch and its record. Collective."""
    began, recipe, comm = time.perf_counter(), run.recipe, run.comm
    epoch = done + 1
    torch.manual_seed(int(random(recipe.seed, epoch, comm.rank, 3).integers(2**63)))  # for networks with dropout
    buffer = buffer_size(run.samples, recipe.batch)
    batches = batches_of(run.n_training, recipe.batch, recipe.seed, epoch, buffer)
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    minimised = objective(recipe.objective)
    run.model.train()
    sums = torch.zeros(2, dtype=torch.float64, device=run.device)
    for k, (numbers, fields) in enumerate(run.batches(batches)):
        rate = learning_rate(recipe, done + k / len(batches))
        for group in optimiser.param_groups:
            group["lr"] = rate
        seen, target = fields, fields
        if recipe.augmentation is not None:
            seen, target = recipe.augmentation.apply(fields, numbers, recipe.seed, epoch)
        with run.half():
            loss = minimised(run.model, Batch(seen, target, run.part), run.generator(epoch, k))
        optimiser.zero_grad(set_to_none=True)
        # the mean over ranks is then that over samples
        (loss * (len(numbers) * comm.size / len(batches[k]))).backward()
        ranks.average_gradients(parameters, comm)
        norm = nn.utils.clip_grad_norm_(parameters, recipe.clip or math.inf)
        optimiser.step()
        sums += torch.stack([loss.detach() * len(numbers), norm])
        stepped(k + 1, len(batches))
    total, gradient = sums.tolist()
    trained = comm.allreduce(total) / run.n_training
    validation, error = _validate(run)
    if not (math.isfinite(trained) and math.isfinite(validation)):
        raise TrainingError(
            f"epoch {epoch}: the loss is {trained:g} in training and {validation:g} in validation; "
            f"a lower rate than {recipe.rate:g} or a clip below {recipe.clip} may help"
        )
    return {
        "epoch": epoch, "train": trained, "validation": validation, "error": error, "rate": rate,
        "gradient": gradient / len(batches), "seconds": time.perf_counter() - began,
    }  # fmt: skip


def _validate(run):
    """Loss and rms of x − g(f(x)) [spreads] over the validation period. Collective."""
    numbers = np.arange(run.n_training, len(run.samples))
    batches = np.array_split(numbers, -(-len(numbers) // max(run.recipe.batch, run.comm.size)))
    asked = objective(run.recipe.objective)
    sums = torch.zeros(2, dtype=torch.float64, device=run.device)
    run.model.eval()
    with torch.no_grad(), run.half():
        for k, (mine, fields) in enumerate(run.batches(batches)):
            if len(mine):
                batch, drawn = Batch(fields, fields, run.part), run.generator(0, k)
                square = reconstruction(run.model, batch, drawn)
                loss = square if asked is reconstruction else asked(run.model, batch, drawn)
                sums += torch.stack([loss, square]).double() * len(mine)
    loss, square = run.comm.allreduce(sums.cpu().numpy()) / run.n_validation
    return float(loss), float(np.sqrt(square))


def learning_rate(recipe, epoch):
    """Rate at a time, in epochs and parts of them."""
    passed = epoch / recipe.epochs
    rising = min(1.0, (passed + 1e-3) / _WARM_UP)
    falling = 1.0
    if recipe.schedule == "cosine":
        falling = _LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, passed)))
    return recipe.rate * rising * falling


def _note(found, record, model):
    """Take an epoch into the state."""
    found.epoch = record["epoch"]
    found.history.append(record)
    if record["validation"] < found.best_loss:
        found.best_epoch, found.best_loss = found.epoch, record["validation"]
        found.best = {
            key: value.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
            for key, value in model.state_dict().items()
        }


def _groups(model, recipe):
    decayed = {id(m.weight) for m in model.modules() if isinstance(m, _WEIGHTS)}
    parameters = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if id(p) in decayed], "weight_decay": recipe.weight_decay},
        {"params": [p for p in parameters if id(p) not in decayed], "weight_decay": 0.0},
    ]


def _check(model, samples, n_validation, recipe, comm):
    expected = (model.channels, *model.shape)
    if len(samples.shape) != 5 or tuple(samples.shape[1:]) != expected:
        raise ValueError(f"samples of shape {tuple(samples.shape)}, expected (S, {', '.join(map(str, expected))})")
    if not 1 <= n_validation < len(samples) - 1:
        raise ValueError(f"{n_validation} of {len(samples)} samples for validation; 1 or more are needed, and 2 to train")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError(f"{type(model).__name__} has no weights to train")
    steps = -(-(len(samples) - n_validation) // recipe.batch)
    if (len(samples) - n_validation) // steps < comm.size:
        raise ValueError(f"batches of {recipe.batch} samples for {comm.size} ranks; each needs one or more")
    if recipe.schedule not in SCHEDULES:
        raise ValueError(f"schedule {recipe.schedule!r}, expected {' or '.join(SCHEDULES)}")
    objective(recipe.objective)


def _in_words(device, comm):
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    return f"{comm.size} × {name}"
