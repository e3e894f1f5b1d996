"""What is kept after an epoch: a network's file with the optimiser's moments and the best weights beside it.

Nothing random needs to be kept: all that is drawn depends on seed, epoch and the samples' numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from models import files
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder

_NAME = "epoch-{:04d}.safetensors"
_MOMENT, _AVERAGE, _ADVERSARY = "moment.", "average.", "adversary."


@dataclass
class TrainingState:
    """Where a training stands.

    epoch : epochs done
    history : a dict for each of them
    best_epoch, best_loss, best : the epoch of least validation loss, and its weights by name, on the CPU
    average : averaged weights by name, where the recipe has an average
    adversary : of `models.training.adversarial.Adversary.arrays`, where there is one
    """

    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    average: dict[str, torch.Tensor] = field(default_factory=dict)
    adversary: dict[str, torch.Tensor] = field(default_factory=dict)


def save_state(
    folder: str | Path,
    model: Autoencoder | ObservationEncoder,
    optimisers: Sequence[torch.optim.Optimizer],
    state: TrainingState,
    about: Mapping[str, Any],
    every: int,
) -> None:
    """Write an epoch's state, and remove the one before it unless it is an `every`-th. For rank 0.

    Raises
    ------
    OSError, ValueError
        as :func:`models.files.save`
    """
    moments = {
        f"{_MOMENT}{number}.{k}.{name}": value
        for number, optimiser in enumerate(optimisers)
        for k, of in optimiser.state_dict()["state"].items()
        for name, value in of.items()
    }
    best = {files.BEST + name: value for name, value in state.best.items()}
    average = {_AVERAGE + name: value for name, value in state.average.items()}
    adversary = {_ADVERSARY + name: value for name, value in state.adversary.items()}
    progress = {"epoch": state.epoch, "history": state.history, "best": [state.best_epoch, state.best_loss]}
    Path(folder).mkdir(parents=True, exist_ok=True)
    files.save(
        Path(folder) / _NAME.format(state.epoch), model, {**about, **progress}, moments | best | average | adversary
    )
    before = state.epoch - 1
    if before % every:
        (Path(folder) / _NAME.format(before)).unlink(missing_ok=True)


def kept_epochs(folder: str | Path) -> list[int]:
    """Epochs that a folder holds the states of, rising."""
    return sorted(int(path.stem.removeprefix("epoch-")) for path in Path(folder).glob("epoch-[0-9]*.safetensors"))


def load_state(
    folder: str | Path,
    epoch: int,
    model: Autoencoder | ObservationEncoder,
    optimisers: Sequence[torch.optim.Optimizer],
    about: Mapping[str, Any],
) -> TrainingState:
    """Put weights and moments of an epoch into model and optimisers.

    Returns
    -------
    TrainingState

    Raises
    ------
    ModelFileError
        if there is no such epoch, or it is of another training; the message says in what it differs
    """
    path = Path(folder) / _NAME.format(epoch)
    if not path.is_file():
        kept = ", ".join(map(str, kept_epochs(folder))) or "none"
        raise files.ModelFileError(f"{folder}: no state of epoch {epoch}; kept are: {kept}")
    expected = {**about, **(model.architecture or {}), "mask": model.mask}
    stored, header = files.load(path, expected, files.TRAINING_STATE)
    model.load_state_dict(stored.state_dict())
    arrays = {name: torch.from_numpy(values) for name, values in files.load_arrays(path).items()}
    for number, optimiser in enumerate(optimisers):
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name in (name for name in arrays if name.startswith(f"{_MOMENT}{number}.")):
            k, kind = name.split(".")[2:]
            moments.setdefault(int(k), {})[kind] = arrays[name]
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    best = {name.removeprefix(files.BEST): value for name, value in arrays.items() if name.startswith(files.BEST)}
    average, adversary = (
        {name.removeprefix(kind): value for name, value in arrays.items() if name.startswith(kind)}
        for kind in (_AVERAGE, _ADVERSARY)
    )
    try:
        best_epoch, best_loss = header["best"]
        history = list(header["history"])
        return TrainingState(int(header["epoch"]), history, int(best_epoch), float(best_loss), best, average, adversary)
    except (KeyError, TypeError, ValueError) as error:
        raise files.ModelFileError(f"{path}: does not say where its training stood ({error}); name another") from None


def forget_after(folder: str | Path, epoch: int) -> None:
    """Remove states of later epochs, which another training from here would contradict."""
    for later in kept_epochs(folder):
        if later > epoch:
            (Path(folder) / _NAME.format(later)).unlink()
