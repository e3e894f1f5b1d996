"""Trained autoencoders: taken from a folder if they are there and fit, trained now otherwise.

All are trained alike, by the recipe below and for the same time. Minutes are those of the processor, so that other load
takes little from a network; as many epochs as fit in are found by some steps that are timed before.
"""

import time
from dataclasses import asdict, dataclass, replace

import numpy as np

from models import files, zoo
from models.training.augmentation import Augmentation
from models.training.evaluation import codes_and_round_trips
from models.training.loop import Recipe, train
from plugin.configuration import ConfigurationError
from plugin.experiment.protocol import COMM

RECIPE = Recipe(
    batch=8, optimiser="muon", objective="relative", settle=0.5, patience=10**6,
    augmentation=Augmentation(noise=(0.0, 0.0), combine=1.0),
)  # fmt: skip
_TRIAL = 4  # batches that are timed


@dataclass(frozen=True)
class Network:
    """A trained network and what it makes of the states.

    name : of the zoo
    model : Autoencoder
    codes : (m, n_training) of the training states
    round_trip : mean over the test states of ‖x − g(f(x))‖ / ‖x‖
    trained : dict that tells of the training: epochs, best_epoch, validation, minutes
    """

    name: str
    model: object
    codes: np.ndarray
    round_trip: float
    trained: dict

    @property
    def parameters(self):
        """Number of weights."""
        return sum(p.numel() for p in self.model.parameters())

    def figures(self):
        """What tables tell of it."""
        return {"parameters": self.parameters, "numbers": self.model.n_latent, "round_trip": self.round_trip, **self.trained}


def networks_of(name, setting):
    """A network in each of the trainings that the settings ask for: a list of Network.

    Raises
    ------
    ConfigurationError
        if there is no such network, or the folder holds another of that name
    TrainingError, OSError
        if the loss is no longer a number, or a file cannot be written
    """
    return [_network(name, seed, setting) for seed in range(setting.settings.networks.seeds)]


def _network(name, seed, setting):
    of, states = setting.settings.networks, setting.states
    minutes = None if of.epochs else of.longer.get(name, of.minutes)
    long = f"{of.epochs} epochs" if of.epochs else f"{minutes:g} minutes"
    path = of.folder / f"{name}-{long.replace(' ', '')}-{seed}.safetensors"
    n_validation = max(1, round(of.validation * states.n_training))
    about = {**states.about, "validation states": n_validation, "trained for": long, "seed": seed}
    del about["test period"]
    try:
        if not path.exists():
            _train(path, about, name, seed, minutes, n_validation, setting)
        model, found = files.load(path, {**about, "name": name, "mask": states.grid.fluid})
        codes = files.load_arrays(path, ["codes"])["codes"]
    except ValueError as error:  # ModelFileError too
        raise ConfigurationError(f"experiment.networks: {error}") from error
    test = states.test(setting.protocol.every)
    fields = states.fields[test]
    _, round_trips = codes_and_round_trips(model, fields, COMM, states.part)
    relative = round_trips * np.sqrt(len(states.used)) / np.linalg.norm(states.rows[test].astype(np.float64), axis=1)
    return Network(name, model, codes, float(relative.mean()), found["trained"])


def _train(path, about, name, seed, minutes, n_validation, setting):
    """Train a network and write its file, which a case's section `network` takes as well."""
    states, progress = setting.states, setting.progress
    fields, part = states.fields[: states.n_training], states.part
    model = make(name, seed, states)
    epochs = setting.settings.networks.epochs or _epochs(name, seed, minutes, n_validation, states)
    recipe = replace(RECIPE, epochs=epochs, seed=seed)
    progress.say(f"{name}: not in {path.parent}; training, {epochs} epochs")
    began, processor = time.perf_counter(), time.process_time()
    with progress.bar(name) as bar:
        found = train(
            model, fields, n_validation, recipe, COMM, part=part, stepped=bar.step,
            told=lambda history: bar.describe(_told(name, history, epochs)),
        )  # fmt: skip
    told = {
        "epochs": len(found.history), "best_epoch": found.epoch, "validation": found.loss,
        "minutes": (time.process_time() - processor) / 60.0, "wall_minutes": (time.perf_counter() - began) / 60.0,
    }  # fmt: skip
    codes, round_trips = codes_and_round_trips(model, fields, COMM, part)
    arrays = {"mean": states.mean, "scale": states.scale, "codes": codes, "round_trips": round_trips[-n_validation:]}
    path.parent.mkdir(parents=True, exist_ok=True)
    files.save(path, model, {**about, "trained": told, "training": asdict(recipe), "hardware": found.device}, arrays)


def make(name, seed, states):
    """A network of the zoo for these states, not trained."""
    return zoo.make(name, len(states.variables), states.grid.shape, mask=states.grid.fluid, seed=seed)


def _epochs(name, seed, minutes, n_validation, states):
    """Epochs that fit into some minutes of the processor."""
    clock, count = [time.process_time()], min(_TRIAL * RECIPE.batch, states.n_training - 1)
    train(
        make(name, seed, states), states.fields[: count + 1], 1, replace(RECIPE, epochs=3), COMM, part=states.part,
        told=lambda history: clock.append(time.process_time()),
    )  # fmt: skip
    each = min(np.diff(clock)) / count * (states.n_training - n_validation)
    return max(1, round(60.0 * minutes / each))


def _told(name, history, epochs):
    record = history[-1]
    return f"{name}: epoch {record['epoch']} of {epochs}, loss {record['train']:.4g}, validation {record['validation']:.4g}"
