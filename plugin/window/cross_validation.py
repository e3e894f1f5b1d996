"""Whether an analysis is nearer than its forecast to readings that it did not know, and what follows where it is not.

An analysis always fits the readings that it was made of. What it does between sensors shows at those that it did not
know: the withheld ones, and each of its own in an analysis without it and its neighbours, which is known in closed form
(:mod:`da.diagnostics.left_out`). Departures are in units of the readings' errors; a field counts by itself where it has
enough readings, and by all of them otherwise.

The factor of the increment that fits these readings best is itself an estimate, and from some tens of readings a poor
one. `shrink` multiplies the increment by that factor less its standard error, within 0 and 1: what the readings do not
bear out is left away, and an increment that they bear out well stays as it is.

Where a plume that has moved is at two sensors and nowhere else, these alone decide; and each of them is predicted worst
without the other, however good the analysis is with both. How many readings share in a factor is (Σ p²)² / Σ p⁴, p
being the increments at readings left out. A comparison counts where more than two do, and the increment stays as it is
where it does not. A standard error from few is itself hardly known: it counts times Student's quantile for one degree
of freedom less than share.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI
from scipy.special import stdtrit

from da.analysis import Analysis
from da.diagnostics.left_out import left_out, without_neighbourhoods
from da.diagnostics.posterior import posterior
from da.minimisation.hessian import ObservationHessian
from plugin.case.analysis import Guard
from plugin.case.variables import fields_of
from plugin.state.transfer import Variable
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.analysis_inputs import AnalysisInputs, quadratic_form

_FEWEST = 5  # readings that a comparison needs
_SHARING = 2.0  # of them, each counted by its share in the factor; more than these count
_CERTAIN = 0.8413  # of a normal distribution below its mean plus one standard deviation
_WHOLE = 0.9  # a factor from here on gains less than the choice between it and one is known
_MOST = 5000  # readings that are left out in any case
_COST, _SIZE = 1e11, 5e7  # of more readings, for each rank: M s² with s numbers of the control, and M s
ALL = "all"


@dataclass(frozen=True)
class Departures:
    """Readings that an analysis did not know.

    field : (K,) name of each one's field
    forecast, analysis : (K,) reading minus model, over the reading's error
    """

    field: np.ndarray
    forecast: np.ndarray
    analysis: np.ndarray


@dataclass(frozen=True)
class Comparison:
    """Analysis and forecast at readings of one field, or of all.

    count : number of readings
    forecast, analysis : root mean square departures, in units of the readings' errors
    factor : of the increment, that leaves the least departures
    factor_error : its standard error, which allows for departures of unequal size (White 1980)
    sharing : how many of the readings share in the factor, from 1 where one decides to `count` where all do alike
    """

    count: int
    forecast: float
    analysis: float
    factor: float
    factor_error: float
    sharing: float

    @property
    def counts(self) -> bool:
        """Whether readings enough share in it."""
        return self.count >= _FEWEST and self.sharing > _SHARING

    @property
    def worse(self) -> bool:
        """Whether the analysis is farther from the readings than the forecast, by the word of enough of them."""
        return self.counts and self.analysis > self.forecast

    @property
    def borne_out(self) -> float:
        """The factor that is at least right, within [0, 1]; from 0.9 on the whole increment. Only where it counts."""
        errors = float(stdtrit(self.sharing - 1.0, _CERTAIN))
        least = max(0.0, self.factor - errors * self.factor_error)
        return 1.0 if least >= _WHOLE else least


@dataclass(frozen=True)
class Verdict:
    """What the comparison gave and what was done.

    action : as the case asks
    fields : {field: Comparison}, and of all readings under ALL; none where no reading could be left out
    """

    action: Guard
    fields: Mapping[str, Comparison] = field(default_factory=dict)

    @property
    def worse(self) -> list[str]:
        """Fields whose analysis is worse than the forecast."""
        return [name for name, of in self.fields.items() if of.worse and name != ALL] or (
            [ALL] if ALL in self.fields and self.fields[ALL].worse else []
        )

    def factor(self, name: str) -> float:
        """What the increment of a field is multiplied by."""
        if self.action not in ("shrink", "skip") or not self.fields:
            return 1.0
        of = self.fields.get(name)
        of = self.fields[ALL] if of is None or of.count < _FEWEST else of
        if not of.counts:
            return 1.0
        if self.action == "shrink":
            return of.borne_out
        return 0.0 if of.worse else 1.0

    def summary(self) -> dict[str, Any]:
        """For the ledger."""
        return {
            "action": self.action,
            "worse": self.worse,
            "fields": {
                name: {**vars(of), "counts": of.counts, "applied": self.factor(name)}
                for name, of in self.fields.items()
            },
        }


def judge(departures: Departures, action: Guard) -> Verdict:
    """Compare analysis and forecast."""
    groups = {str(name): departures.field == name for name in np.unique(departures.field)}
    groups[ALL] = np.ones(len(departures.field), bool)
    compared = {}
    for name, mine in groups.items():
        if not mine.any():
            continue
        before, after = departures.forecast[mine], departures.analysis[mine]
        far = [float(np.sqrt(np.mean(of**2))) for of in (before, after)]
        compared[name] = Comparison(int(mine.sum()), far[0], far[1], *_best_factor(before, before - after))
    return Verdict(action, compared)


def _best_factor(before: np.ndarray, moved: np.ndarray) -> tuple[float, float, float]:
    """The factor of `moved` that leaves least of `before`, its standard error, and how many readings share in it."""
    square, count = float(moved @ moved), len(moved)
    if square == 0.0:
        return 1.0, 0.0, float(count)
    best = float(moved @ before) / square
    unexplained = moved * (before - best * moved)
    error = float(np.sqrt(unexplained @ unexplained * count / max(1, count - 1))) / square
    return best, error, square**2 / float(np.sum(moved**4))


def left_out_departures(
    inputs: AnalysisInputs, analysis: Analysis, near: float, cache: AnalysisCache, comm: MPI.Comm
) -> Departures:
    """Each reading of the analysis against the forecast, and against an analysis without it and its neighbours.

    Collective. There are none where U is a network's, or where more than 5,000 observations cost too much: 4 M s² FLOPs
    and 24 M s bytes over the ranks, and of correlated errors R⁻¹ as a whole.

    near : readings within this distance of each other are left out together [m]
    """
    none = np.empty(0)
    if not inputs.transform.linear or not _affordable(inputs, comm):
        return Departures(none.astype(str), none, none)
    operator, error, residual = quadratic_form(inputs, analysis.increment)
    hessian = inputs.hessian or ObservationHessian(inputs.transform, operator, error, comm)

    def computed():
        position = inputs.reading_operator.mean @ inputs.readings.position
        of = posterior(hessian.information)
        return without_neighbourhoods(of, inputs.transform, operator, error, position, near, comm)

    if inputs.hessian is None:
        of = computed()
    else:  # it stays as long as the Hessian does
        of = cache.left_out.result_for((np.array(cache.hessian.computed),), computed, comm)
    without = left_out(of, error, residual, comm)
    parts = inputs.reading_operator.reading, inputs.innovation, without
    reading, before, after = (np.concatenate(comm.allgather(part)) for part in parts)
    now = np.concatenate(comm.allgather(inputs.lag)) == 0
    known = np.isfinite(after) & now
    names, unit = fields_of(inputs.readings.variable[reading]), inputs.readings.error[reading]
    return Departures(names[known], (before / unit)[known], (after / unit)[known])


def _affordable(inputs: AnalysisInputs, comm: MPI.Comm) -> bool:
    """Whether each reading may be left out. Collective."""
    m, s = inputs.operator.n_observations, inputs.transform.n_control
    correlated = comm.allreduce(len(inputs.error.blocks)) > 0
    return m <= _MOST or not correlated and m * s**2 <= _COST * comm.size and m * s <= _SIZE * comm.size


def increment_factors(verdict: Verdict, variables: tuple[Variable, ...]) -> np.ndarray:
    """(v,) factors of the increments of the variables."""
    return np.array([verdict.factor(v.field) for v in variables])


def guard_line(entry: Mapping[str, Any] | None) -> str:
    """What a window's line says of its ledger entry; "" where increments are as they were found."""
    if not entry:
        return ""
    applied = {name: of["applied"] for name, of in entry["fields"].items() if name != ALL}
    if not entry["worse"]:
        smaller = ", ".join(f"{name} {factor:.2g}" for name, factor in applied.items() if factor < 1.0)
        return f"  increments times {smaller}" if smaller else ""
    done = {"warn": "it is used all the same", "shrink": "increment times {:.2g}", "skip": "the forecast is kept"}
    parts = []
    for name in entry["worse"]:
        of = entry["fields"][name]
        what = "readings" if name == ALL else f"readings of {name}"
        consequence = done[entry["action"]].format(of["applied"])
        parts.append(
            f"{of['analysis']:.3g} σ from {of['count']} {what} that it did not know, the forecast "
            f"{of['forecast']:.3g} σ ({consequence})"
        )
    return "\n    warning: the analysis is " + "; ".join(parts)
