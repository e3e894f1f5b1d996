"""Systems that begin with a network of the readings themselves, trained on random sensors.

`voronoi` is the baseline that whatever knows of errors has to beat: Voronoi cells of the readings go into a
convolutional network that gives the field (Voronoi-CNN, Fukami et al. 2021). Theirs has all layers at the grid's own
resolution; here it is the U-net of :class:`models.zoo.observation_encoder.ObservationEncoder`, whose coarse layers see the
whole of a 3D grid. `encoded` is the analysis in latent space of a code that an observation encoder finds.
"""

from dataclasses import replace

import numpy as np
import torch

from da.bireduced import LatentMinimum, latent_error, observation_encoded
from da.observation.encoded import code_variance
from models import zoo
from models.gridding import SensorGrid
from models.training.sensors import SensorDraws
from models.voronoi import VoronoiGrid
from models.zoo.observation_encoder import ObservationEncoder
from plugin.experiment.networks import COMBINED, RECIPE, NetworkSpec, n_validation, trained_network, weights
from plugin.experiment.states import COMM, noise
from plugin.experiment.systems import System, latent, timed
from plugin.window.encoded import file_hash

VORONOI, ENCODED = "Voronoi-CNN", "bireduced"
_NOISE = (0.02, 0.3)  # of readings in training, in standard deviations
_RATE = 0.01
_BATCH = 8  # states that are encoded at a time
_KEPT = 64  # states that R_l is found from


def voronoi(inputs):
    """A plain regression from readings to the field. A System."""
    states = inputs.states
    grid = VoronoiGrid(states.grid.spacing, states.part)

    def build(seed):
        variables, shape = len(states.variables), states.grid.shape
        observations = {"spacing": list(states.grid.spacing), "seed": seed}
        return zoo.make("Identity", variables, shape, mask=states.grid.fluid, seed=seed, observations=observations)

    _, model, _ = trained_network(_spec(VORONOI, build, grid, inputs), 0, inputs)

    def prepared(sensors):
        layout = _layout(grid, sensors)

        def field(readings):
            with torch.inference_mode():
                found = model.field(_spread(layout, readings[None], model))[0]
            return found.permute(1, 2, 3, 0).reshape(-1).double().numpy() * (states.scale != 0.0)

        return lambda readings: timed(lambda: field(readings))

    return System(VORONOI, states.n, weights(model), prepared)


def encoded(network, inputs):
    """The analysis in latent space, d_l = f°(y), with R_l of f°'s own error. A System.

    network : plugin.experiment.networks.Network
    """
    states, protocol = inputs.states, inputs.protocol
    grid, codes = SensorGrid(states.grid.spacing, states.part), network.codes

    def build(seed):
        return ObservationEncoder(network.model, states.grid.spacing, seed=seed)

    spec = _spec(f"{network.path.stem}-{ENCODED}", build, grid, inputs)
    _, model, _ = trained_network(replace(spec, about={**spec.about, "autoencoder": file_hash(network.path)}), 0, inputs)
    transform = latent(states, protocol, network.model, codes)
    modes, first = transform.modes, states.n_training - n_validation(inputs)
    known = np.unique(np.linspace(first, states.n_training - 1, _KEPT).round().astype(int))

    def encode(layout, readings):
        """(k, M) → (m, k)"""
        batches = np.array_split(readings, -(-len(readings) // _BATCH))
        with torch.inference_mode():
            return np.concatenate([model.encode(_spread(layout, b, model)).double().numpy() for b in batches]).T

    def prepared(sensors):
        layout = _layout(grid, sensors)
        readings = [states.truth(k)[sensors] + noise(protocol, len(sensors), 0, k) for k in known]
        variance = code_variance(encode(layout, np.array(readings)), codes[:, known])
        minimum = LatentMinimum(modes, latent_error(variance, modes.n_latent), COMM, protocol.background_weight)
        minimum.prepare()

        def analysed(readings):
            code, before = timed(lambda: encode(layout, readings[None])[:, 0])
            found = observation_encoded(transform, code, COMM, minimum=minimum)
            return found.increment, before + found.seconds["minimise"] + found.seconds["increment"]

        return analysed

    return System(ENCODED, modes.n_latent, network.parameters + weights(model.tuned) + weights(model.unet), prepared)


def _spec(title, build, grid, inputs):
    """A network that is trained on as many random sensors as the settings ask for."""
    counts = inputs.settings.sparse.sensors
    numbers = min(counts), max(counts)
    recipe = replace(RECIPE, rate=_RATE, augmentation=SensorDraws(grid, numbers, _NOISE, before=COMBINED))
    return NetworkSpec(title, build, recipe, {"sensors": list(numbers), "noise": list(_NOISE)})


def _layout(grid, sensors):
    """Where the readings of numbered values go."""
    point, channel = np.divmod(sensors, len(grid.part))
    return grid.layout(grid.places[point], channel)


def _spread(layout, readings, model):
    """(k, M) readings as (k, 2C, nx, ny, nz) of the model's precision."""
    return torch.from_numpy(layout.spread(readings)).to(model.mask)
