"""Gates that an analysis passes before the model goes on from it.

The minimum of J knows nothing of signs, walls or mass. What a case asks for is done to the analysis on the mesh, in an
order in which none undoes what another did:

1. `taper`: the increment fades towards open boundaries;
2. `divergence_free`: the increment of the velocity becomes the nearest one without weak divergence that is zero where
   the model sets the velocity itself (:mod:`coupling.simulation.boundary`). On open boundaries it is what the balance
   of the air needs: held there as well, next to an inflow that is held, it could do little but circulate in the street;
3. `largest`: an increment that is then too large is scaled down as a whole, or given up;
4. `bounds`: each bounded variable becomes the nearest field within its bounds with the same total (:mod:`da.bounds`);
5. `range`, and values that are not finite: an error, and nothing is written.

J and the residuals of the minimum are reported unchanged, because `plugin.diagnostics` and χ² are about the minimum;
the residuals of what is written are reported beside them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import raise_together
from coupling.geometry.mesh import Field, State
from coupling.simulation.boundary import BoundaryOperators, DivergenceError
from coupling.simulation.simulation import Restart
from da.bounds import nearest_within
from plugin.case.configuration import ConfigurationError
from plugin.case.gates import GateError, GatesSection, TaperSection
from plugin.state.transfer import Transfer, values_at
from plugin.window.assimilate import WindowAnalysis
from plugin.window.gates.mesh_operators import MeshOperators, check_gates
from plugin.window.observations.table import TABLE

RESIDUAL = "residual_of_restart"  # a column of readings.csv


@dataclass(frozen=True)
class Gates:
    """The gates of a case.

    settings : GatesSection
    transfer : Transfer of the analyses
    tools : MeshOperators
    """

    settings: GatesSection
    transfer: Transfer
    tools: MeshOperators

    def check(self, state: State, what: str, kind: type[Exception] = GateError) -> None:
        """Raise `kind` if a value of a state is not finite, or a variable leaves its `range`. Collective.

        what : the state in words
        """
        self._check_finite(state, what, kind)
        for v in self.transfer.variables:
            if v.name in self.settings.range and v.field in state.fields:
                low, high = self.settings.range[v.name]
                values = v.of(state[v.field].values)
                excess = np.maximum(low - values, values - high)
                bad = np.flatnonzero(excess > 0)
                worst = bad[np.argsort(-excess[bad])]
                example = f", {values[worst[0]]:g}," if len(bad) else ""
                text = (
                    f"{what}: {{}} values of {v.name} are outside {low:g} to {high:g} (gates.range), the worst{example}"
                )
                self._raise_for(worst, state[v.field], text, kind)

    def _check_finite(self, state: State, what: str, kind: type[Exception]) -> None:
        for name, of in state.fields.items():
            bad = np.unique(np.argwhere(~np.isfinite(of.values))[:, 0])
            self._raise_for(bad, of, f"{what}: {{}} values of {name} are not finite, one is", kind)

    def _raise_for(self, bad: np.ndarray, of: Field, text: str, kind: type[Exception]) -> None:
        """Raise `kind` on every rank if one has bad values; the text gets their number, and the place of the first."""
        count, problem = self.transfer.comm.allreduce(len(bad)), None
        if len(bad):
            places = of.mesh.points if of.location == "point" else of.mesh.centroids
            problem = kind(f"{text.format(count)} at {np.round(places[bad[0]], 3).tolist()} m")
        raise_together(problem, self.transfer.comm)

    def passed(
        self,
        analysis: WindowAnalysis,
        state: State,
        restart: Restart | None = None,
        biases: Mapping[str, float] | None = None,
    ) -> WindowAnalysis:
        """Let an analysis through. Collective.

        Parameters
        ----------
        analysis : WindowAnalysis
        state : State, its background
        restart : restart that the state was read from; needed for `taper` and `divergence_free`
        biases : of stations, as they were before

        Returns
        -------
        WindowAnalysis with `gates`, what each measured and did; without changes if the increment is given up. Where a
        gate may change it, `table` has the column RESIDUAL

        Raises
        ------
        GateError
            if a value is not finite or out of `range`, or the velocity cannot be made free of divergence
        FileError, MeshError
            if the boundary cannot be read, or the velocity is not continuous
        """
        settings, fields, biases = self.settings, analysis.changes, biases or {}
        record: dict[str, Any] = {}
        if not fields:
            return self._recorded(analysis, [None] * len(analysis.table), record)
        self.tools.keep_only(fields.values())
        minimum = State(state.time, fields)
        self._check_finite(minimum, "the analysis", GateError)
        if settings.taper:
            fields, record["taper"] = self._tapered(fields, state, settings.taper, restart)
        if settings.divergence_free:
            fields, record["divergence"] = self._without_divergence(fields, state, settings.divergence_free, restart)
        factor = 1.0
        if settings.largest:
            factor, record["largest"] = self._factor(fields, state)
        if factor == 0.0:
            given_up = replace(analysis, changes={}, biases=dict(biases))
            return self._recorded(given_up, [row["innovation"] for row in analysis.table], record)
        if factor < 1.0:
            fields = _faded(fields, state, lambda of: factor)
            before = {name: biases.get(name, 0.0) for name in analysis.biases}
            part = {name: old + factor * (analysis.biases[name] - old) for name, old in before.items()}
            analysis = replace(analysis, biases=part)
        if settings.bounds:
            fields, record["bounds"] = self._bounded(fields, state)
        through = State(state.time, fields)
        self.check(through, "the analysis")
        if settings.changing:
            residuals = self._residuals(analysis.table, minimum, through)
            record["residual"] = _rms_of_used(analysis.table, residuals)
            analysis = self._recorded(replace(analysis, changes=fields), residuals, record)
        return analysis

    def bounded(self, state: State) -> State:
        """A state with its variables within their bounds, checked like an analysis. Collective."""
        within = State(state.time, self._bounded(state.fields, state)[0])
        self.check(within, "the analysis given in parts")
        return within

    def _factor(self, fields: Mapping[str, Field], state: State) -> tuple[float, dict[str, Any]]:
        """What the increment is multiplied with, and the record of it."""
        factor, sizes, variables = 1.0, dict[str, float](), {v.name: v for v in self.transfer.variables}
        for name, limit in self.settings.largest.items():
            v = variables.get(name)
            of = name if v is None else v.field
            dx = fields[of].values - state[of].values
            size = np.linalg.norm(dx, axis=1) if v is None else np.abs(v.of(dx))
            sizes[name] = self.transfer.comm.allreduce(float(size.max(initial=0.0)), MPI.MAX)
            if sizes[name] > limit:
                factor = min(factor, limit / sizes[name] if self.settings.too_large == "scale" else 0.0)
        return factor, {"increment": sizes, "factor": factor}

    def _tapered(
        self, fields: Mapping[str, Field], state: State, taper: TaperSection, restart: Restart | None
    ) -> tuple[dict[str, Field], dict[str, Any]]:
        assert restart is not None  # check_gates refuses this gate where there is none

        def weights(of: Field) -> np.ndarray:
            return self.tools.weights(of, restart, taper.surfaces, taper.distance)

        faded, record = _faded(fields, state, weights), {}
        for name, of in fields.items():
            before, after = (self._norm(one[name].values - state[name].values, of) for one in (fields, faded))
            record[name] = {"kept": after / before if before else 1.0}
        return faded, record

    def _norm(self, values: np.ndarray, of: Field) -> float:
        """Norm of values like those of a Field, by the lumped mass."""
        squares = values**2 if values.ndim == 1 else (values**2).sum(axis=1)
        return float(np.sqrt(self.transfer.comm.allreduce(float(self.tools.mass(of) @ squares))))

    def _without_divergence(
        self, fields: Mapping[str, Field], state: State, name: str, restart: Restart | None
    ) -> tuple[dict[str, Field], dict[str, Any]]:
        assert restart is not None  # as above
        old = state[name]
        projection = self.tools.projection(old, restart)
        try:
            made = projection.project(fields[name].values - old.values)
        except DivergenceError as error:
            raise GateError(str(error)) from error
        record = {"before": made.before, "after": made.after, "kept": made.fraction, "iterations": made.iterations}
        return {**fields, name: old.replaced(old.values + made.increment)}, record

    def _bounded(self, fields: Mapping[str, Field], state: State) -> tuple[dict[str, Field], dict[str, Any]]:
        fields, record, comm = dict(fields), dict[str, Any](), self.transfer.comm
        for v in self.transfer.variables:
            if v.name not in self.settings.bounds or v.field not in fields:
                continue
            low, high = self.settings.limits(v.name)
            new, mass = fields[v.field], self.tools.mass(fields[v.field])
            ratio = self.tools.integral_by_mass(new)
            nearest = nearest_within(v.of(new.values), mass, low, high, comm, ratio)
            if nearest.below or nearest.above:
                values = new.values.copy()
                v.of(values)[:] = nearest.values
                fields[v.field] = new.replaced(values)
            before = v.of(state[v.field].values)
            record[v.name] = {
                "below": nearest.below,
                "above": nearest.above,
                "below_in_forecast": comm.allreduce(int(np.sum((mass > 0) & (before < low)))),
                "above_in_forecast": comm.allreduce(int(np.sum((mass > 0) & (before > high)))),
                "lowest": nearest.lowest,
                "highest": nearest.highest,
                "mass": nearest.total,
                "mass_moved": nearest.moved,
                "mass_kept": nearest.feasible,
                "shift": nearest.shift,
            }
        return fields, record

    def _residuals(self, table: Sequence[dict], minimum: State, through: State) -> list[float | None]:
        """Residuals of a table's readings by what is let through, None where it has none of the minimum. Collective."""
        position = np.array([[row[axis] for axis in "xyz"] for row in table], dtype=float)
        variable = np.array([row["variable"] for row in table], dtype=str)
        new, old = (values_at(one, self.transfer, position, variable)[0] for one in (through, minimum))
        moved = (new - old).tolist()
        return [None if row["residual"] is None else row["residual"] - by for row, by in zip(table, moved, strict=True)]

    def _recorded(
        self, analysis: WindowAnalysis, residuals: Sequence[float | None], record: dict[str, Any]
    ) -> WindowAnalysis:
        if not self.settings.changing:
            return analysis
        table = [{**row, RESIDUAL: residual} for row, residual in zip(analysis.table, residuals, strict=True)]
        return replace(analysis, table=table, gates=record)


