"""What is compared. A system is made once, prepared for a set of sensors, and then asked for analyses of readings.

Readings and increments are standardised, and the background is zero. A system's own seconds are those of minimising
and of the increment; what does not depend on the readings' values, and the code of a truth, is made before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from da.analysis import analyse, prepare
from da.background.latent import decoded_transform, latent_modes
from da.background.modes import Modes, reduced_modes, truncated_modes
from da.background.transform import LinearTransform
from da.bireduced import LatentMinimum, bireduced, latent_error
from da.decoded import analyse_decoded
from da.observation.error import diagonal_error
from da.observation.operator import selection
from models.decoder import parallel_decoder
from models.inference import fast_decoder
from plugin.case.configuration import ConfigurationError
from plugin.experiment.states import COMM


@dataclass(frozen=True)
class System:
    """A way to make analyses.

    name : of its row in tables
    numbers : of a control or a code
    parameters : numbers that it keeps of its training
    prepare : function of sensors, (M,) numbers of values, that gives a function of their (M,) readings, which gives an
        increment, (n,), and its seconds
    sees_all : whether it is given all values, whatever the sensors
    """

    name: str
    numbers: int
    parameters: int
    prepare: Callable
    sees_all: bool = False


def background(states):
    """No analysis."""
    return System("background", 0, 0, lambda sensors: lambda readings: timed(lambda: np.zeros(states.n)))


def tsvd(states, protocol, truncation=None):
    """Modes of a truncation, as `da.background.modes.truncated_modes` takes it."""
    try:
        return truncated_modes(states.training, COMM, truncation, protocol.unbiased)
    except ValueError as error:
        raise ConfigurationError(f"experiment.truncation: {error}") from error


def reduced(states, protocol):
    """A mode for each training state: τ = S."""
    return reduced_modes(states.training, COMM, protocol.unbiased)


def leading(modes, tau):
    """The first τ of TSVD's modes."""
    return replace(modes, vectors=np.ascontiguousarray(modes.vectors[:, :tau]))


def linear(name, modes: Modes, protocol):
    """3D-Var in the space of modes."""
    transform = LinearTransform(modes, None, COMM)
    settings = {"method": protocol.minimiser, "gradient_tolerance": protocol.gradient_tolerance}
    if not protocol.preconditioned:
        settings["root"] = None

    def prepared(sensors):
        operator, error = observed_at(sensors, len(modes.vectors), protocol)
        observed = prepare(transform, operator, error, COMM, protocol.background_weight)

        def analysed(readings):
            found = analyse(
                transform, operator, error, readings, COMM,
                background_weight=protocol.background_weight, observed=observed, **settings,
            )  # fmt: skip
            return found.increment, _seconds(found)

        return analysed

    return System(name, modes.n_modes, modes.vectors.size, prepared)


def observed_at(sensors, n, protocol):
    """H and R of single values of a state."""
    operator = selection(sensors, n, COMM)
    return operator, diagonal_error(np.full(len(sensors), np.sqrt(protocol.variance)), operator.rows)


def latent(states, protocol, model, codes):
    """The paper's transform by a decoder.

    model : Autoencoder; codes : (m, S) of the training states
    """
    decoder = parallel_decoder(model, (states.scale != 0.0).astype(float), COMM, faster=fast_decoder)
    return decoded_transform(decoder, latent_modes(codes, COMM, unbiased=protocol.unbiased))


def autoencoder(name, states, protocol, network):
    """The paper's analysis in latent space, of a truth that is observed at all values: d_l = f(truth).

    network : plugin.experiment.networks.Network
    """
    transform = latent(states, protocol, network.model, network.codes)
    modes = transform.modes
    minimum = LatentMinimum(modes, latent_error(protocol.variance, modes.n_latent), COMM, protocol.background_weight)
    minimum.prepare()

    def prepared(sensors):
        def analysed(readings):
            truth = np.zeros(states.n)
            truth[sensors] = readings
            found = bireduced(transform, truth, COMM, minimum=minimum)
            return found.increment, _seconds(found)

        return analysed

    return System(name, modes.n_latent, network.parameters, prepared, sees_all=True)


def decoded(states, protocol, network):
    """The paper's transform seen by the true H.

    The search begins at the background: from TSVD's analysis of few readings it ends in worse minima. Its tolerance is
    its own, for the protocol's is met before it has got anywhere.

    network : plugin.experiment.networks.Network
    """
    transform = latent(states, protocol, network.model, network.codes)

    def prepared(sensors):
        operator, error = observed_at(sensors, states.n, protocol)

        def analysed(readings):
            found = analyse_decoded(
                transform, operator, error, readings, COMM,
                background_weight=protocol.background_weight, method=protocol.minimiser,
            )  # fmt: skip
            return found.increment, sum(found.seconds.values())

        return analysed

    return System("decoded", transform.n_control, network.parameters, prepared)


def interpolation(name, states, protocol):
    """Optimal interpolation with the training states' full sample covariance B = XXᵀ / (S − 1) (Gandin 1963).

    x_a = B Hᵀ (H B Hᵀ + R)⁻¹ d, with nothing to tune.
    """
    anomalies = reduced_modes(states.training, COMM, unbiased=True).vectors

    def prepared(sensors):
        seen = anomalies[sensors]
        few = len(sensors) <= seen.shape[1]  # else the other order of the product has the smaller matrix
        gram = seen @ seen.T if few else seen.T @ seen
        gram[np.diag_indices_from(gram)] += protocol.variance
        factor = cho_factor(gram, lower=True, overwrite_a=True)

        def weights(readings):
            return seen.T @ cho_solve(factor, readings) if few else cho_solve(factor, seen.T @ readings)

        return lambda readings: timed(lambda: anomalies @ weights(readings))

    return System(name, anomalies.shape[1], anomalies.size, prepared)


def timed(work):
    """What `work()` gives, and its wall-clock seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _seconds(found):
    return found.seconds["minimise"] + found.seconds["increment"]
