"""H and R of readings, as they are or averaged."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.sparse import csr_matrix

from coupling.common.collective import on_rank_0
from da.background.linear_transform import LinearTransform
from da.observation.anamorphosed import AnamorphosedOperator
from da.observation.bias import BiasedOperator
from da.observation.correlated_error import correlated_error, given_error
from da.observation.diagonal_error import diagonal_error
from da.observation.error import ObservationError
from da.observation.matrix_operator import MatrixOperator
from da.observation.observations import Observations
from da.observation.operator import ObservationOperator
from da.observation.speed import SpeedOperator
from da.observation.thinning import Superobs
from plugin.case.configuration import ConfigurationError
from plugin.case.observations import ErrorSection
from plugin.readings.error_matrix import given_matrix
from plugin.state.at_readings import ModelAtReadings
from plugin.state.transfer import Transfer
from plugin.window.analysis_cache import CachedResult
from plugin.window.observations.errors import factors

Operator = ObservationOperator | SpeedOperator | AnamorphosedOperator | BiasedOperator


@dataclass(frozen=True)
class ReadingOperator:
    """H of readings.

    operator : H of an increment, with a row for each reading in the air, or for each average of some
    reading : (M_local,) number of the reading that each local row stands for, of an average its first
    mean : (M_local × number of readings) sparse; `mean @ values` are the local rows' of values by reading
    inside : (number of readings,) bool, false where a sensor lies outside the model's air
    """

    operator: ObservationOperator | SpeedOperator | AnamorphosedOperator
    reading: np.ndarray
    mean: csr_matrix
    inside: np.ndarray

    def observe_analysis(self, increment: np.ndarray) -> np.ndarray:
        """(M_local,) what H gets of an increment as the analysis has it, within bounds. Collective."""
        if isinstance(self.operator, AnamorphosedOperator):
            return self.operator.observe_within_bounds(increment)
        return self.operator.observe(increment)


def make_operator(
    transfer: Transfer, at_readings: ModelAtReadings, readings: Observations, superobs: Superobs | None = None
) -> tuple[ReadingOperator, np.ndarray]:
    """H of readings. Collective.

    Parameters
    ----------
    transfer : Transfer
    at_readings : ModelAtReadings of the readings, `Transfer.at_readings` of a state
    readings : Observations
    superobs : Superobs of the readings, all of them in the air; one of a speed is averaged with no other. None
        leaves the readings as they are

    Returns
    -------
    ReadingOperator, its operator not linear where a speed is read, or a variable has an anamorphosis
    (number of readings,) background at the analysis time on every rank, in the readings' units; zero outside
    """
    speeds = ~np.isin(readings.variable, [v.name for v in transfer.variables])
    matrix, of, background = at_readings.operator, at_readings.reading, at_readings.background
    if superobs is not None:
        matrix, of, background = _averaged(at_readings, superobs, speeds, transfer.comm)
    components = MatrixOperator(matrix)
    operator: MatrixOperator | SpeedOperator | AnamorphosedOperator
    if speeds.any():
        number, row = np.unique(of, return_inverse=True)
        operator = SpeedOperator(components, background, row, speeds[number])
        background = operator.background_value()
    else:
        number, operator = of, components
    if at_readings.nodes is not None:
        operator = at_readings.nodes.operator(operator)
    if superobs is None:
        mean = csr_matrix((np.ones(len(number)), number, np.arange(len(number) + 1)), (len(number), len(readings)))
    else:
        mean = superobs.average[superobs.number[number]]
    everyones = np.zeros(len(readings))
    for rank_number, rank_value in transfer.comm.allgather((number, background)):
        everyones[rank_number] = rank_value
    return ReadingOperator(operator, number, mean, at_readings.inside), everyones


def _averaged(at_readings, superobs, speeds, comm):
    """(matrix, reading, background) of one row for each superob, where its first reading has its row."""
    order = np.concatenate(comm.allgather(at_readings.reading))
    row_of = np.zeros(len(superobs.number), np.int64)
    row_of[order] = np.arange(len(order))
    leads = np.zeros(len(superobs.number), bool)
    leads[np.unique(superobs.number, return_index=True)[1]] = True
    kept = np.flatnonzero(leads[at_readings.reading])
    reading, first = at_readings.reading[kept], at_readings.operator.getOwnershipRange()[0]
    start, column, weight = [0], list[np.ndarray](), list[np.ndarray]()
    average = superobs.average
    for local, number in zip(kept, reading, strict=True):
        if speeds[number]:  # each component has a row of its own
            column.append(np.array([first + local]))
            weight.append(np.ones(1))
        else:
            row = superobs.number[number]
            entries = slice(average.indptr[row], average.indptr[row + 1])
            column.append(row_of[average.indices[entries]])
            weight.append(average.data[entries])
        start.append(start[-1] + len(column[-1]))
    averaging = PETSc.Mat().createAIJ(
        size=((len(kept), None), (len(at_readings.reading), None)),
        csr=(
            np.array(start, PETSc.IntType),
            np.concatenate([np.empty(0), *column]).astype(PETSc.IntType),
            np.concatenate([np.empty(0), *weight]),
        ),
        comm=comm,
    )
    averaging.assemble()
    background = MatrixOperator(averaging).observe(at_readings.background)
    return averaging.matMult(at_readings.operator), reading, background


def background_std(
    transform: LinearTransform, reading_operator: ReadingOperator, n_readings: int, comm: MPI.Comm, cached: CachedResult
) -> np.ndarray:
    """Standard deviation of the background at readings, √diag(H B Hᵀ), in their units. Collective.

    H is taken at the background where it is not linear.

    Parameters
    ----------
    transform : LinearTransform, U of the background errors
    reading_operator : ReadingOperator of single readings
    n_readings : number of readings
    comm : MPI communicator
    cached : the last result, used again while H stays as it was

    Returns
    -------
    (n_readings,) on every rank, zero outside the model's air
    """
    operator = reading_operator.operator
    linear = operator if operator.linear else operator.linearised(np.zeros(len(transform.modes.vectors)))

    def compute() -> np.ndarray:
        return np.linalg.norm(transform.operator_product(linear), axis=1)

    std = cached.result_for(linear.content, compute, comm)
    return by_reading(reading_operator, std, n_readings, comm, 0.0)


def by_reading(
    reading_operator: ReadingOperator, values: np.ndarray, n_readings: int, comm: MPI.Comm, missing: float = np.nan
) -> np.ndarray:
    """(n_readings,) on every rank of (M_local,) values by row; `missing` where no row is. Collective."""
    result = np.full(n_readings, missing)
    for reading, value in comm.allgather((reading_operator.reading, values)):
        result[reading] = value
    return result


def error_covariance(
    readings: Observations,
    numbers: np.ndarray,
    settings: ErrorSection,
    reading_operator: ReadingOperator,
    n_of_window: int,
    comm: MPI.Comm,
) -> ObservationError:
    """R of an operator's rows. Collective.

    Parameters
    ----------
    readings : Observations, their errors as they count
    numbers : (number of readings,) each one's number among all of its window
    settings : ErrorSection
    reading_operator : ReadingOperator
    n_of_window : readings of the window, used or not
    comm : MPI communicator

    Returns
    -------
    ObservationError

    Raises
    ------
    ConfigurationError
        if R is not positive definite (the message gives the smallest eigenvalue), or a given one does not fit
    """
    order, rows = np.concatenate(comm.allgather(reading_operator.reading)), reading_operator.operator.rows
    try:
        if settings.correlation is not None:
            of, place = settings.correlation, readings.position[order]
            std, group = readings.error[order], readings.variable[order]
            return correlated_error(std, place, group, of.length, rows, comm, kind=of.kind, nugget=of.nugget)
        if settings.matrix is not None:
            matrix = _matrix(settings.matrix, n_of_window, comm)
            chosen, factor = numbers[order], factors(readings.variable[order], settings)
            return given_error(factor[:, None] * matrix[np.ix_(chosen, chosen)] * factor, rows, comm)
        return diagonal_error(readings.error[order], rows)
    except ValueError as error:
        raise ConfigurationError(f"observations.error_model: {error}") from None


def _matrix(path, n, comm):
    matrix = on_rank_0(lambda: given_matrix(path), comm)
    if len(matrix) != n:
        raise ConfigurationError(
            f"observations.error_model.matrix: {path}: a matrix of shape {matrix.shape}, expected ({n}, {n}) for the "
            "window's readings"
        )
    return matrix
