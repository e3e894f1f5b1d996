"""Between a model's state and the vectors of the analysis.

The grid state is one vector: for each grid point its variables in the order of the case file, so
that the numbering is the same on any number of ranks. A variable is a scalar field, or one component
of a vector field. Observations are compared with the model where it lives, on the mesh: H takes
values at the sensors from the mesh's own cells, and of an increment it takes H Q δx, the
increment as the model will get it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

from coupling.geometry.grid import Grid
from coupling.geometry.interpolation import Interpolation, interpolation, multiply, sampling, sparse_rows
from coupling.geometry.mesh import Field, MeshError, State
from coupling.geometry.points import MeshPoints
from da.observation.speed import speed_of

_COMPONENTS = "xyz"
_SPEED = "speed"  # Velocity.speed is |Velocity|


@dataclass(frozen=True)
class Variable:
    """What is analysed: a scalar field, or one component of a vector field."""

    name: str
    field: str
    component: int | None

    def of(self, values: np.ndarray) -> np.ndarray:
        """This variable's column of the field's values."""
        return values if self.component is None else values[:, self.component]


def variables_of(names: Sequence[str], state: State) -> tuple[Variable, ...]:
    """The variables a case file names, vectors spelled out by component.

    Raises
    ------
    MeshError
        if the state has no such field or component
    """
    variables = []
    for name in names:
        field_name, dot, letter = name.rpartition(".") if name not in state.fields else (name, "", "")
        of = state[field_name if dot else name]
        if dot:
            if letter not in _COMPONENTS[: of.components] or of.components == 1:
                raise MeshError(f"variable {name!r}: {field_name} has {of.components} component(s)")
            variables.append(Variable(name, field_name, _COMPONENTS.index(letter)))
        elif of.components == 1:
            variables.append(Variable(name, name, None))
        elif of.components == 3:
            variables += [Variable(f"{name}.{c}", name, i) for i, c in enumerate(_COMPONENTS)]
        else:
            raise MeshError(f"variable {name!r}: a field of {of.components} components cannot be analysed")
    if len({v.name for v in variables}) != len(variables):
        raise MeshError(f"variables {[v.name for v in variables]}: one is named twice")
    return tuple(variables)


@dataclass(frozen=True)
class ModelAtReadings:
    """The background at the sensors, and H of an increment.

    A reading of a speed has a row for each component, all on one rank; any other has one.

    reading : (K_local,) number of the reading each local row stands for
    background : (K_local,) model values there, in the readings' units
    operator : PETSc AIJ (K × n), H Q; rows of components that are not analysed are empty
    inside : (number of readings,) bool, false where a sensor lies outside the model's air
    """

    reading: np.ndarray
    background: np.ndarray
    operator: PETSc.Mat
    inside: np.ndarray

    def select(self, numbers: np.ndarray) -> "ModelAtReadings":
        """Some of the readings, all of them inside. Collective.

        numbers : of the readings, rising; they are numbered anew in this order
        """
        chosen = np.isin(self.reading, numbers)
        start, column, weight = self.operator.getValuesCSR()
        row = np.repeat(np.cumsum(chosen) - 1, np.diff(start))
        of = np.repeat(chosen, np.diff(start))
        n_columns, comm = self.operator.getLocalSize()[1], self.operator.getComm()
        operator = sparse_rows(int(chosen.sum()), n_columns, row[of], column[of], weight[of], comm)
        reading = np.searchsorted(numbers, self.reading[chosen])
        return ModelAtReadings(reading, self.background[chosen], operator, self.inside[numbers])


@dataclass(frozen=True)
class _Placed:
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

    def rows_on_grid(self, to_mesh: PETSc.Mat) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """H Q for one column of the grid: starts, points and weights of its rows on this rank. Collective."""
        if not self._rows:
            self._rows["csr"] = self.at_sensors.matMult(to_mesh).getValuesCSR()
        return self._rows["csr"]


@dataclass(frozen=True)
class Transfer:
    """Carries states to the grid and increments back; matrices are made once for each mesh.

    grid : Grid, or MeshPoints where the analysis stays on the mesh
    variables : tuple of Variable
    comm : MPI communicator
    cache : folder that keeps interpolations between runs, or None
    """

    grid: Grid | MeshPoints
    variables: tuple[Variable, ...]
    comm: MPI.Comm
    cache: Path | None = None
    _made: dict = field(default_factory=dict, repr=False)
    _sensors: dict = field(default_factory=dict, repr=False)

    @property
    def field_names(self) -> tuple[str, ...]:
        """The model's fields that are analysed, in whole or in part."""
        return tuple(dict.fromkeys(v.field for v in self.variables))

    @property
    def n_local(self) -> int:
        """Rows of the grid state on this rank."""
        return len(self.grid.rows(self.comm)) * len(self.variables)

    def interpolation(self, of: Field) -> Interpolation:
        """P and Q of a field's mesh. Collective."""
        key = (of.mesh.fingerprint, of.location)
        if key not in self._made:
            if isinstance(self.grid, MeshPoints):
                self._made[key] = self.grid.interpolation(of)
            else:
                self._made[key] = interpolation(of.mesh, of.location, self.grid, self.comm, self.cache)
        return self._made[key]

    def to_grid(self, state: State) -> np.ndarray:
        """(n_local,) this rank's rows of the grid state. Collective."""
        columns = []
        for name in self.field_names:
            of = state[name]
            wanted = np.column_stack([v.of(of.values) for v in self.variables if v.field == name])
            columns.append(multiply(self.interpolation(of).to_grid, wanted))
        order = [v.name for name in self.field_names for v in self.variables if v.field == name]
        place = [order.index(v.name) for v in self.variables]
        return np.concatenate(columns, axis=1)[:, place].ravel()

    def to_mesh(self, state: State, increment: np.ndarray) -> dict[str, np.ndarray]:
        """The increment on the mesh. Collective.

        increment : (n_local,) on the grid

        Returns
        -------
        {field name: increment in the shape of the field's values}, zero in components not analysed
        """
        by_variable = np.asarray(increment).reshape(-1, len(self.variables))
        increments = {}
        for name in self.field_names:
            of = state[name]
            on_mesh = np.zeros_like(of.values)
            for column, v in enumerate(self.variables):
                if v.field == name:
                    v.of(on_mesh)[:] = multiply(self.interpolation(of).to_mesh, by_variable[:, column])
            increments[name] = on_mesh
        return increments

    def at_readings(self, state: State, position: np.ndarray, variable: np.ndarray) -> ModelAtReadings:
        """Compare sensors with a state. Collective.

        Parameters
        ----------
        position : (M, 3) [m], variable : (M,) names as in `variables`, or Velocity.speed for a vector field of
            which a component is analysed; the same on every rank

        Returns
        -------
        ModelAtReadings, rows only for readings inside
        """
        position, variable = np.asarray(position, float).reshape(-1, 3), np.asarray(variable)
        self.check_known(variable)
        inside = np.zeros(len(position), bool)
        parts = []
        for name, asked, of, placed in self.placed(state, position, variable):
            inside[asked] = placed.inside
            start, index, weight = placed.rows_on_grid(self.interpolation(of).to_mesh)
            mine = asked[placed.inside][slice(*placed.at_sensors.getOwnershipRange())]
            for v in self.readable[name]:
                background = multiply(placed.at_sensors, v.of(of.values))
                if v in self.variables:
                    entries = np.diff(start), index, weight, self.variables.index(v)
                else:
                    entries = np.zeros(len(mine), np.int64), index[:0], weight[:0], 0
                parts.append((mine, background, *entries))
        return self._stack(parts, inside)

    def placed(
        self, state: State, position: np.ndarray, variable: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray, Field, _Placed]]:
        """Where sensors are in a state's meshes; the search is repeated only if they or the mesh have moved.

        position, variable : as in `at_readings`

        Yields
        ------
        name a reading has, (k,) numbers of such readings, the Field it is of, and their _Placed. Collective
        """
        for name in self.readable:
            asked = np.flatnonzero(variable == name)
            if len(asked) == 0:
                continue
            of = state[self.readable[name][0].field]
            mesh, places = (of.mesh.fingerprint, of.location), position[asked]
            # one set of places for each variable, and not one for each mesh that an adaptive model makes
            kept = self._sensors.get(name)
            if kept is None or kept.mesh != mesh or not np.array_equal(kept.position, places):
                _, inside = sampling(of.mesh, of.location, places, self.comm)
                at_sensors, _ = sampling(of.mesh, of.location, places[inside], self.comm)
                kept = self._sensors[name] = _Placed(mesh, places, inside, at_sensors)
            yield name, asked, of, kept

    @property
    def readable(self) -> dict[str, tuple[Variable, ...]]:
        """{name a reading may have: the Variables it is made of}: each analysed one, and speeds of vectors."""
        names: dict[str, tuple[Variable, ...]] = {v.name: (v,) for v in self.variables}
        for v in self.variables:
            if v.component is not None:
                parts = (Variable(f"{v.field}.{c}", v.field, i) for i, c in enumerate(_COMPONENTS))
                names[f"{v.field}.{_SPEED}"] = tuple(parts)
        return names

    def check_known(self, variable: np.ndarray) -> None:
        """MeshError that names the first of (M,) readings' variables that is not `readable`."""
        unknown = sorted(set(map(str, variable)) - set(self.readable))
        if unknown:
            raise MeshError(
                f"readings of {unknown[0]!r}, which is not analysed; variables are {[v.name for v in self.variables]}"
            )

    def _stack(self, parts, inside):
        n_variables = len(self.variables)
        counts = np.concatenate([np.empty(0, np.int64), *[p[2] for p in parts]])
        index = np.concatenate([np.empty(0, np.int64), *[p[3].astype(np.int64) * n_variables + p[5] for p in parts]])
        weight = np.concatenate([np.empty(0), *[p[4] for p in parts]])
        operator = PETSc.Mat().createAIJ(
            size=((len(counts), None), (self.n_local, None)),
            csr=(np.concatenate([[0], np.cumsum(counts)]).astype(PETSc.IntType), index.astype(PETSc.IntType), weight),
            comm=self.comm,
        )
        operator.assemble()
        return ModelAtReadings(
            np.concatenate([np.empty(0, np.int64), *[p[0] for p in parts]]),
            np.concatenate([np.empty(0), *[p[1] for p in parts]]),
            operator,
            inside,
        )


def values_at(
    state: State, transfer: Transfer, position: np.ndarray, variable: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The model's values at sensors. Collective.

    Parameters
    ----------
    state : State
    transfer : Transfer
    position, variable : as in `Transfer.at_readings`

    Returns
    -------
    value : (M,) on every rank, zero outside
    inside : (M,) bool

    Raises
    ------
    MeshError
        if the state lacks a field, or a reading is of something that is not analysed
    """
    position, variable = np.asarray(position, float).reshape(-1, 3), np.asarray(variable)
    transfer.check_known(variable)
    value, inside = np.zeros(len(position)), np.zeros(len(position), bool)
    for name, asked, of, placed in transfer.placed(state, position, variable):
        inside[asked] = placed.inside
        values = multiply(placed.at_sensors, np.column_stack([v.of(of.values) for v in transfer.readable[name]]))
        values = np.concatenate(transfer.comm.allgather(values))
        value[asked[placed.inside]] = values[:, 0] if values.shape[1] == 1 else speed_of(values)
    return value, inside
