"""Analyses by an observation encoder f°: readings to a code on the first rank, and R_l of the sensors in use.

R_l depends on where the sensors are and how accurate they are. So it is not stored with the network, but estimated from
some states that are: they are observed with the H and R of an analysis, and encoded. While H and R stay, R_l does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from coupling.common.collective import refuse_together
from coupling.common.files import file_hash
from coupling.geometry.grid import Grid
from da.analysis import Analysis
from da.background.latent import DecodedTransform
from da.bireduced import ReportedInnovation, latent_error, latent_minimum, observation_encoded
from da.observation.encoded import code_variance, latent_innovation, noisy_readings, scale_at, standardised
from da.observation.error import ObservationError
from da.observation.observations import Observations
from models.decoder import DecoderError, ParallelDecoder
from models.files import OBSERVATION_ENCODER, load, load_arrays
from models.gridding import InverseDistanceGridding, SensorWeights
from models.local_network import in_full_precision
from models.zoo.observation_encoder import ObservationEncoder
from plugin.case.configuration import Case, ConfigurationError
from plugin.state.transfer import Transfer, Variable
from plugin.window.analysis_cache import CachedResult
from plugin.window.observations.operator import Operator, ReadingOperator

_BATCH = 8  # states that are encoded at a time


@dataclass(frozen=True)
class RowPositions:
    """Where the rows of H on this rank are.

    position : (M_local, 3) [m]; of an average of readings the same average of theirs
    channel : (M_local,) number of the variable
    number : (M_local,) of the reading, of an average its first
    """

    position: np.ndarray
    channel: np.ndarray
    number: np.ndarray


def row_positions(
    reading_operator: ReadingOperator, readings: Observations, variables: Sequence[Variable]
) -> RowPositions:
    """RowPositions of a ReadingOperator and the Observations it was made for; a speed's channel is −1."""
    number = {variable.name: k for k, variable in enumerate(variables)}
    channel = [number.get(name, -1) for name in readings.variable[reading_operator.reading]]
    position = reading_operator.mean @ readings.position
    return RowPositions(position, np.array(channel, np.int64), reading_operator.reading)


