"""The choice of a case's background and observation errors, from its states and sensors to what is best."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.observations import ANALYSIS_TIME, LAGGED
from plugin.run.progress import Progress
from plugin.tune.candidates import Coordinate, Domain, coordinates, start
from plugin.tune.folds import Fold, correlation_time, folds_of, runs_of
from plugin.tune.score import Judge, Scores
from plugin.tune.search import Comparison, Search, Trial
from plugin.tune.setting import Setting, of_case, tuned
from plugin.tune.states import TuningStates, read_states

_WARM, _TIMED = 2, 5  # settings before the time of one is measured, and that it is measured of
_ROUNDING, _NEAR_ZERO = 1e-2, 1e-3  # of the largest value: what counts as not below zero, and as near it
TRANSFORMS = ("tsvd", "reduced", "local")


@dataclass(frozen=True)
class Options:
    """What a user may ask for.

    background : time from the state that stands for the forecast to the one that is analysed [s], 0 for the mean of
        the training states; None for the cycle's window, or the mean where the case has no cycle
    transforms : that are tried; none for the case's own
    folds : number of them
    gap : between withheld and training states [s]; None for the states' correlation time
    states : of a fold that are analysed at most
    places : where analyses are scored, at most
    noise : factor on the standard deviations of the errors that readings are given
    given : {key: values} in place of our own
    """

    background: float | None = None
    transforms: tuple[str, ...] = ()
    folds: int = 5
    gap: float | None = None
    states: int = 40
    places: int = 1000
    noise: float = 1.0
    given: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Tuned:
    """What was chosen.

    chosen : Trial of least error
    today : Trial of the case as it is; None where its analyses are a network's
    nothing : Scores of the backgrounds themselves
    comparisons : each key varied about the chosen setting
    folds : Folds
    fields : names of the fields that are analysed
    """

    chosen: Trial
    today: Trial | None
    nothing: Scores
    comparisons: tuple[Comparison, ...]
    folds: tuple[Fold, ...]
    fields: tuple[str, ...]


def tune(case: Case, comm: MPI.Comm, options: Options, progress: Progress) -> Tuned:
    """Choose a case's background and observation errors. Collective.

    Raises
    ------
    ConfigurationError, ReadingsError, FileError, MeshError
        if case, states, readings and options do not fit each other
    """
    if not (np.isfinite(options.noise) and options.noise > 0.0):
        raise ConfigurationError(f"--noise {options.noise!r}, expected a positive factor")
    transforms = options.transforms or (case.background.transform,)
    if unknown := [name for name in transforms if name not in TRANSFORMS]:
        raise ConfigurationError(
            f"background.transform: found {unknown[0]}; plugin.tune chooses the settings of {', '.join(TRANSFORMS)}; "
            "name one of them with --transform"
        )
    assert case.observations is not None  # the command needs it
    if case.observations.window == LAGGED:
        raise ConfigurationError(
            f"observations.window: found {LAGGED}; plugin.tune takes readings of one time, expected {ANALYSIS_TIME}; "
            "tune with that and without the section lagged"
        )
    with progress.stage("states"):
        states = read_states(case, comm, options.places, case.run / "cache", progress.say)
    fields = tuple(name for name in states.fields if name in states.network.field)
    lag = options.background
    if lag is None:
        lag = case.cycle.window if case.cycle is not None else 0.0
    gap = options.gap if options.gap is not None else correlation_time(_products(states, comm), states.times)
    folds = folds_of(states.times, options.folds, gap, lag or None, options.states)
    progress.say(_folds_line(states, folds, gap, lag))
    judge = Judge(states, folds, case.background, options.noise, comm)
    search = Search(judge, None if lag else case.background.inflation, states.network.field)
    domain, today = _domain(states, folds, fields, comm), of_case(case, fields)
    varied = {name: coordinates(name, domain, options.given) for name in TRANSFORMS}
    _check_keys(options.given, transforms, varied)
    trials = [_searched(search, start(today, name, domain), name, varied[name], progress) for name in transforms]
    known = None
    if today.background.transform in TRANSFORMS:
        known = Trial(today, judge.scores(today))
        trials.append(search.sized(today))  # a search begins with all modes: today's may still be better
    chosen = min(trials, key=lambda trial: trial.scores.mean)
    tuned(case, chosen.setting)
    comparisons = search.around(chosen, varied[chosen.setting.background.transform])
    return Tuned(chosen, known, judge.without_analysis(), tuple(comparisons), tuple(folds), states.fields)


def _products(states: TuningStates, comm: MPI.Comm) -> np.ndarray:
    """(S, S) scalar products of the states' anomalies at the scored places, each variable in its spread. Collective."""
    scored = states.rows[states.scored]
    anomalies = scored - scored.mean(axis=1, keepdims=True)
    of, v = states.field_of_row, len(states.fields)
    squares = comm.allreduce(np.array([np.sum(anomalies[of == f] ** 2) for f in range(v)]))
    anomalies /= np.sqrt(np.where(squares > 0.0, squares, 1.0))[of][:, None]
    return comm.allreduce(anomalies.T @ anomalies)


