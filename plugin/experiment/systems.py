"""What is compared. A system is built once, prepared for a set of sensors, and then asked for analyses of readings.

Readings and increments are standardised, and the background is zero. A system's seconds are those of the minimisation
and of the increment; whatever does not depend on the readings' values, and the code of a truth, is prepared before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from da.analysis import analyse, prepare
from da.background.latent import DecodedTransform, decoded_transform, latent_modes, unit_modes
from da.background.linear_transform import LinearTransform
from da.background.modes import Modes, reduced_modes, truncated_modes
from da.bireduced import bireduced, latent_error, latent_minimum
from da.decoded import analyse_decoded
from da.observation.diagonal_error import diagonal_error
from da.observation.error import ObservationError
from da.observation.matrix_operator import selection
from da.observation.operator import ObservationOperator
from models.decoder import parallel_decoder
from models.inference import fast_passes
from models.zoo.autoencoder import Autoencoder
from plugin.case.configuration import ConfigurationError
from plugin.case.experiment import ProtocolSection
from plugin.experiment.networks import Network
from plugin.experiment.states import COMM, StandardisedStates

T = TypeVar("T")


Analysed = Callable[[np.ndarray], tuple[np.ndarray, float]]  # of readings: the increment, and its seconds


@dataclass(frozen=True)
class System:
    """A way to compute analyses.

    name : of its row in tables
    numbers : length of its control or code
    parameters : values that it stores of its training
    prepare : function of sensors, (M,) indices of values, that returns a function of their (M,) readings, which
        returns the increment, (n,), and its seconds
    observes_all : whether it takes all values, whatever the sensors
    """

    name: str
    numbers: int
    parameters: int
    prepare: Callable[[np.ndarray], Analysed]
    observes_all: bool = False


def background(states: StandardisedStates) -> System:
    """No analysis."""
    return System("background", 0, 0, lambda sensors: lambda readings: timed(lambda: np.zeros(states.n)))


def tsvd(states: StandardisedStates, protocol: ProtocolSection, truncation: float | None = None) -> Modes:
    """Modes of a truncation, as `da.background.modes.truncated_modes` takes it."""
    try:
        return truncated_modes(states.training, COMM, truncation, protocol.unbiased)
    except ValueError as error:
        raise ConfigurationError(f"experiment.truncation: {error}") from error


def reduced(states: StandardisedStates, protocol: ProtocolSection) -> Modes:
    """A mode for each training state: τ = S."""
    return reduced_modes(states.training, COMM, protocol.unbiased)


def leading(modes: Modes, tau: int) -> Modes:
    """The first τ of TSVD's modes."""
    return replace(modes, vectors=np.ascontiguousarray(modes.vectors[:, :tau]))


def linear(name: str, modes: Modes, protocol: ProtocolSection) -> System:
    """3D-Var in the space of modes."""
    transform = LinearTransform(modes, None, COMM)
    settings: dict[str, Any] = {"method": protocol.minimiser, "gradient_tolerance": protocol.gradient_tolerance}
    if not protocol.preconditioned:
        settings["root"] = None

    def prepared(sensors: np.ndarray) -> Analysed:
        operator, error = observed_at(sensors, len(modes.vectors), protocol)
        hessian = prepare(transform, operator, error, COMM, protocol.background_weight)

        def analysed(readings: np.ndarray) -> tuple[np.ndarray, float]:
            analysis = analyse(
                transform, operator, error, readings, COMM,
                background_weight=protocol.background_weight, hessian=hessian, **settings,
            )  # fmt: skip
            return analysis.increment, _seconds(analysis)

        return analysed

    return System(name, modes.n_modes, modes.vectors.size, prepared)


def observed_at(sensors: np.ndarray, n: int, protocol: ProtocolSection) -> tuple[ObservationOperator, ObservationError]:
    """H and R for single values of a state."""
    operator = selection(sensors, n, COMM)
    return operator, diagonal_error(np.full(len(sensors), np.sqrt(protocol.variance)), operator.rows)


