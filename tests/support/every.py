"""Every transform, observation operator and observation error of da, made over any number of ranks.

A new implementation gets a line in TRANSFORMS, OPERATORS or ERRORS, and the suites `tests/da/test_every_*.py` hold it
to the promises of its protocol.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from mpi4py import MPI
from networks import BackwardOnly, Bent, Convolutional, make_latent_problem, tsvd_basis
from petsc4py import PETSc
from small_problem import N, make_problem, places, rows_of
from wind_problem import make_wind

from da.background.anamorphosis import Logarithm, NormalScore, Pointwise, SquareRoot
from da.background.biased_transform import BiasedTransform
from da.background.latent import decoded_transform, latent_modes
from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper
from da.background.modes import Modes
from da.background.modulation import modulated_transform
from da.background.transform import Transform
from da.observation.anamorphosed import AnamorphosedOperator
from da.observation.bias import BiasedOperator
from da.observation.correlated_error import correlated_error, given_error
from da.observation.correlation import correlation_matrix
from da.observation.diagonal_error import diagonal_error
from da.observation.error import ObservationError
from da.observation.matrix_operator import MatrixOperator
from da.observation.operator import ObservationOperator
from da.observation.speed import SpeedOperator

STD = np.array([0.5, 2.0, 30.0])  # prior standard deviations of three stations' biases
M = 12  # rows of the errors


@dataclass(frozen=True)
class TransformCase:
    """A transform, a linear operator for its increments, and how those lie over the ranks.

    rows : slice of the state's values on this rank
    n_biases : values that an increment has after the state's on rank 0
    smooth : whether it has a second derivative everywhere
    """

    transform: Transform
    operator: ObservationOperator
    rows: slice
    n_biases: int = 0
    smooth: bool = True


@dataclass(frozen=True)
class OperatorCase:
    """An operator, and how the increments that it observes lie over the ranks; fields as in `TransformCase`."""

    operator: ObservationOperator
    rows: slice
    n_biases: int = 0


@dataclass(frozen=True)
class ErrorCase:
    """An observation error of M rows and the same as a dense matrix.

    rows : slice of the rows on this rank
    matrix : (M, M)
    """

    error: ObservationError
    rows: slice
    matrix: np.ndarray


def _linear(comm, kind="tsvd", scaled=True, dtype=np.float64):
    problem = make_problem(comm, kind, 6 if kind == "tsvd" else None, [5, 1, 2])
    modes = problem.transform.modes
    modes = Modes(modes.vectors.astype(dtype), None, modes.mean, modes.n_samples, modes.name)
    transform = LinearTransform(modes, problem.transform.scale if scaled else None, comm)
    return TransformCase(transform, problem.operator, problem.rows)


def _modulated(comm):
    of = _linear(comm)
    position, variable = (values[of.rows] for values in places(np.arange(N)))
    between = np.array([[1.0, 0.3], [0.3, 1.0]])
    taper = Taper(position, variable, np.array([6.0, 8.0]), np.full(2, np.inf), between, untapered=1)
    return replace(of, transform=modulated_transform(of.transform, taper))


def _decoded(comm, network, centred, smooth=True):
    of = make_latent_problem(comm, network(), shares=[5, 1, 2])
    modes = latent_modes(of.decoder.encode(of.anomalies), comm, 6, centred=centred)
    transform = decoded_transform(of.decoder, modes, 0.7 * of.anomalies[:, 3] if centred else None)
    return TransformCase(transform, of.problem.operator, of.problem.rows, smooth=smooth)


def _with_biases(comm, make):
    of = make(comm)
    transform = BiasedTransform(of.transform, STD, comm)
    return TransformCase(transform, _of_stations(of.operator, comm), of.rows, n_biases=len(STD))


def _of_stations(operator, comm):
    """The operator with the biases of three stations; every fourth observation has none."""
    station = np.arange(operator.n_observations) % 4 - 1
    return BiasedOperator(operator, station[operator.rows], len(STD), comm)


def _bent():
    return Bent(tsvd_basis())


TRANSFORMS: dict[str, Callable[[MPI.Comm], TransformCase]] = {
    "reduced": partial(_linear, kind="reduced"),
    "tsvd": _linear,
    "tsvd without a scale": partial(_linear, scaled=False),
    "tsvd in float32": partial(_linear, dtype=np.float32),
    "tsvd, modulated": _modulated,
    "decoded": partial(_decoded, network=_bent, centred=False),
    "decoded, centred": partial(_decoded, network=_bent, centred=True),
    "decoded, no forward mode": partial(_decoded, network=lambda: BackwardOnly(tsvd_basis()), centred=True),
    "decoded, convolutions": partial(_decoded, network=lambda: Convolutional().double(), centred=False, smooth=False),
    "tsvd with biases": partial(_with_biases, make=_linear),
    "decoded with biases": partial(_with_biases, make=partial(_decoded, network=_bent, centred=True)),
}


def _selection(comm):
    problem = make_problem(comm, "tsvd", 6, [5, 1, 2])
    return OperatorCase(problem.operator, problem.rows)


def _interpolation(comm):
    """Four weights in each row but the last, which has none; a rank without rows where there are three."""
    rng = np.random.default_rng(13)
    whole = np.zeros((9, N))
    for row in whole[:-1]:
        row[rng.choice(N, 4, replace=False)] = rng.random(4)
    columns = rows_of(comm, [5, 1, 2])
    mine = whole[_share(9, comm)]
    row, column = np.nonzero(mine)
    start = np.concatenate([[0], np.cumsum(np.count_nonzero(mine, axis=1))]).astype(PETSc.IntType)
    matrix = PETSc.Mat().createAIJ(
        ((len(mine), None), (columns.stop - columns.start, None)),
        csr=(start, column.astype(PETSc.IntType), mine[row, column]),
        comm=comm,
    )
    matrix.assemble()
    return OperatorCase(MatrixOperator(matrix), columns)


def _speed(comm):
    wind = make_wind(comm)
    return OperatorCase(wind.operator, wind.rows)


def _speed_linearised(comm):
    of = _speed(comm)
    return OperatorCase(of.operator.linearised(np.random.default_rng(14).normal(size=N)[of.rows]), of.rows)


def _anamorphosed(comm, speed=False):
    """Roots, logarithms, ranks and values as they are at nodes; observations are speeds of them or weighted sums."""
    of = _speed(comm) if speed else _interpolation(comm)
    nodes = of.operator.components if speed else of.operator
    first, end = nodes.matrix.getOwnershipRange()
    rng = np.random.default_rng(17)
    kinds = [SquareRoot(0.0, 1e-3), Logarithm(0.0, 0.1), NormalScore(0.0, (0.0, 0.5, 4.0), (-1.0, 0.2, 2.0))]
    whole = 1.0 + rng.random((2, nodes.matrix.getSize()[0]))
    variable, mine = np.arange(first, end) % 4 - 1, whole[0, first:end]
    if speed:  # the order of the rows depends on the ranks
        variable = (of.operator.reading + of.operator.rows.start) % 4 - 1
        mine = 1.0 + 0.2 * np.abs(of.operator.background)
    function = Pointwise(kinds, variable)
    if speed:
        wind, matrix = of.operator, _diagonal_matrix(np.ones(end - first), comm)
        outer = SpeedOperator(MatrixOperator(matrix), function.values(mine), wind.reading, wind.is_speed)
    else:
        outer = MatrixOperator(_diagonal_matrix(whole[1, first:end], comm))
    return OperatorCase(AnamorphosedOperator(nodes, mine, function, outer), of.rows)


def _diagonal_matrix(values, comm):
    first = comm.scan(len(values)) - len(values)
    matrix = PETSc.Mat().createAIJ(
        ((len(values), None), (len(values), None)),
        csr=(
            np.arange(len(values) + 1, dtype=PETSc.IntType),
            np.arange(first, first + len(values), dtype=PETSc.IntType),
            values,
        ),
        comm=comm,
    )
    matrix.assemble()
    return matrix


def _observed_with_biases(comm, make):
    of = make(comm)
    return OperatorCase(_of_stations(of.operator, comm), of.rows, n_biases=len(STD))


OPERATORS: dict[str, Callable[[MPI.Comm], OperatorCase]] = {
    "selection": _selection,
    "interpolation": _interpolation,
    "speed": _speed,
    "speed, linearised": _speed_linearised,
    "selection with biases": partial(_observed_with_biases, make=_selection),
    "speed with biases": partial(_observed_with_biases, make=_speed),
    "anamorphoses": _anamorphosed,
    "speed of anamorphoses": partial(_anamorphosed, speed=True),
    "anamorphoses with biases": partial(_observed_with_biases, make=_anamorphosed),
}


def _share(m, comm):
    """This rank's run of m rows: unlike shares, and none for the second of three."""
    shares = {1: [1], 2: [1, 3], 3: [2, 0, 1]}[comm.size]
    cut = np.round(np.concatenate([[0], np.cumsum(shares) / np.sum(shares)]) * m).astype(int)
    return slice(int(cut[comm.rank]), int(cut[comm.rank + 1]))


