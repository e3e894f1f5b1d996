"""Trained networks: taken from a folder if they are there and fit, trained now otherwise.

All are trained alike, by the recipe below and for the same time. Minutes are those of the processor, so that other load
takes little from a network; as many epochs as fit in are found by some steps that are timed before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models import files, zoo
from models.training.augmentation import Augmentation
from models.training.evaluation import codes_and_round_trips
from models.training.loop import train
from models.training.recipe import Recipe
from plugin.case.configuration import ConfigurationError
from plugin.experiment.states import COMM

COMBINED = Augmentation(noise=(0.0, 0.0), combine=1.0)
RECIPE = Recipe(batch=8, optimiser="muon", objective="relative", settle=0.5, patience=10**6, augmentation=COMBINED)
_TRIAL = 4  # batches that are timed


@dataclass(frozen=True)
class NetworkSpec:
    """A network that an experiment wants.

    title : of its file, and in the settings
    build : function of a seed that gives the network, not trained
    recipe : Recipe, but for its epochs and seed
    about : {item: value} that its file tells beside what the states are
    arrays : function of the trained network that gives the arrays to keep beside its weights
    """

    title: str
    build: Callable
    recipe: Recipe = RECIPE
    about: dict = field(default_factory=dict)
    arrays: Callable = lambda model: {}


@dataclass(frozen=True)
class Network:
    """A trained autoencoder and what it makes of the states.

    model : Autoencoder
    codes : (m, n_training) of the training states
    round_trip : mean over the test states of ‖x − g(f(x))‖ / ‖x‖
    trained : dict that tells of the training: epochs, best_epoch, validation, minutes
    path : of its file
    """

    model: object
    codes: np.ndarray
    round_trip: float
    trained: dict
    path: Path

    @property
    def parameters(self):
        """Number of weights."""
        return weights(self.model)

    def figures(self):
        """What tables tell of it."""
        told = {"parameters": self.parameters, "numbers": self.model.n_latent, "round_trip": self.round_trip}
        return {**told, **self.trained}


def weights(model):
    """Number of weights of a network."""
    return sum(p.numel() for p in model.parameters())


def trained_networks(name, inputs):
    """An autoencoder in each of the trainings that the settings ask for: a list of Network.

    Raises
    ------
    ConfigurationError
        if there is no such network, or the folder holds another of that name
    TrainingError, OSError
        if the loss is no longer a number, or a file cannot be written
    """
    return [_network(name, seed, inputs) for seed in range(inputs.settings.networks.seeds)]


def _network(name, seed, inputs):
    states = inputs.states

    def build(seed):
        return zoo.make(name, len(states.variables), states.grid.shape, mask=states.grid.fluid, seed=seed)

    def arrays(model):
        """What a case's section `network` wants of the file, too."""
        codes, trips = codes_and_round_trips(model, states.fields[: states.n_training], COMM, states.part)
        kept = {"mean": states.mean, "scale": states.scale, "codes": codes}
        return {**kept, "round_trips": trips[-n_validation(inputs) :]}

    path, model, trained = trained_network(NetworkSpec(name, build, arrays=arrays), seed, inputs)
    codes = files.load_arrays(path, ["codes"])["codes"]
    test = states.test(inputs.protocol.every)
    _, trips = codes_and_round_trips(model, states.fields[test], COMM, states.part)
    # a root mean square over the values that take part
    relative = trips * np.sqrt(len(states.used)) / np.linalg.norm(states.rows[test].astype(np.float64), axis=1)
    return Network(model, codes, float(relative.mean()), trained, path)


def n_validation(inputs):
    """The last so many training states pick the epoch."""
    return max(1, round(inputs.settings.networks.validation * inputs.states.n_training))


def trained_network(spec, seed, inputs):
    """A network from the folder, trained before if it is not there.

    Returns
    -------
    path of its file, the network in evaluation mode, and a dict that tells of its training
    """
    of, states = inputs.settings.networks, inputs.states
    minutes = of.longer.get(spec.title, of.minutes)
    long = f"{of.epochs} epochs" if of.epochs else f"{minutes:g} minutes"
    path = of.folder / f"{spec.title}-{long.replace(' ', '')}-{seed}.safetensors"
    about = {
        **{key: value for key, value in states.about.items() if key != "test period"}, **spec.about,
        "validation states": n_validation(inputs), "trained for": long, "seed": seed,
    }  # fmt: skip
    try:
        model = spec.build(seed)
        if not path.exists():
            epochs = of.epochs or _epochs(spec, minutes, seed, inputs)
            _train(path, model, replace(spec.recipe, epochs=epochs, seed=seed), about, spec, inputs)
        model, found = files.load(path, {**about, "name": model.architecture["name"], "mask": states.grid.fluid})
    except ValueError as error:  # ModelFileError too
        raise ConfigurationError(f"experiment.networks: {error}") from error
    return path, model, found["trained"]


def _train(path, model, recipe, about, spec, inputs):
    states, progress = inputs.states, inputs.progress
    progress.say(f"{spec.title}: {path} is not there; training, {recipe.epochs} epochs")
    began, processor = time.perf_counter(), time.process_time()
    with progress.bar(spec.title) as bar:
        found = train(
            model, states.fields[: states.n_training], n_validation(inputs), recipe, COMM, part=states.part,
            stepped=bar.step, told=lambda history: bar.describe(_told(spec.title, history, recipe.epochs)),
        )  # fmt: skip
    trained = {
        "epochs": len(found.history), "best_epoch": found.epoch, "validation": found.loss,
        "minutes": (time.process_time() - processor) / 60.0, "wall_minutes": (time.perf_counter() - began) / 60.0,
    }  # fmt: skip
    told = {"trained": trained, "objective": recipe.objective, "optimiser": recipe.optimiser, "batch": recipe.batch}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.save(path, model, {**about, **told, "hardware": found.device}, spec.arrays(model))


def _epochs(spec, minutes, seed, inputs):
    """Epochs that fit into some minutes of the processor."""
    states, clock = inputs.states, [time.process_time()]
    count = min(_TRIAL * spec.recipe.batch, states.n_training - 1)
    train(
        spec.build(seed), states.fields[: count + 1], 1, replace(spec.recipe, epochs=3), COMM, part=states.part,
        told=lambda history: clock.append(time.process_time()),
    )  # fmt: skip
    each = min(np.diff(clock)) / count * (states.n_training - n_validation(inputs))
    return max(1, round(60.0 * minutes / each))


def _told(title, history, epochs):
    epoch, loss, validation = (history[-1][key] for key in ("epoch", "train", "validation"))
    return f"{title}: epoch {epoch} of {epochs}, loss {loss:.4g}, validation {validation:.4g}"