@dataclass(frozen=True)
class ObservationEncoding:
    """f° of a case.

    network : ObservationEncoder in evaluation mode on the first rank, None on the others
    sensors : InverseDistanceGridding
    origin : (3,) first point of the grid [m]
    states : (n_local, k) float32 in standard deviations, kept of the validation
    codes : (m, k) f of them
    variance : of R_l where the case gives one; None for f°'s own error
    comm : MPI communicator
    """

    network: ObservationEncoder | None
    sensors: InverseDistanceGridding
    origin: np.ndarray
    states: np.ndarray
    codes: np.ndarray
    variance: float | None
    comm: MPI.Comm

    def analyse(
        self,
        transform: DecodedTransform,
        operator: Operator,
        error: ObservationError,
        innovation: np.ndarray,
        positions: RowPositions,
        cached: CachedResult,
    ) -> Analysis:
        """The analysis of the latent innovation that f° gives. Collective.

        Parameters
        ----------
        transform : DecodedTransform about the background
        operator, error, innovation : as in `da.analysis.analyse`; H linear
        positions : RowPositions
        cached : CachedResult of `_prepare`, which lasts while H, R and the positions do

        Returns
        -------
        Analysis

        Raises
        ------
        DecoderError
            on every rank, if the network fails
        """
        scale = transform.decoder.scale
        content = (*operator.content, *error.content, positions.position, positions.channel)
        used, layout, minimum = cached.result_for(
            content, lambda: self._prepare(transform, operator, error, positions), self.comm
        )
        if minimum.modes is not transform.modes:  # deviations of this background's own code
            minimum = latent_minimum(transform.modes, minimum.error, self.comm)
        readings = standardised(operator, scale, innovation, transform.background)
        codes = self._encoded(layout, self._on_first(readings[used], positions.number[used]))
        reported = ReportedInnovation(innovation, operator.observe)
        return observation_encoded(transform, latent_innovation(codes), self.comm, minimum=minimum, reported=reported)

    def _prepare(self, transform, operator, error, positions):
        """((M_local,) bool of rows that carry information, SensorWeights on the first rank, LatentMinimum)."""
        scale, modes = transform.decoder.scale, transform.modes
        variance: float | np.ndarray | None = self.variance
        used = np.isfinite(scale_at(operator, scale))
        number = positions.number[used]
        position, channel = (
            self._on_first(positions.position[used], number),
            self._on_first(positions.channel[used], number),
        )
        layout = None if position is None else self.sensors.weights(position - self.origin, channel)
        if variance is None:
            readings = noisy_readings(operator, error, scale, self.states, positions.number)
            variance = code_variance(self._encoded(layout, self._on_first(readings[used], number)), self.codes)
        minimum = latent_minimum(modes, latent_error(variance, modes.n_latent), self.comm)
        return used, layout, minimum

    def _on_first(self, rows, number):
        """Rows of all ranks on the first one, in the order of the readings; None on the others."""
        everyones = self.comm.gather((rows, number))
        if everyones is None:
            return None
        rows, number = (np.concatenate(parts) for parts in zip(*everyones, strict=True))
        return rows[np.argsort(number)]

    def _encoded(self, layout: SensorWeights | None, readings):
        """f° of (M, k) readings on the first rank → (m, k) on every rank."""
        codes, problem = None, None
        if layout is not None:
            try:
                batches = (readings[:, k : k + _BATCH] for k in range(0, readings.shape[1], _BATCH))
                codes = np.concatenate([self._codes(layout.to_grid(batch.T)) for batch in batches]).T
                if not np.isfinite(codes).all():
                    raise ValueError("its codes hold a NaN or an infinity")
            except Exception as error:  # whatever a network may raise: the other ranks wait
                problem = f"the observation encoder failed: {type(error).__name__}: {error}"
        refuse_together(problem, self.comm, DecoderError)
        return self.comm.bcast(codes)

    def _codes(self, spread):
        assert self.network is not None  # only the first rank encodes, and it has the network
        mask = self.network.mask
        with torch.inference_mode():
            return self.network.encode(torch.from_numpy(spread).to(mask)).double().cpu().numpy()


def read_encoder(
    case: Case, transfer: Transfer, decoder: ParallelDecoder, expected: Mapping[str, Any], comm: MPI.Comm
) -> ObservationEncoding:
    """The observation encoder that a case names. Collective.

    Parameters
    ----------
    case : Case with `network.observations`
    transfer : Transfer
    decoder : Decoder of the case's autoencoder
    expected : items that networks of this case agree in

    Returns
    -------
    ObservationEncoding

    Raises
    ------
    ConfigurationError
        on every rank, if there is no such file, or it was trained for another autoencoder, grid, mask or variables
    """
    section, grid = case.network, transfer.grid
    # a case file with `bireduced` and without these is refused
    assert section is not None and section.observations is not None and isinstance(grid, Grid)
    path, network, arrays, problem = section.observations.file, None, None, None
    if comm.rank == 0:
        try:
            agreed = {**expected, "autoencoder": file_hash(section.file)}
            network = in_full_precision(load(path, agreed, OBSERVATION_ENCODER)[0])
            shapes = {"fields": (None, network.channels, *network.shape), "codes": (network.n_latent, None)}
            arrays = load_arrays(path, tuple(shapes), shapes)
        except (OSError, ValueError) as error:  # ModelFileError too
            problem = f"network.observations.file: {error}"
    refuse_together(problem, comm, ConfigurationError)
    arrays = comm.bcast(arrays)
    width = len(transfer.variables)
    rows, fields = grid.rows(comm), arrays["fields"]
    states = fields.reshape(len(fields), width, -1)[:, :, rows.start : rows.stop].transpose(2, 1, 0)
    scale = np.concatenate(comm.allgather(decoder.scale)).reshape(*grid.shape, width).transpose(3, 0, 1, 2)
    return ObservationEncoding(
        None if network is None else network.to(decoder.device),
        InverseDistanceGridding(grid.spacing, scale != 0.0),
        np.asarray(grid.origin),
        states.reshape(-1, len(fields)).astype(np.float32),
        arrays["codes"],
        case.background.latent.variance,
        comm,
    )