def columns_of(settings: GatesSection) -> tuple[str, ...]:
    """Columns of a table of readings that went through the gates of a GatesSection."""
    return (*TABLE, RESIDUAL) if settings.changing else TABLE


def make_gates(settings: GatesSection, transfer: Transfer, boundary: BoundaryOperators | str) -> Gates:
    """The gates that a case asks for.

    boundary : BoundaryOperators of the model, or why there are none

    Raises
    ------
    ConfigurationError
        if one is for what is not analysed, or needs a boundary that there is not
    """
    check_gates(settings, boundary)
    variables = {v.name for v in transfer.variables}
    vectors = {v.field for v in transfer.variables if v.component is not None}
    for key, names, known in (
        ("largest", settings.largest, variables | vectors),
        ("divergence_free", [settings.divergence_free] if settings.divergence_free else [], vectors),
        ("bounds", settings.bounds, variables),
        ("range", settings.range, variables),
    ):
        unknown = [name for name in names if name not in known]
        if unknown:
            raise ConfigurationError(f"gates.{key}: {unknown[0]!r} is not analysed; expected one of {sorted(known)}")
    return Gates(settings, transfer, MeshOperators(transfer.comm, boundary))


def _faded(
    fields: Mapping[str, Field], state: State, weights: Callable[[Field], np.ndarray | float]
) -> dict[str, Field]:
    """Background plus weighted increments; `weights(field)` are of its values, or one number for all."""
    faded = {}
    for name, new in fields.items():
        old, w = state[name].values, np.asarray(weights(new))
        w = w[:, None] if w.ndim and old.ndim > 1 else w
        faded[name] = new.replaced(old + w * (new.values - old))
    return faded


def _rms_of_used(table: Sequence[dict], residuals: Sequence[float | None]) -> dict[str, float]:
    by_variable = dict[str, list[float | None]]()
    for row, residual in zip(table, residuals, strict=True):
        if row["used"] == "yes":
            by_variable.setdefault(row["variable"], []).append(residual)
    return {name: float(np.sqrt(np.mean(np.square(np.array(of, float))))) for name, of in by_variable.items()}
