"""Analyses by an autoencoder: what those of a case share, and when TSVD's analysis replaces one.

A network may be wrong with confidence. Each of its analyses must pass the three checks of `da.diagnostics.trust`. Where
one fails, or the minimisation does, the window gets TSVD's analysis, from which the minimisation started.

A compressed network's file may ask for bfloat16 or int8. `bireduced` encodes and decodes so. `decoded` takes
derivatives, which roundings lack: all of its passes are float32, with the weights of the file, so that J, its gradient
and the increment are of one function.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0, refuse_together
from coupling.geometry.grid import Grid
from da.analysis import Analysis
from da.background.latent import DecodedTransform, LatentModes, decoded_transform, latent_modes, unit_modes
from da.decoded import analyse_decoded
from da.diagnostics.trust import (
    Trust,
    TrustLimits,
    check_background,
    check_cost,
    observation_cost,
    round_trip_error,
    trust_limits,
)
from da.minimisation.minimise import MinimisationError
from da.observation.error import ObservationError
from models.decoder import DecoderError, ParallelDecoder, decodes, parallel_decoder
from models.files import AUTOENCODER, ModelFileError, load, load_arrays
from models.inference import fast_passes
from models.local_network import PlainPasses
from models.stored_passes import stored_passes
from models.zoo.autoencoder import Autoencoder
from plugin.case.configuration import Case, ConfigurationError
from plugin.state.transfer import Transfer
from plugin.window.analysis_cache import CachedResult
from plugin.window.background.observation_encoding import ObservationEncoding, RowPositions, read_encoder
from plugin.window.observations.operator import Operator


@dataclass(frozen=True)
class Latent:
    """Background errors in a network's latent space.

    decoder : ParallelDecoder, in the units of the training
    modes : LatentModes, of the states the network was made with, or of a variational network's prior
    mean : (n_local,) x̄ of the training states, in the state's units
    limits : TrustLimits
    encoder : ObservationEncoding of the readings, of `bireduced`; None for `decoded`
    inflation : of the deviations that the network tells of each background's own code; None where `modes` count
    """

    decoder: ParallelDecoder
    modes: LatentModes
    mean: np.ndarray
    limits: TrustLimits
    encoder: ObservationEncoding | None = None
    inflation: float | None = None

    @property
    def name(self) -> str:
        """Of the transform, as in case files."""
        return "decoded" if self.encoder is None else "bireduced"

    def transform(self, background: np.ndarray) -> tuple[DecodedTransform, np.ndarray, np.ndarray]:
        """U about a background, f of the background, and g of that. Collective.

        background : (n_local,) x_b − x̄

        Returns
        -------
        DecodedTransform, (m,) and (n_local,) in the state's units
        """
        code, modes = self.decoder.encode(background), self.modes
        if modes.centred:
            if self.inflation is not None:
                deviations = self.decoder.code_deviation(code)
                modes = unit_modes(len(code), deviations=deviations, centred=True, inflation=self.inflation)
            made = decoded_transform(self.decoder, modes, background, code)
            assert made.offset is not None  # only the paper's form has none
            return made, code, made.offset
        return decoded_transform(self.decoder, self.modes), code, self.decoder.apply(code)


@dataclass(frozen=True)
class LatentAnalysis:
    """An analysis by a network, or why there is none.

    name : of the network's transform
    analysis : Analysis; None where it was not made, or cannot be trusted
    transform : DecodedTransform it was made with; None where the network failed on the background itself
    trust : Trust, the checks that were made
    reason : why there is no analysis; "" if there is
    """

    name: str
    analysis: Analysis | None
    transform: DecodedTransform | None
    trust: Trust
    reason: str

    def summary(self) -> dict[str, Any]:
        """For the ledger."""
        used = {"transform": self.name} if self.analysis is not None else {"transform": "tsvd", "reason": self.reason}
        return {**used, "checks": self.trust.summary()}


def read_latent(case: Case, transfer: Transfer, comm: MPI.Comm) -> Latent:
    """The network that a case names, made ready for its analyses. Collective.

    Parameters
    ----------
    case : Case with a `network` section
    transfer : Transfer
    comm : MPI communicator

    Returns
    -------
    Latent

    Raises
    ------
    ConfigurationError
        on every rank, if there is no such file, or the network was made for another grid, mask or variables, or its
        codes give no modes; so, too, for the observation encoder of `bireduced`
    """
    section, grid, of = case.network, transfer.grid, case.background.latent
    # a case file with a network's transform and without its section, or without a grid, is refused
    assert section is not None and section.file is not None and isinstance(grid, Grid)
    path = section.file
    expected = {
        "name": section.name,
        "channels": len(transfer.variables),
        "variables": [v.name for v in transfer.variables],
        "grid": grid.description,
        "mask": grid.fluid,
    }
    network, problem = None, None
    faster: Callable[[Autoencoder], PlainPasses] = fast_passes
    if decodes(comm):
        try:
            network, about = load(path, expected, AUTOENCODER)
            if case.background.transform != "decoded":
                faster = stored_passes(about)
        except (OSError, ValueError) as error:  # ModelFileError too
            problem = f"network.file: {error}"
    refuse_together(problem, comm, ConfigurationError)
    rows, width = grid.rows(comm), len(transfer.variables)
    mine = slice(rows.start * width, rows.stop * width)
    try:
        arrays = on_rank_0(lambda: _arrays(path, grid.n_points * width, network), comm)
        decoder = parallel_decoder(network, arrays["scale"][mine], comm, faster=faster)
        centred, inflation = of.form == "centred", case.background.inflation
        if of.errors == "states":
            modes = latent_modes(
                arrays["codes"], comm, of.truncation, centred=centred, unbiased=case.background.unbiased,
                inflation=inflation,
            )  # fmt: skip
        else:
            _check_variational(network, comm)
            modes = unit_modes(decoder.n_latent, centred=centred, inflation=inflation)
        limits = trust_limits(arrays["codes"], arrays["round_trips"], **of.trust.model_dump())
    except ModelFileError as error:
        raise ConfigurationError(f"network.file: {error}") from error
    except ValueError as error:
        raise ConfigurationError(f"network.file: {path}: {error}") from error
    encoder = None
    if case.background.transform == "bireduced":
        encoder = read_encoder(case, transfer, decoder, expected, comm)
    by_encoder = case.background.inflation if of.errors == "encoder" else None
    return Latent(decoder, modes, arrays["mean"][mine], limits, encoder, by_encoder)


def _check_variational(network, comm):
    lacks = network is not None and network.variance is None
    problem = "its codes have no variances; train it with network.training.objective: vae, or give "
    refuse_together(problem + "background.latent.errors: states" if lacks else None, comm, ValueError)


def _arrays(path, n_state, network):
    """What a trained network's file holds of its training, for a state of n_state values. For rank 0, which decodes."""
    shapes = {"mean": (n_state,), "scale": (n_state,), "codes": (network.n_latent, None), "round_trips": (None,)}
    return load_arrays(path, tuple(shapes), shapes)


