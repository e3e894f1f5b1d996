"""Trained networks: read from a folder if they are there and fit, trained now otherwise.

All are trained alike, by the recipe below and for the same time, unless the settings give one another time. Networks
that begin at modes have averaged weights and fewer combinations, and none of them where they take square roots: a
combination may lie below zero. Minutes are processor time, so that other load hardly shortens a training; a few steps
timed beforehand give the number of epochs that fit.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from models import files, zoo
from models.training.augmentation import Augmentation
from models.training.evaluation import codes_and_round_trips
from models.training.linear_start import begins_at_modes, begun
from models.training.loop import train
from models.training.recipe import Recipe
from models.zoo.autoencoder import Autoencoder
from models.zoo.corrected import Corrected
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import OptionsSection
from plugin.experiment.states import COMM, ExperimentInputs
from plugin.training.runs import rooted
from plugin.window.background.observation_encoding import file_hash

COMBINED = Augmentation(noise=(0.0, 0.0), combine=1.0)
RECIPE = Recipe(batch=8, optimiser="muon", objective="relative", settle=0.5, patience=10**6, augmentation=COMBINED)
_TRIAL = 4  # batches to time
_FOLDS, _GAP = 5, 8  # of networks that begin at modes; a twentieth of the states where they are few
_MODES = replace(RECIPE, average=0.99, settle=1.0, augmentation=replace(COMBINED, combine=0.5))
_ROOTS = replace(_MODES, augmentation=None)


@dataclass(frozen=True)
class NetworkSpec:
    """A network that an experiment needs.

    title : of its file, and in the settings
    build : function of a seed that returns the untrained network
    recipe : of its training; epochs and seed are set later
    about : {item: value} for its file, besides the description of the states
    arrays : function of the trained network that returns the arrays to store with its weights
    zero : (C, nx, ny, nz) standardised value of zero, of a network of square roots
    teacher : that a recipe whose objective is `distilled` learns from
    """

    title: str
    build: Callable[[int], Any]
    recipe: Recipe = RECIPE
    about: dict[str, Any] = field(default_factory=dict)
    arrays: Callable[[Any], dict[str, np.ndarray]] = lambda model: {}
    zero: np.ndarray | None = None
    teacher: Autoencoder | None = None


@dataclass(frozen=True)
class Network:
    """A trained autoencoder, with its codes and its error.

    codes : (m, n_training) of the training states
    round_trip : mean over the test states of ‖x − g(f(x))‖ / ‖x‖
    trained : about the training: epochs, best_epoch, validation, minutes
    path : of its file
    """

    model: Autoencoder
    codes: np.ndarray
    round_trip: float
    trained: dict[str, Any]
    path: Path

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return weights(self.model)

    @property
    def roots(self) -> bool:
        """Whether it takes square roots of variables."""
        return isinstance(self.model, Corrected) and self.model.roots is not None

    def figures(self) -> dict[str, Any]:
        """Its columns of a table."""
        own = {"parameters": self.parameters, "numbers": self.model.n_latent, "round_trip": self.round_trip}
        return {**own, **self.trained}


def weights(model: nn.Module) -> int:
    """Number of weights of a network."""
    return sum(p.numel() for p in model.parameters())


def trained_networks(name: str, inputs: ExperimentInputs) -> list[Network]:
    """An autoencoder from each of the trainings that the settings ask for.

    Raises
    ------
    ConfigurationError
        if there is no such network, or the folder holds another of that name
    TrainingError, OSError
        if the loss is no longer a number, or a file cannot be written
    """
    if inputs.states.plain is not None:
        raise ConfigurationError(
            f"experiment.networks: {name} would learn a transformed variable (background.variables), but cases know "
            "networks of variables as they are only; leave them out, networks: {names: [], beside: null}"
        )
    return [_network(name, seed, inputs) for seed in range(inputs.settings.networks.seeds)]


def _network(name: str, seed: int, inputs: ExperimentInputs) -> Network:
    own = inputs.settings.networks.options.get(name, OptionsSection())
    return trained_autoencoder(name, name, own, seed, inputs, key=f"experiment.networks.options.{name}")


def trained_autoencoder(
    title: str,
    name: str,
    own: OptionsSection,
    seed: int,
    inputs: ExperimentInputs,
    *,
    key: str,
    recipe: Recipe | None = None,
    teacher: Network | None = None,
) -> Network:
    """One autoencoder, from the folder or trained now.

    Parameters
    ----------
    title : of its file, and in the settings
    name : of models.zoo
    own : its options, which the case file has under `key`
    recipe : of its training; that of all if None
    teacher : that a recipe whose objective is `distilled` learns from
    """
    states = inputs.states
    roots = rooted(key, own.square_roots, states.variables)
    given = own.model_dump(mode="json", exclude_defaults=True)
    options = {item: value for item, value in given.items() if item != "square_roots"}
    if roots:
        options["roots"] = roots
    if recipe is None:
        recipe = RECIPE if not name.startswith("PCA-") else _ROOTS if roots else _MODES

    def build(seed: int) -> Autoencoder:
        return zoo.make(
            name, len(states.variables), states.grid.shape, mask=states.grid.fluid, seed=seed,
            variational=recipe.objective == "vae", **options,
        )  # fmt: skip

    def arrays(model: Autoencoder) -> dict[str, np.ndarray]:
        """What a case's section `network` also reads from the file."""
        codes, trips = codes_and_round_trips(model, states.fields[: states.n_training], COMM, states.part)
        stored = {"mean": states.mean, "scale": states.scale, "codes": codes}
        return {**stored, "round_trips": trips[-n_validation(inputs) :]}

    about: dict[str, Any] = {"given options": given} if given else {}
    if recipe.objective != RECIPE.objective:
        about["objective"] = recipe.objective
    if teacher is not None:
        about["teacher"] = file_hash(teacher.path)
    zero = states.zero if roots else None
    spec = NetworkSpec(title, build, recipe, about, arrays, zero, None if teacher is None else teacher.model)
    path, model, trained = trained_network(spec, seed, inputs)
    codes = files.load_arrays(path, ["codes"])["codes"]
    test = states.test(inputs.protocol.every)
    _, trips = codes_and_round_trips(model, states.fields[test], COMM, states.part)
    # from a root mean square over the values that take part
    relative = trips * np.sqrt(len(states.used)) / np.linalg.norm(states.rows[test].astype(np.float64), axis=1)
    return Network(model, codes, float(relative.mean()), trained, path)