def _std():
    return 0.5 + np.random.default_rng(15).random(M)


def _diagonal(comm):
    rows = _share(M, comm)
    return ErrorCase(diagonal_error(_std(), rows), rows, np.diag(_std() ** 2))


def _correlated(comm, group):
    rows, position = _share(M, comm), 10.0 * np.random.default_rng(16).random((M, 3))
    error = correlated_error(_std(), position, group, 4.0, rows, comm, kind="soar", nugget=0.05)
    matrix = correlation_matrix(position, 4.0, "soar", 0.05) * np.outer(_std(), _std()) * (group[:, None] == group)
    return ErrorCase(error, rows, matrix)


def _given(comm):
    matrix = _correlated(MPI.COMM_SELF, np.arange(M) % 3).matrix
    rows = _share(M, comm)
    return ErrorCase(given_error(matrix, rows, comm), rows, matrix)


ERRORS: dict[str, Callable[[MPI.Comm], ErrorCase]] = {
    "diagonal": _diagonal,
    "correlated, blocks across ranks": partial(_correlated, group=np.arange(M) % 2),
    "correlated, runs of rows": partial(_correlated, group=np.arange(M) // 3),
    "correlated, some rows alone": partial(_correlated, group=np.maximum(np.arange(M), 5)),
    "correlated, one block": partial(_correlated, group=np.zeros(M)),
    "given matrix": _given,
}


def increment_of(case, comm, seed):
    """This rank's part of an increment drawn for the whole state, and on rank 0 its biases."""
    rng = np.random.default_rng(seed)
    state, biases = rng.normal(size=N)[case.rows], rng.normal(size=case.n_biases)
    return np.append(state, biases) if comm.rank == 0 else state


def observed_of(operator, seed):
    """This rank's part of values drawn for all observations."""
    return np.random.default_rng(seed).normal(size=operator.n_observations)[operator.rows]


def gathered(case, increment, comm):
    """A whole increment on every rank: the state, then the biases."""
    n = case.rows.stop - case.rows.start
    return np.concatenate([*comm.allgather(increment[:n]), *comm.allgather(increment[n:])])