def latent(
    states: StandardisedStates, protocol: ProtocolSection, model: Autoencoder, codes: np.ndarray | None
) -> DecodedTransform:
    """The paper's transform by a decoder; codes : (m, S) of the training states, None for V_l = I."""
    decoder = parallel_decoder(model, (states.scale != 0.0).astype(float), COMM, faster=fast_passes)
    if codes is None:
        return decoded_transform(decoder, unit_modes(decoder.n_latent))
    return decoded_transform(decoder, latent_modes(codes, COMM, unbiased=protocol.unbiased))


def autoencoder(
    name: str, states: StandardisedStates, protocol: ProtocolSection, network: Network, prior: bool = False
) -> System:
    """The paper's analysis in latent space, of a truth observed at all values: d_l = f(truth).

    prior : of a variational network: B_l = I and a background weight of 1, in place of the training states' codes
    """
    transform = latent(states, protocol, network.model, None if prior else network.codes)
    modes, weight = transform.modes, 1.0 if prior else protocol.background_weight
    minimum = latent_minimum(modes, latent_error(protocol.variance, modes.n_latent), COMM, weight)

    def prepared(sensors: np.ndarray) -> Analysed:
        def analysed(readings: np.ndarray) -> tuple[np.ndarray, float]:
            truth = np.zeros(states.n)
            truth[sensors] = readings
            analysis = bireduced(transform, truth, COMM, minimum=minimum)
            return analysis.increment, _seconds(analysis)

        return analysed

    return System(name, modes.n_latent, network.parameters, prepared, observes_all=True)


def decoded(
    name: str, states: StandardisedStates, protocol: ProtocolSection, network: Network, prior: bool = False
) -> System:
    """The paper's transform with the true H; `prior` as for `autoencoder`.

    The minimisation starts at the background: from TSVD's analysis of few readings it ends in worse minima. It has its
    own tolerance, because the protocol's is met before J has fallen much.
    """
    transform = latent(states, protocol, network.model, None if prior else network.codes)
    weight = 1.0 if prior else protocol.background_weight

    def prepared(sensors: np.ndarray) -> Analysed:
        operator, error = observed_at(sensors, states.n, protocol)

        def analysed(readings: np.ndarray) -> tuple[np.ndarray, float]:
            analysis = analyse_decoded(
                transform, operator, error, readings, COMM,
                background_weight=weight, method=protocol.minimiser,
            )  # fmt: skip
            return analysis.increment, sum(analysis.seconds.values())

        return analysed

    return System(name, transform.n_control, network.parameters, prepared)


def interpolation(name: str, states: StandardisedStates, protocol: ProtocolSection) -> System:
    """Optimal interpolation with the training states' full sample covariance B = XXᵀ / (S − 1) (Gandin 1963).

    x_a = B Hᵀ (H B Hᵀ + R)⁻¹ d, without tuning.
    """
    anomalies = reduced_modes(states.training, COMM, unbiased=True).vectors

    def prepared(sensors: np.ndarray) -> Analysed:
        observed = anomalies[sensors]
        few = len(sensors) <= observed.shape[1]  # otherwise the product in the other order is smaller
        gram = observed @ observed.T if few else observed.T @ observed
        gram[np.diag_indices_from(gram)] += protocol.variance
        factor = cho_factor(gram, lower=True, overwrite_a=True)

        def weights(readings: np.ndarray) -> np.ndarray:
            return observed.T @ cho_solve(factor, readings) if few else cho_solve(factor, observed.T @ readings)

        return lambda readings: timed(lambda: anomalies @ weights(readings))

    return System(name, anomalies.shape[1], anomalies.size, prepared)


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of `work()`, and its wall-clock seconds."""
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _seconds(analysis: Any) -> float:
    return analysis.seconds["minimise"] + analysis.seconds["increment"]
