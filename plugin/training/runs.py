"""What trainings of a case's networks have in common: where they begin, what they report, what they leave."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from models import files
from models.training.linear_start import CrossFitted
from models.training.loop import Trained, train
from models.training.recipe import Recipe
from models.training.state import kept_epochs
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder
from plugin.case.configuration import ConfigurationError
from plugin.case.variables import is_of
from plugin.run.progress import Progress
from plugin.training.curves import draw_history, write_history
from plugin.training.training_set import TrainingSet

LAST = "last"


def rooted(key: str, names: Sequence[str], variables: Sequence[str]) -> list[int]:
    """Numbers of the variables whose square roots a network takes.

    key : of the case file's section that names them in `square_roots`

    Raises
    ------
    ConfigurationError
        if a name is none of the variables'
    """
    for name in names:
        if not any(is_of(variable, name) for variable in variables):
            raise ConfigurationError(
                f"{key}.square_roots: {name} is not analysed; the variables are {', '.join(variables)}"
            )
    return [k for k, variable in enumerate(variables) if any(is_of(variable, name) for name in names)]


def training_folder(file: Path) -> Path:
    """Folder of what belongs to the training of a network's file."""
    return file.with_suffix(".training")


def first_epoch(key: str, file: Path, start: int | str | None) -> int | None:
    """Epoch to go on from; None to begin. For rank 0.

    Parameters
    ----------
    key : of the case file that names the file
    file : of the network
    start : an epoch, LAST for the last one that was kept, None to begin

    Raises
    ------
    ConfigurationError
        if there is no such epoch; or to begin, if there is a network or an epoch of one
    """
    folder = training_folder(file)
    kept = kept_epochs(folder)
    if start is None:
        if file.exists():
            raise ConfigurationError(f"{key}: {file} is there already; remove it, or go on with --resume")
        if kept:
            raise ConfigurationError(
                f"{key}: {folder} holds epoch {kept[-1]} of a training; remove it, or go on with --resume"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return None
    if start == LAST:
        if not kept:
            raise ConfigurationError(f"{key}: {folder} holds no epoch to go on from; begin without --resume")
        return kept[-1]
    if start not in kept:
        there = ", ".join(map(str, kept)) or "none"
        raise ConfigurationError(f"{key}: {folder} holds no epoch {start}; kept are: {there}")
    return start


def run_training(
    title: str,
    file: Path,
    model: Autoencoder | ObservationEncoder,
    data: TrainingSet,
    recipe: Recipe,
    about: Mapping[str, Any],
    comm: MPI.Comm,
    progress: Progress,
    *,
    every: int,
    start: int | None,
    cross_fitted: CrossFitted | None = None,
    teacher: Autoencoder | None = None,
) -> Trained:
    """Train, with a bar and a table of the epochs. Collective.

    Parameters
    ----------
    title : what is trained, in words
    file : of the network
    model, recipe, about, every : as for `models.training.loop.train`
    data : TrainingSet
    comm : MPI communicator
    progress : Progress
    start : of `first_epoch`
    cross_fitted, teacher : as for `models.training.loop.train`

    Returns
    -------
    Trained

    Raises
    ------
    ConfigurationError
        if the states, the network, the recipe or the epoch to go on from do not fit each other
    """
    weights = sum(p.numel() for p in model.parameters() if p.requires_grad)
    progress.say(
        f"{title}: {weights:,} weights, {model.n_latent} numbers for {int(data.part.sum()):,}; "
        f"{len(data.samples) - data.n_validation} states to train with, {data.n_validation} for validation"
    )
    folder = training_folder(file)
    with progress.bar(title) as bar:

        def after_epoch(history):
            bar.describe(_epoch_line(history, recipe))
            on_rank_0(lambda: write_history(folder / "history.csv", history), comm)

        try:
            return train(
                model, data.samples, data.n_validation, recipe, comm, part=data.part, folder=folder,
                every=every, about=about, resume=start, cross_fitted=cross_fitted, teacher=teacher,
                after_epoch=after_epoch, stepped=bar.step,
            )  # fmt: skip
        except ValueError as error:  # ModelFileError too
            raise ConfigurationError(f"network: {error}") from error


def keep_network(
    title: str,
    file: Path,
    model: Autoencoder | ObservationEncoder,
    about: Mapping[str, Any],
    recipe: Recipe,
    trained: Trained,
    arrays: Mapping[str, np.ndarray],
    eight_bits: bool = False,
) -> None:
    """Write a trained network, its history and the picture of it. For rank 0.

    about : {item: value} for the header, to which the training's own are added
    arrays : {name: array} to keep beside the weights
    eight_bits : as for `models.files.save`
    """
    about = {
        **about, "objective": recipe.objective, "seed": recipe.seed, "epoch": trained.epoch, "loss": trained.loss,
        "seconds": sum(record["seconds"] for record in trained.history), "hardware": trained.device,
        "history": trained.history,
    }  # fmt: skip
    files.save(file, model, about, arrays, eight_bits)
    folder = training_folder(file)
    write_history(folder / "history.csv", trained.history)
    draw_history(folder / "loss.png", trained.history, title)


def _epoch_line(history, recipe):
    record = history[-1]
    best = min(history, key=lambda r: r["validation"])
    return (
        f"epoch {record['epoch']} of {recipe.epochs}: loss {record['train']:.4g}, validation "
        f"{record['validation']:.4g} (best {best['validation']:.4g} in {best['epoch']}), {record['seconds']:.1f} s"
    )
