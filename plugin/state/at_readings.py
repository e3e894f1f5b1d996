"""The model at sensors: the background there, and the rows of H, also through the nodes about a sensor."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from coupling.geometry.interpolation import sparse_rows
from da.background.anamorphosis import Anamorphosis, Pointwise
from da.observation.anamorphosed import AnamorphosedOperator
from da.observation.matrix_operator import MatrixOperator
from da.observation.speed import SpeedOperator

NONE = np.empty(0, np.int64)
Csr = tuple[np.ndarray, np.ndarray, np.ndarray]  # starts, columns and weights of this rank's rows


@dataclass(frozen=True)
class Nodes:
    """Values that readings are sums of, where a variable has an anamorphosis; each is on the rank of its readings.

    matrix : PETSc AIJ (nodes × n), an increment to the change of the analysed values there
    background : (local nodes,) of the analysed values
    function : Pointwise, ψ
    """

    matrix: PETSc.Mat
    background: np.ndarray
    function: Pointwise

    def operator(self, outer: MatrixOperator | SpeedOperator) -> AnamorphosedOperator:
        """H of an increment, from that of the model's values at the nodes. Collective."""
        return AnamorphosedOperator(MatrixOperator(self.matrix), self.background, self.function, outer)

    def select(self, numbers: np.ndarray) -> "Nodes":
        """Some of this rank's nodes, by local number. Collective."""
        start, column, weight = self.matrix.getValuesCSR()
        of = _entries(start, numbers)
        row = np.repeat(np.arange(len(numbers)), np.diff(start)[numbers])
        n_columns, comm = self.matrix.getLocalSize()[1], self.matrix.getComm()
        matrix = sparse_rows(len(numbers), n_columns, row, column[of], weight[of], comm)
        function = Pointwise(self.function.kinds, self.function.variable[numbers])
        return Nodes(matrix, self.background[numbers], function)


@dataclass(frozen=True)
class ModelAtReadings:
    """The background at the sensors, and H of an increment.

    A reading of a speed has a row for each component, all on one rank; any other has one.

    reading : (K_local,) number of the reading each local row stands for
    background : (K_local,) model values there, in the readings' units
    operator : PETSc AIJ (K × n), H Q; rows of components that are not analysed are empty. With `nodes` its columns
        are these
    inside : (number of readings,) bool, false where a sensor lies outside the model's air
    nodes : Nodes; None where no variable has an anamorphosis
    """

    reading: np.ndarray
    background: np.ndarray
    operator: PETSc.Mat
    inside: np.ndarray
    nodes: Nodes | None = None

    def select(self, numbers: np.ndarray) -> "ModelAtReadings":
        """Some of the readings, all of them inside. Collective.

        numbers : of the readings, rising; they are numbered anew in this order
        """
        chosen = np.isin(self.reading, numbers)
        start, column, weight = self.operator.getValuesCSR()
        row = np.repeat(np.cumsum(chosen) - 1, np.diff(start))
        of = np.repeat(chosen, np.diff(start))
        row, column, weight = row[of], column[of], weight[of]
        n_columns, comm, nodes = self.operator.getLocalSize()[1], self.operator.getComm(), self.nodes
        if nodes is not None:
            used, local = np.unique(column - self.operator.getOwnershipRangeColumn()[0], return_inverse=True)
            nodes, n_columns = nodes.select(used), len(used)
            column = local + _first(n_columns, comm.tompi4py())
        operator = sparse_rows(int(chosen.sum()), n_columns, row, column, weight, comm)
        reading = np.searchsorted(numbers, self.reading[chosen])
        return ModelAtReadings(reading, self.background[chosen], operator, self.inside[numbers], nodes)

    def at_own_times(self, own: np.ndarray, value: np.ndarray) -> "ModelAtReadings":
        """Readings of other times, whose background is known at the sensors alone. Collective.

        Each gets a node of its own, the sensor itself: an increment of the analysed values is interpolated to it, and ψ
        taken there. Without an anamorphosis nothing depends on the background, and nothing changes.

        own : (number of readings,) bool, those of other times; none of a speed
        value : (number of readings,) their background in the readings' units, not below a bound
        """
        if self.nodes is None:
            return self
        nodes, comm = self.nodes, self.operator.getComm()
        start, column, weight = self.operator.getValuesCSR()
        column, theirs = column - self.operator.getOwnershipRangeColumn()[0], own[self.reading]
        rows, of_now = np.flatnonzero(theirs), ~np.repeat(theirs, np.diff(start))
        used, local = np.unique(column[of_now], return_inverse=True)
        variable, known = nodes.function.variable[column[start[rows]]], value[self.reading[rows]]
        kept, kinds = nodes.select(used), nodes.function.kinds
        analysed = [float((kinds[k].forward if k >= 0 else float)(x)) for k, x in zip(variable, known, strict=True)]
        at_sensor = self.operator.matMult(nodes.matrix).getValuesCSR()
        entries = _entries(at_sensor[0], rows)
        sensors = np.append(0, np.cumsum(np.diff(at_sensor[0])[rows])), at_sensor[1][entries], at_sensor[2][entries]
        n_nodes = len(used) + len(rows)
        nodes = Nodes(
            sparse_rows(n_nodes, nodes.matrix.getLocalSize()[1], *_joined([kept.matrix.getValuesCSR(), sensors]), comm),
            np.append(kept.background, analysed),
            Pointwise(kinds, np.append(kept.function.variable, variable)),
        )
        number = np.repeat(np.arange(len(theirs)), np.diff(start))[of_now]
        row, to = np.append(number, rows), np.append(local, len(used) + np.arange(len(rows)))
        share, order = np.append(weight[of_now], np.ones(len(rows))), np.argsort(row, kind="stable")
        to = to[order] + _first(n_nodes, comm.tompi4py())
        operator = sparse_rows(len(theirs), n_nodes, row[order], to, share[order], comm)
        return ModelAtReadings(self.reading, self.background, operator, self.inside, nodes)


