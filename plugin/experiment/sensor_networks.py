"""Systems that begin with a network of the readings themselves, trained on random sensors.

`voronoi` is the baseline that methods with error statistics must beat: Voronoi cells of the readings go into a
convolutional network that returns the field (Voronoi-CNN, Fukami et al. 2021). Theirs has all layers at the grid's own
resolution; here it is the U-net of :class:`models.zoo.observation_encoder.ObservationEncoder`, whose coarse layers
cover a whole 3D grid. `encoded` is the analysis in latent space of a code from an observation encoder.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from da.bireduced import latent_error, latent_minimum, observation_encoded
from da.observation.encoded import code_variance
from models import zoo
from models.gridding import InverseDistanceGridding, SensorWeights
from models.training.sensors import SensorDraws
from models.voronoi import VoronoiGridding
from models.zoo.observation_encoder import ObservationEncoder
from plugin.experiment.networks import COMBINED, RECIPE, Network, NetworkSpec, n_validation, trained_network, weights
from plugin.experiment.states import COMM, ExperimentInputs, noise
from plugin.experiment.systems import Analysed, System, latent, timed
from plugin.window.background.observation_encoding import file_hash

VORONOI, ENCODED = "Voronoi-CNN", "bireduced"
_NOISE = (0.02, 0.3)  # of readings in training, in standard deviations
_RATE = 0.01
_BATCH = 8  # states encoded at a time
_STATES = 64  # states that R_l is estimated from


def voronoi(inputs: ExperimentInputs, seed: int = 0) -> System:
    """A plain regression from readings to the field; seed : of its training."""
    states = inputs.states
    grid = VoronoiGridding(states.grid.spacing, states.part)

    def build(seed: int) -> Any:
        variables, shape = len(states.variables), states.grid.shape
        observations = {"spacing": list(states.grid.spacing), "seed": seed}
        return zoo.make("Identity", variables, shape, mask=states.grid.fluid, seed=seed, observations=observations)

    _, model, _ = trained_network(_spec(VORONOI, build, grid, inputs), seed, inputs)

    def prepared(sensors: np.ndarray) -> Analysed:
        layout = _layout(grid, sensors)

        def field(readings: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                field = model.field(_spread(layout, readings[None], model))[0]
            return field.permute(1, 2, 3, 0).reshape(-1).double().numpy() * (states.scale != 0.0)

        return lambda readings: timed(lambda: field(readings))

    return System(VORONOI, states.n, weights(model), prepared)


def encoded(network: Network, inputs: ExperimentInputs, seed: int = 0) -> System:
    """The analysis in latent space, d_l = f°(y), with R_l from f°'s own error; seed : of its training."""
    states, protocol = inputs.states, inputs.protocol
    grid, codes = InverseDistanceGridding(states.grid.spacing, states.part), network.codes

    def build(seed: int) -> ObservationEncoder:
        return ObservationEncoder(network.model, states.grid.spacing, seed=seed)

    spec = _spec(f"{network.path.stem}-{ENCODED}", build, grid, inputs, network.roots)
    _, model, _ = trained_network(
        replace(spec, about={**spec.about, "autoencoder": file_hash(network.path)}), seed, inputs
    )
    transform = latent(states, protocol, network.model, codes)
    modes, first = transform.modes, states.n_training - n_validation(inputs)
    known = np.unique(np.linspace(first, states.n_training - 1, _STATES).round().astype(int))

    def encode(layout: SensorWeights, readings: np.ndarray) -> np.ndarray:
        """(k, M) → (m, k)"""
        batches = np.array_split(readings, -(-len(readings) // _BATCH))
        with torch.inference_mode():
            return np.concatenate([model.encode(_spread(layout, b, model)).double().numpy() for b in batches]).T

    def prepared(sensors: np.ndarray) -> Analysed:
        layout = _layout(grid, sensors)
        readings = [states.truth(k)[sensors] + noise(protocol, len(sensors), 0, k) for k in known]
        variance = code_variance(encode(layout, np.array(readings)), codes[:, known])
        minimum = latent_minimum(modes, latent_error(variance, modes.n_latent), COMM, protocol.background_weight)

        def analysed(readings: np.ndarray) -> tuple[np.ndarray, float]:
            code, before = timed(lambda: encode(layout, readings[None])[:, 0])
            analysis = observation_encoded(transform, code, COMM, minimum=minimum)
            return analysis.increment, before + analysis.seconds["minimise"] + analysis.seconds["increment"]

        return analysed

    return System(ENCODED, modes.n_latent, network.parameters + weights(model.tuned) + weights(model.unet), prepared)


def _spec(
    title: str,
    build: Callable[[int], Any],
    grid: InverseDistanceGridding | VoronoiGridding,
    inputs: ExperimentInputs,
    roots: bool = False,
) -> NetworkSpec:
    """A network trained on as many random sensors as the settings ask for, with roots on the states as they are."""
    counts = inputs.settings.sparse.sensors
    numbers = min(counts), max(counts)
    before = None if roots else COMBINED
    recipe = replace(RECIPE, rate=_RATE, augmentation=SensorDraws(grid, numbers, _NOISE, before=before))
    return NetworkSpec(title, build, recipe, {"sensors": list(numbers), "noise": list(_NOISE)})


def _layout(grid: InverseDistanceGridding | VoronoiGridding, sensors: np.ndarray) -> Any:
    """Where the grid takes the readings of values, which are given by their indices."""
    point, channel = np.divmod(sensors, len(grid.part))
    return grid.weights(grid.places[point], channel)


def _spread(layout: Any, readings: np.ndarray, model: Any) -> torch.Tensor:
    """(k, M) readings as (k, 2C, nx, ny, nz) in the model's precision."""
    return torch.from_numpy(layout.to_grid(readings)).to(model.mask)
