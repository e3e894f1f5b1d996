"""Gates that an analysis passes before the model goes on from it.

The minimum of J knows nothing of signs, walls or mass. What a case asks for is done to the analysis on the mesh, in an
order in which none undoes what another did:

1. `taper`: the increment fades towards open boundaries;
2. `divergence_free`: that of the velocity becomes the nearest one without weak divergence that is zero where the model
   sets the velocity itself (:mod:`coupling.fluidity.divergence`). On open boundaries it is what the balance of the air needs:
   held there as well, next to an inflow that is held, it could do little but turn round in the street;
3. `largest`: one that is too large then is made smaller as a whole, or given up;
4. `bounds`: each such variable becomes the nearest field within its bounds with the same total (:mod:`da.bounds`);
5. `range`, and values that are not finite: an error, and nothing is written.

J and the residuals of the minimum stay as they are told, because `plugin.diagnostics` and χ² are about the minimum; the
residuals of what is written are told beside them.
"""

from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from coupling.common.collective import raise_together
from coupling.fluidity.divergence import DivergenceError
from coupling.geometry.mesh import State
from da.bounds import nearest_within
from plugin.case.configuration import ConfigurationError
from plugin.case.gates import GateError, GatesSection
from plugin.state.transfer import Transfer, values_at
from plugin.window.gates.mesh_operators import MeshOperators
from plugin.window.reading_table import TABLE

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

    def check(self, state, what, kind=GateError):
        """Raise `kind` if a value of a state is not finite, or a variable leaves its `range`. Collective.

        what : the state in words
        """
        self._check_finite(state, what, kind)
        for v in self.transfer.variables:
            if v.name in self.settings.range and v.field in state.fields:
                low, high = self.settings.range[v.name]
                values = v.of(state[v.field].values)
                far = np.maximum(low - values, values - high)
                bad = np.flatnonzero(far > 0)
                worst = bad[np.argsort(-far[bad])]
                found = f", {values[worst[0]]:g}," if len(bad) else ""
                told = (
                    f"{what}: {{}} values of {v.name} are outside {low:g} to {high:g} (gates.range), the worst{found}"
                )
                self._raise_for(worst, state[v.field], told, kind)

    def _check_finite(self, state, what, kind):
        for name, of in state.fields.items():
            bad = np.unique(np.argwhere(~np.isfinite(of.values))[:, 0])
            self._raise_for(bad, of, f"{what}: {{}} values of {name} are not finite, one is", kind)

    def _raise_for(self, bad, of, text, kind):
        """Raise `kind` on every rank if one has bad values; the text gets their number, and the place of the first."""
        count, problem = self.transfer.comm.allreduce(len(bad)), None
        if len(bad):
            places = of.mesh.points if of.location == "point" else of.mesh.centroids
            problem = kind(f"{text.format(count)} at {np.round(places[bad[0]], 3).tolist()} m")
        raise_together(problem, self.transfer.comm)

    def passed(self, found, state, restart=None, biases=None):
        """Let an analysis through. Collective.

        Parameters
        ----------
        found : WindowAnalysis
        state : State, its background
        restart : Restart that the state was read from; needed for `taper` and `divergence_free`
        biases : of stations, as they were before

        Returns
        -------
        WindowAnalysis with `gates`, what each found and did; without changes if the increment is given up. Where a gate
        may change it, `table` has the column RESIDUAL

        Raises
        ------
        GateError
            if a value is not finite or out of `range`, or the velocity cannot be made free of divergence
        FileError, MeshError
            if the boundary cannot be read, or the velocity is not continuous
        """
        settings, fields, told, biases = self.settings, found.changes, {}, biases or {}
        if not fields:
            return self._with(found, [None] * len(found.table), told)
        self.tools.keep_only(fields.values())
        minimum = State(state.time, fields)
        self._check_finite(minimum, "the analysis", GateError)
        if settings.taper:
            fields, told["taper"] = self._tapered(fields, state, restart)
        if settings.divergence_free:
            fields, told["divergence"] = self._without_divergence(fields, state, restart)
        factor = 1.0
        if settings.largest:
            factor, told["largest"] = self._factor(fields, state)
        if factor == 0.0:
            given_up = replace(found, changes={}, biases=dict(biases))
            return self._with(given_up, [row["innovation"] for row in found.table], told)
        if factor < 1.0:
            fields = _faded(fields, state, lambda of: factor)
            part = {name: biases.get(name, 0.0) for name in found.biases}
            part = {name: old + factor * (found.biases[name] - old) for name, old in part.items()}
            found = replace(found, biases=part)
        if settings.bounds:
            fields, told["bounds"] = self._bounded(fields, state)
        through = State(state.time, fields)
        self.check(through, "the analysis")
        if settings.changing:
            residuals = self._residuals(found.table, minimum, through)
            told["residual"] = _rms_of_used(found.table, residuals)
            found = self._with(replace(found, changes=fields), residuals, told)
        return found

    def bounded(self, state):
        """A state with its variables within their bounds, checked like an analysis. Collective."""
        within = State(state.time, self._bounded(state.fields, state)[0])
        self.check(within, "the analysis given in parts")
        return within

    def _factor(self, fields, state):
        """What the increment is multiplied with, and what is told of it."""
        factor, found, variables = 1.0, {}, {v.name: v for v in self.transfer.variables}
        for name, limit in self.settings.largest.items():
            v = variables.get(name)
            of = name if v is None else v.field
            dx = fields[of].values - state[of].values
            size = np.linalg.norm(dx, axis=1) if v is None else np.abs(v.of(dx))
            found[name] = self.transfer.comm.allreduce(float(size.max(initial=0.0)), MPI.MAX)
            if found[name] > limit:
                factor = min(factor, limit / found[name] if self.settings.too_large == "scale" else 0.0)
        return factor, {"increment": found, "factor": factor}

    def _tapered(self, fields, state, restart):
        asked, told = self.settings.taper, {}

        def weights(of):
            return self.tools.weights(of, restart, asked.surfaces, asked.distance)

        faded = _faded(fields, state, weights)
        for name, of in fields.items():
            before, after = (self._norm(one[name].values - state[name].values, of) for one in (fields, faded))
            told[name] = {"kept": after / before if before else 1.0}
        return faded, told

    def _norm(self, values, of):
        """Norm of values like those of a Field, by the lumped mass."""
        squares = values**2 if values.ndim == 1 else (values**2).sum(axis=1)
        return float(np.sqrt(self.transfer.comm.allreduce(float(self.tools.mass(of) @ squares))))

    def _without_divergence(self, fields, state, restart):
        name = self.settings.divergence_free
        old = state[name]
        projection = self.tools.projection(old, restart)
        try:
            made = projection.project(fields[name].values - old.values)
        except DivergenceError as error:
            raise GateError(str(error)) from error
        said = {"before": made.before, "after": made.after, "kept": made.fraction, "iterations": made.iterations}
        return {**fields, name: old.replaced(old.values + made.increment)}, said

    def _bounded(self, fields, state):
        fields, told, comm = dict(fields), {}, self.transfer.comm
        for v in self.transfer.variables:
            if v.name not in self.settings.bounds or v.field not in fields:
                continue
            low, high = self.settings.limits(v.name)
            new, mass = fields[v.field], self.tools.mass(fields[v.field])
            found = nearest_within(v.of(new.values), mass, low, high, comm)
            if found.below or found.above:
                values = new.values.copy()
                v.of(values)[:] = found.values
                fields[v.field] = new.replaced(values)
            before = v.of(state[v.field].values)
            told[v.name] = {
                "below": found.below,
                "above": found.above,
                "below_in_forecast": comm.allreduce(int(np.sum((mass > 0) & (before < low)))),
                "above_in_forecast": comm.allreduce(int(np.sum((mass > 0) & (before > high)))),
                "lowest": found.lowest,
                "highest": found.highest,
                "mass": found.total,
                "mass_moved": found.moved,
                "mass_kept": found.feasible,
                "shift": found.shift,
            }
        return fields, told

    def _residuals(self, table, minimum, through):
        """Residuals of a table's readings by what is let through, None where it has none of the minimum. Collective."""
        position = [[row[axis] for axis in "xyz"] for row in table]
        variable = np.array([row["variable"] for row in table], dtype=str)
        new, old = (values_at(one, self.transfer, position, variable)[0] for one in (through, minimum))
        moved = (new - old).tolist()
        return [None if row["residual"] is None else row["residual"] - by for row, by in zip(table, moved)]

    def _with(self, found, residuals, told):
        if not self.settings.changing:
            return found
        table = [{**row, RESIDUAL: residual} for row, residual in zip(found.table, residuals)]
        return replace(found, table=table, gates=told)