@dataclass(frozen=True)
class ThroughNodes:
    """H in two steps; rows as starts, columns and weights of this rank.

    chosen : PETSc AIJ, values of the field's nodes → those that sensors use
    on_grid : rows from points of the grid to these
    at_sensors : rows from these, by local number, to the sensors
    """

    chosen: PETSc.Mat
    on_grid: Csr
    at_sensors: Csr


@dataclass(frozen=True)
class Placed:
    """Sensors on a mesh, as long as they stay where they are.

    mesh : fingerprint and location of the field
    position : (M, 3) [m]
    inside : (M,) bool
    at_sensors : PETSc AIJ, values of the field's nodes → values at the sensors inside
    """

    mesh: tuple[str, str]
    position: np.ndarray
    inside: np.ndarray
    at_sensors: PETSc.Mat
    _rows: dict = field(default_factory=dict, repr=False)

    def rows_on_grid(self, to_mesh: PETSc.Mat) -> Csr:
        """H Q for one column of the grid: starts, points and weights of its rows on this rank. Collective."""
        if "csr" not in self._rows:
            self._rows["csr"] = self.at_sensors.matMult(to_mesh).getValuesCSR()
        return self._rows["csr"]

    def through_nodes(self, to_mesh: PETSc.Mat) -> "ThroughNodes":
        """H in two steps: from the grid to the nodes about sensors, and from these to the sensors. Collective."""
        if "nodes" not in self._rows:
            start, column, weight = self.at_sensors.getValuesCSR()
            number, local = np.unique(column, return_inverse=True)
            size, comm = self.at_sensors.getLocalSize()[1], self.at_sensors.getComm()
            chosen = sparse_rows(len(number), size, np.arange(len(number)), number, np.ones(len(number)), comm)
            on_grid = chosen.matMult(to_mesh).getValuesCSR()
            self._rows["nodes"] = ThroughNodes(chosen, on_grid, (start, local, weight))
        return self._rows["nodes"]


@dataclass(frozen=True)
class Rows:
    """Rows of one variable at sensors on this rank; matrices as starts, columns and weights.

    reading : (k,) numbers; background : (k,) of the model
    on_grid : from points of the grid to the sensors, or to the nodes about them
    number : of the variable among those analysed
    at_sensors : from the nodes, by local number, to the sensors; None without an anamorphosis
    analysed : (nodes,) background of the transformed values
    """

    reading: np.ndarray
    background: np.ndarray
    on_grid: Csr
    number: int
    at_sensors: Csr | None = None
    analysed: np.ndarray | None = None

    @property
    def kind(self) -> int:
        """Number of the variable whose anamorphosis the nodes have, −1 for none."""
        return -1 if self.analysed is None else self.number


def stacked(
    parts: Sequence[Rows],
    inside: np.ndarray,
    kinds: Sequence[Anamorphosis | None],
    n_local: int,
    comm: MPI.Comm,
) -> ModelAtReadings:
    """ModelAtReadings of rows below each other. Collective.

    parts : Rows of this rank, of the same variables in the same order on every rank
    inside : (number of readings,) bool
    kinds : of each analysed variable, None where it is analysed as it is
    n_local : values of the state on this rank
    """
    n_variables = len(kinds)
    reading = np.concatenate([np.empty(0, np.int64), *[part.reading for part in parts]])
    background = np.concatenate([np.empty(0), *[part.background for part in parts]])
    row, column, weight = _joined(part.on_grid for part in parts)
    width = np.repeat([part.number for part in parts], [len(part.on_grid[1]) for part in parts])
    column = column.astype(np.int64) * n_variables + width.astype(np.int64)
    n_rows = sum(len(part.on_grid[0]) - 1 for part in parts)
    matrix = sparse_rows(n_rows, n_local, row, column, weight, comm)
    if not any(kinds):
        return ModelAtReadings(reading, background, matrix, inside)
    # a row without an anamorphosis is a node by itself
    outer, first = list[Csr](), _first(n_rows, comm)
    for part in parts:
        k = len(part.on_grid[0]) - 1
        start, local, share = part.at_sensors or (np.arange(k + 1), np.arange(k), np.ones(k))
        outer.append((start, local + first, share))
        first += k
    analysed = [part.background if part.analysed is None else part.analysed for part in parts]
    of = np.concatenate([NONE, *[np.full(len(part.on_grid[0]) - 1, part.kind) for part in parts]])
    nodes = Nodes(matrix, np.concatenate([np.empty(0), *analysed]), Pointwise(kinds, of))
    operator = sparse_rows(len(reading), n_rows, *_joined(outer), comm)
    return ModelAtReadings(reading, background, operator, inside, nodes)


def _joined(parts: Iterable[Csr]) -> Csr:
    """Rows, columns and weights of matrices below each other, each of starts, columns and weights."""
    counts, column, weight = [NONE], [NONE], [np.empty(0)]
    for start, *entries in parts:
        counts.append(np.diff(start))
        column.append(entries[0])
        weight.append(entries[1])
    each = np.concatenate(counts)
    return np.repeat(np.arange(len(each)), each), np.concatenate(column), np.concatenate(weight)


def _entries(start: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Numbers of the entries of some rows of a matrix, given where each row starts."""
    return np.concatenate([NONE, *[np.arange(start[row], start[row + 1]) for row in rows]])


def _first(n_local: int, comm: MPI.Comm) -> int:
    """Number of this rank's first of n_local values on each. Collective."""
    return sum(comm.allgather(n_local)[: comm.rank])