def _folds_line(states: TuningStates, folds: Sequence[Fold], gap: float, lag: float) -> str:
    n_runs = int(runs_of(states.times)[-1]) + 1
    sizes = sorted({len(fold.training) for fold in folds})
    sample = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    return (
        f"{len(states.times)} states of {n_runs} run{'s' if n_runs > 1 else ''}, {len(folds)} folds, gap {gap:.4g} s: "
        f"{sum(len(fold.withheld) for fold in folds)} states analysed with background errors of {sample} others; "
        + (f"background: the state {lag:g} s before" if lag else "background: their mean")
    )


def _domain(states: TuningStates, folds: Sequence[Fold], fields: tuple[str, ...], comm: MPI.Comm) -> Domain:
    """What lengths are measured by. Collective."""
    grid = states.transfer.grid
    place = grid.places(comm)
    low = np.min(comm.allgather(place.min(axis=0, initial=np.inf)), axis=0)
    high = np.max(comm.allgather(place.max(axis=0, initial=-np.inf)), axis=0)
    extent = high - low
    # nodes of a mesh are about as far apart as points that fill its box evenly
    even = np.full(3, (np.prod(extent) / len(grid.fluid_points)) ** (1.0 / 3.0))
    spacing = np.asarray(grid.spacing) if isinstance(grid, Grid) else even
    fewest = min(len(fold.training) for fold in folds)
    return Domain(
        (float(extent[:2].max()), float(extent[2])),
        (float(spacing[:2].max()), float(spacing[2])),
        fewest - 1,
        fields,
        _positive(states, fields, comm),
    )


def _positive(states: TuningStates, fields: tuple[str, ...], comm: MPI.Comm) -> tuple[str, ...]:
    """The scalar fields whose states, but for rounding, are never below zero and often near it. Collective."""
    made, width = [], len(states.transfer.variables)
    for column, v in enumerate(states.transfer.variables):
        own = states.rows[column::width]
        least = comm.allreduce(float(own.min(initial=np.inf)), MPI.MIN)
        most = comm.allreduce(float(own.max(initial=-np.inf)), MPI.MAX)
        if v.component is None and v.field in fields and -_ROUNDING * most <= least <= _NEAR_ZERO * most:
            made.append(v.name)
    return tuple(made)


def _check_keys(
    given: Mapping[str, Sequence[Any]],
    transforms: Sequence[str],
    varied: Mapping[str, Sequence[tuple[Coordinate, ...]]],
) -> None:
    known = dict.fromkeys(one.key for name in transforms for group in varied[name] for one in group)
    for key in given:
        if key not in known:
            raise ConfigurationError(
                f"--try {key}: no key that is varied with {' or '.join(transforms)}; these are {', '.join(known)}"
            )


def _searched(
    search: Search, begin: Setting, name: str, varied: Sequence[tuple[Coordinate, ...]], progress: Progress
) -> Trial:
    """The best setting with one transform. Collective."""
    count = sum(int(np.prod([len(one.values) for one in group])) for group in varied)
    with progress.bar(name) as bar:
        done, first, began = 0, search.evaluated, 0.0

        def step() -> None:
            nonlocal done, began
            done += 1
            bar.step(done, max(2 * count, done))  # a second pass has most of its settings from the first
            if search.evaluated - first == _WARM and not began:
                began = time.perf_counter()
            if search.evaluated - first == _WARM + _TIMED and began > 0.0:
                left = (time.perf_counter() - began) / _TIMED * (count - done)
                progress.say(f"{name}: {count} settings in a pass, about {left:.0f} s more for the first")
                began = -1.0

        return search.best(begin, varied, step)
