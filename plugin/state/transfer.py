"""Between a model's state and the vectors of the analysis.

The grid state is one vector: for each grid point its variables in the order of the case file, so
that the numbering is the same on any number of ranks. A variable is a scalar field, or one component
of a vector field. Observations are compared with the model where it lives, on the mesh: H takes
values at the sensors from the mesh's own cells, and of an increment it takes H Q δx, the
increment as the model will get it.

A variable with an anamorphosis (`da.background.anamorphosis`) is analysed as a = φ(c): increments are of a, and the
mesh gets c = ψ(φ(c_b) + Q δa). H then takes ψ at the nodes about a sensor, before it interpolates.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid
from coupling.geometry.interpolation import Interpolation, interpolation, multiply, sampling
from coupling.geometry.mesh import AnyMesh, Field, MeshError, PolyhedralMesh, State, is_flat
from coupling.geometry.points import MeshPoints
from coupling.geometry.reconstruction import following_slopes
from da.background.anamorphosis import Anamorphosis
from da.observation.speed import speed_of
from plugin.state.at_readings import NONE, ModelAtReadings, Placed, Rows, stacked

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
    """The variables a case file names, vectors spelled out by component, on a mesh of two dimensions by x and y.

    Raises
    ------
    MeshError
        if the state has no such field or component
    """
    variables = []
    for name in names:
        field_name, dot, letter = name.rpartition(".") if name not in state.fields else (name, "", "")
        of = state[field_name if dot else name]
        letters = _COMPONENTS[:2] if of.components == 3 and is_flat(of.mesh) else _COMPONENTS[: of.components]
        if dot:
            if letter not in letters or of.components == 1:
                kept = len(letters) if of.components > 1 else 1
                raise MeshError(f"variable {name!r}: {field_name} has {kept} component(s)")
            variables.append(Variable(name, field_name, _COMPONENTS.index(letter)))
        elif of.components == 1:
            variables.append(Variable(name, name, None))
        elif of.components == 3:
            variables += [Variable(f"{name}.{c}", name, i) for i, c in enumerate(letters)]
        else:
            raise MeshError(f"variable {name!r}: a field of {of.components} components cannot be analysed")
    if len({v.name for v in variables}) != len(variables):
        raise MeshError(f"variables {[v.name for v in variables]}: one is named twice")
    return tuple(variables)


@dataclass(frozen=True)
class Transfer:
    """Carries states to the grid and increments back; matrices are made once for each mesh.

    grid : Grid, or MeshPoints where the analysis stays on the mesh
    variables : tuple of Variable
    comm : MPI communicator
    cache : folder that keeps interpolations between runs, or None
    anamorphoses : {name of a variable: Anamorphosis}; increments are of its transformed values
    """

    grid: Grid | MeshPoints
    variables: tuple[Variable, ...]
    comm: MPI.Comm
    cache: Path | None = None
    anamorphoses: Mapping[str, Anamorphosis] = field(default_factory=dict)
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

    @property
    def fluid(self) -> np.ndarray:
        """(points,) bool, which of this rank's points of the grid are in the air."""
        rows = self.grid.rows(self.comm)
        return self.grid.fluid_points[rows.start : rows.stop]

    def interpolation(self, of: Field) -> Interpolation:
        """P and Q of a field's mesh. Collective."""
        key = (of.mesh.fingerprint, of.location)
        if key not in self._made:
            if isinstance(self.grid, MeshPoints):
                self._made[key] = self.grid.interpolation(of)
            else:
                self._made[key] = self._between(self.grid, of.mesh, of.location)
        return self._made[key]

    def _between(self, grid: Grid, mesh: AnyMesh, location: str) -> Interpolation:
        """P and Q of a grid and a mesh. Collective."""
        between = interpolation(mesh, location, grid, self.comm, self.cache)
        if grid.reconstruction == "constant":
            return between
        if not isinstance(mesh, PolyhedralMesh):
            raise MeshError(
                "grid.reconstruction: linear is for values in cells of polyhedra, and this mesh has"
                f" {mesh.shape.name}; leave it out"
            )
        return replace(between, to_grid=following_slopes(between.to_grid, mesh, grid, self.comm, self.cache))

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
        """The increment on the mesh, in the fields' units. Collective.

        state : State that it is added to
        increment : (n_local,) on the grid, of transformed values where a variable has an anamorphosis

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
                    change = multiply(self.interpolation(of).to_mesh, by_variable[:, column])
                    if (form := self.anamorphoses.get(v.name)) is not None:
                        # rounded, this difference is no smaller than the bound less the background
                        change = form.inverse(form.forward(v.of(of.values)) + change) - v.of(of.values)
                    v.of(on_mesh)[:] = change
            increments[name] = on_mesh
        return increments

    def added(self, state: State, increment: np.ndarray) -> dict[str, Field]:
        """{field name: the state plus an increment of the grid}, of the analysed fields on the mesh. Collective."""
        changes = self.to_mesh(state, increment)
        return {name: state[name].replaced(state[name].values + change) for name, change in changes.items()}

    def within_bounds(self, state: State) -> State:
        """The state with variables that have an anamorphosis at or above their bounds, as an analysis has them."""
        fields = dict(state.fields)
        for v in self.variables:
            if (form := self.anamorphoses.get(v.name)) is not None:
                values = fields[v.field].values.copy()
                v.of(values)[:] = form.bounded(v.of(values))
                fields[v.field] = fields[v.field].replaced(values)
        return State(state.time, fields) if self.anamorphoses else state

    def bounded(self, variable: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(M,) values of variables, by their names, those with an anamorphosis at or above their bounds."""
        result = np.array(values, np.float64)
        for name, form in self.anamorphoses.items():
            mine = np.asarray(variable) == name
            result[mine] = form.bounded(result[mine])
        return result

    def slopes(self, variable: Variable, values: np.ndarray) -> np.ndarray:
        """How much a variable changes with its transformed value, at values of it; one without an anamorphosis."""
        form = self.anamorphoses.get(variable.name)
        return np.ones(len(values)) if form is None else form.slope(form.forward(values))

    def slopes_on_grid(self, state: State) -> np.ndarray:
        """(n_local,) how much the variables change with increments, at a state. Collective."""
        if not self.anamorphoses:
            return np.ones(self.n_local)
        columns = self.to_grid(state).reshape(-1, len(self.variables)).T
        return np.column_stack([self.slopes(*of) for of in zip(self.variables, columns, strict=True)]).ravel()

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
        parts: list[Rows] = []
        for name, asked, of, placed in self.placed(state, position, variable):
            inside[asked] = placed.inside
            mine = asked[placed.inside][slice(*placed.at_sensors.getOwnershipRange())]
            parts += [self._rows_of(v, of, placed, mine) for v in self.readable[name]]
        kinds = [self.anamorphoses.get(v.name) for v in self.variables]
        return stacked(parts, inside, kinds, self.n_local, self.comm)

    def _rows_of(self, v: Variable, of: Field, placed: Placed, mine: np.ndarray) -> Rows:
        """The rows of a variable at sensors. Collective.

        mine : numbers of the readings of this rank's sensors
        """
        background, to_mesh = multiply(placed.at_sensors, v.of(of.values)), self.interpolation(of).to_mesh
        if v not in self.variables:
            return Rows(mine, background, (np.zeros(len(mine) + 1, np.int64), NONE, NONE * 1.0), 0)
        number, form = self.variables.index(v), self.anamorphoses.get(v.name)
        if form is None:
            return Rows(mine, background, placed.rows_on_grid(to_mesh), number)
        through = placed.through_nodes(to_mesh)
        analysed = multiply(through.chosen, form.forward(v.of(of.values)))
        return Rows(mine, background, through.on_grid, number, through.at_sensors, analysed)

    def placed(
        self, state: State, position: np.ndarray, variable: np.ndarray
    ) -> Iterator[tuple[str, np.ndarray, Field, Placed]]:
        """Where sensors are in a state's meshes; the search is repeated only if they or the mesh have moved.

        position, variable : as in `at_readings`

        Yields
        ------
        name a reading has, (k,) numbers of such readings, the Field it is of, and their Placed. Collective
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
                kept = self._sensors[name] = Placed(mesh, places, inside, at_sensors)
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