def columns_of(settings):
    """Columns of a table of readings that went through the gates of a GatesSection."""
    return (*TABLE, RESIDUAL) if settings.changing else TABLE


def check_without_model(settings):
    """ConfigurationError if a gate of a GatesSection needs what only a model's checkpoint tells."""
    for key in ("taper", "divergence_free"):
        if getattr(settings, key) is not None:
            raise ConfigurationError(
                f"gates.{key} needs surfaces and boundary conditions, which a model's checkpoint tells: it goes with"
                " the cycle"
            )


def make_gates(settings, transfer):
    """The gates that a case asks for.

    Raises
    ------
    ConfigurationError
        if one is for what is not analysed
    """
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
    return Gates(settings, transfer, MeshOperators(transfer.comm))


def _faded(fields, state, weights):
    """Background plus weighted increments; `weights(field)` are of its values, or one number for all."""
    faded = {}
    for name, new in fields.items():
        old, w = state[name].values, np.asarray(weights(new))
        w = w[:, None] if w.ndim and old.ndim > 1 else w
        faded[name] = new.replaced(old + w * (new.values - old))
    return faded


def _rms_of_used(table, residuals):
    by_variable = {}
    for row, residual in zip(table, residuals):
        if row["used"] == "yes":
            by_variable.setdefault(row["variable"], []).append(residual)
    return {name: float(np.sqrt(np.mean(np.square(of)))) for name, of in by_variable.items()}