def analyse_latent(
    latent: Latent,
    state: np.ndarray,
    operator: Operator,
    error: ObservationError,
    innovation: np.ndarray,
    comm: MPI.Comm,
    *,
    first: np.ndarray,
    positions: RowPositions,
    cached: CachedResult,
    **minimiser: Any,
) -> LatentAnalysis:
    """The analysis of one state by a network, if it can be trusted. Collective.

    Parameters
    ----------
    latent : Latent
    state : (n_local,) the background on the grid, in the state's units
    operator, error, innovation, comm : as in `da.analysis.analyse`
    first : (n_local,) increment of TSVD's analysis
    positions : RowPositions of H's rows
    cached : CachedResult, for what the observation encoder needs of H and R
    minimiser : keyword arguments of `da.decoded.analyse_decoded`

    Returns
    -------
    LatentAnalysis
    """
    background = state - latent.mean
    try:
        transform, code, back = latent.transform(background)
    except DecoderError as failed:
        return LatentAnalysis(latent.name, None, None, Trust(()), str(failed))
    trip = round_trip_error(background, back, latent.decoder.scale, comm)
    trust = check_background(latent.limits, trip, code)
    if not trust.trusted:
        return LatentAnalysis(latent.name, None, transform, trust, trust.reason)
    try:
        if latent.encoder is None:
            analysis = analyse_decoded(transform, operator, error, innovation, comm, first_increment=first, **minimiser)
        else:
            analysis = latent.encoder.analyse(transform, operator, error, innovation, positions, cached)
    except (MinimisationError, DecoderError) as failed:
        return LatentAnalysis(latent.name, None, transform, trust, str(failed))
    before = observation_cost(operator, error, innovation, comm)
    after = observation_cost(operator, error, innovation - operator.observe(analysis.increment), comm)
    trust += check_cost(latent.limits, before, after)
    return LatentAnalysis(latent.name, analysis if trust.trusted else None, transform, trust, trust.reason)