def n_validation(inputs: ExperimentInputs) -> int:
    """Number of training states, the last in time, that select the epoch."""
    return max(1, round(inputs.settings.networks.validation * inputs.states.n_training))


def trained_network(spec: NetworkSpec, seed: int, inputs: ExperimentInputs) -> tuple[Path, Any, dict[str, Any]]:
    """A network from the folder, trained first if it is not there.

    Returns
    -------
    path of its file, the network in evaluation mode, and a dict about its training
    """
    section, states = inputs.settings.networks, inputs.states
    minutes = section.longer.get(spec.title, section.minutes)
    long = f"{section.epochs} epochs" if section.epochs else f"{minutes:g} minutes"
    path = section.folder / f"{spec.title}-{long.replace(' ', '')}-{seed}.safetensors"
    about = {
        **{key: value for key, value in states.about.items() if key != "test period"}, **spec.about,
        "validation states": n_validation(inputs), "trained for": long, "seed": seed,
    }  # fmt: skip
    try:
        model = spec.build(seed)
        if not path.exists():
            epochs = section.epochs or _epochs(spec, minutes, seed, inputs)
            _train(path, model, replace(spec.recipe, epochs=epochs, seed=seed), about, spec, inputs)
        model, header = files.load(path, {**about, "name": model.architecture["name"], "mask": states.grid.fluid})
    except ValueError as error:  # ModelFileError too
        raise ConfigurationError(f"experiment.networks: {error}") from error
    return path, model, header["trained"]


def _train(
    path: Path, model: Any, recipe: Recipe, about: dict[str, Any], spec: NetworkSpec, inputs: ExperimentInputs
) -> None:
    states, progress = inputs.states, inputs.progress
    progress.say(f"{spec.title}: {path} is not there; training for {recipe.epochs} epochs")
    began, processor = time.perf_counter(), time.process_time()
    fields, start = states.fields[: states.n_training], None
    if begins_at_modes(model):
        gap = min(_GAP, len(fields) // 20)
        model, start = begun(model, fields, n_validation(inputs), _FOLDS, gap, recipe.seed, spec.zero)
    with progress.bar(spec.title) as bar:
        result = train(
            model, fields, n_validation(inputs), recipe, COMM, part=states.part, cross_fitted=start,
            teacher=spec.teacher, stepped=bar.step,
            after_epoch=lambda history: bar.describe(_progress(spec.title, history, recipe.epochs)),
        )  # fmt: skip
    trained = {
        "epochs": len(result.history), "best_epoch": result.epoch, "validation": result.loss,
        "minutes": (time.process_time() - processor) / 60.0, "wall_minutes": (time.perf_counter() - began) / 60.0,
    }  # fmt: skip
    details = {"trained": trained, "objective": recipe.objective, "optimiser": recipe.optimiser, "batch": recipe.batch}
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = spec.arrays(model)
    if start is not None:  # errors are of modes that did not know the validation states, codes of those that are kept
        start.final.load(model)
        arrays = {**spec.arrays(model), "round_trips": arrays["round_trips"]}
    files.save(path, model, {**about, **details, "hardware": result.device}, arrays)


def _epochs(spec: NetworkSpec, minutes: float, seed: int, inputs: ExperimentInputs) -> int:
    """Number of epochs that fit into some minutes of processor time."""
    states, clock = inputs.states, [time.process_time()]
    count = min(_TRIAL * spec.recipe.batch, states.n_training - 1)
    train(
        spec.build(seed), states.fields[: count + 1], 1, replace(spec.recipe, epochs=3), COMM, part=states.part,
        teacher=spec.teacher, after_epoch=lambda history: clock.append(time.process_time()),
    )  # fmt: skip
    each = min(np.diff(clock)) / count * (states.n_training - n_validation(inputs))
    return max(1, round(60.0 * minutes / each))


def _progress(title: str, history: Sequence[Mapping[str, Any]], epochs: int) -> str:
    epoch, loss, validation = (history[-1][key] for key in ("epoch", "train", "validation"))
    return f"{title}: epoch {epoch} of {epochs}, loss {loss:.4g}, validation {validation:.4g}"
