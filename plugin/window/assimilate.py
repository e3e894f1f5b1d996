"""One analysis: from a forecast and its readings to the analysed fields and a table of the readings."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import Field, State
from da.analysis import Analysis, statistics
from da.background.biased_transform import BiasedTransform
from da.observation.observations import Observations
from da.observation.quality import Flag
from plugin.case.analysis import Guard
from plugin.case.configuration import MinimiserSection
from plugin.case.variables import fields_of
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.analysis_inputs import AnalysisInputs, analysis_inputs
from plugin.window.background.adaptive import adapted, at_readings, next_factors
from plugin.window.background.latent import LatentAnalysis
from plugin.window.background.lengths import neighbourhood, next_losses, with_lengths
from plugin.window.background.of_case import Background
from plugin.window.cross_validation import Departures, Verdict, increment_factors, judge, left_out_departures
from plugin.window.minimum import Minimum, find_minimum
from plugin.window.observations.innovation import Innovation, compare_with_background
from plugin.window.observations.operator import background_std, by_reading
from plugin.window.observations.quality_control import control_quality
from plugin.window.observations.selection import ObservationSettings
from plugin.window.observations.table import reading_rows


@dataclass(frozen=True)
class WindowAnalysis:
    """The analysis of one window, or of one state.

    changes : {field name: Field}, background plus increment; none where no reading is used
    analysis : Analysis, or None
    table : one dict per reading, but none for those of before, its keys those of TABLE: times in s, positions in m, the
        rest in the variable's units; innovation and residual are None outside the model's air, and where there was no
        analysis the residual; `used` says why a reading was left out
    biases : {"station variable": bias, in the variable's units}, with those that came in; none if not asked for
    inputs : AnalysisInputs; None where there is no analysis
    network : LatentAnalysis; None where the case has no network, or no reading is used
    gates : what each gate measured and did (:mod:`plugin.window.gates.apply`), by their names; none before
    verdict : Verdict on the analysis at readings that it did not know; None where it was not asked for
    factors : {field: factor of background errors}; none where they do not adapt
    losses : {field: losses of localisation lengths}; none where these do not follow the readings
    earlier : number of readings of before that are used
    """

    changes: dict[str, Field]
    analysis: Analysis | None
    table: list[dict]
    biases: dict[str, float] = field(default_factory=dict)
    inputs: AnalysisInputs | None = None
    network: LatentAnalysis | None = None
    gates: dict = field(default_factory=dict)
    verdict: Verdict | None = None
    factors: dict[str, float] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)
    earlier: int = 0


def assimilate(
    background: Background,
    state: State,
    readings: Observations,
    comm: MPI.Comm,
    minimiser: MinimiserSection,
    settings: ObservationSettings | None = None,
    cache: AnalysisCache | None = None,
    guard: Guard = "warn",
    factors: Mapping[str, float] | None = None,
    losses: Mapping[str, list[float]] | None = None,
) -> WindowAnalysis:
    """Analyse one state. Collective.

    Parameters
    ----------
    background : Background
    state : State, the forecast
    readings : Observations of its window; there may be none
    comm : MPI communicator
    minimiser : MinimiserSection
    settings : ObservationSettings; None for readings as they are
    cache : AnalysisCache of the analyses before, changed here; None computes everything
    guard : what follows where the analysis is worse than the forecast at readings that it did not know
    factors, losses : of background errors and of localisation lengths by field, as the window before left them

    Raises
    ------
    MeshError
        if the state lacks a field, or a reading is of something that is not analysed
    ConfigurationError
        if R is not positive definite, or does not fit the readings
    MinimisationError
        if the minimum is not found
    """
    settings = ObservationSettings() if settings is None else settings
    cache = AnalysisCache() if cache is None else cache
    state = background.transfer.within_bounds(state)
    innovation = compare_with_background(background.transfer, state, readings, settings)
    before = {} if background.adaptive is None else dict(factors or {})
    flags = _quality_flags(innovation, background, state.time, settings, before, cache, comm)
    used = np.flatnonzero(flags == Flag.USED)
    if len(used) == 0:
        table = _table(innovation, np.full(len(readings), np.nan), flags)
        return WindowAnalysis({}, None, table, dict(settings.biases), factors=before, losses=dict(losses or {}))
    # readings of before have been counted in the windows before
    now = used[innovation.lag[used] == 0]
    after = next_factors(before, background, innovation, now, lambda: _std(innovation, background, cache, comm))
    background = adapted(background, after)
    lost = next_losses(losses or {}, background, innovation, now, comm)
    background = with_lengths(background, lost, len(used))
    inputs = analysis_inputs(background, innovation, used, settings, cache, comm)
    minimum = find_minimum(inputs, background, state, minimiser, settings.outer_loops, cache, comm)
    guarded = _guarded(guard, minimum, innovation, flags, background, cache, comm)
    return WindowAnalysis(
        background.transfer.added(state, guarded.correction.increment),
        guarded.analysis,
        _table(innovation, guarded.residual, flags),
        {**settings.biases, **_named(innovation, guarded.correction)},
        minimum.inputs,
        minimum.network,
        verdict=guarded.verdict,
        factors=after,
        losses=lost,
        earlier=int(np.sum(innovation.lag[used] > 0)),
    )


def _table(innovation: Innovation, residual: np.ndarray, flags: np.ndarray) -> list[dict]:
    """Rows of the readings of now: those of before have been in the tables of windows before."""
    now = np.arange(innovation.n_now)
    return reading_rows(innovation.readings.select(now), innovation.value[now], residual[now], flags[now])


def _std(innovation: Innovation, background: Background, cache: AnalysisCache, comm: MPI.Comm) -> np.ndarray:
    """(M,) standard deviation of the background at all readings, without a factor of the day. Collective."""
    n = len(innovation.readings)
    return background_std(background.transform, innovation.operator, n, comm, cache.background_std)


def _quality_flags(
    innovation: Innovation,
    background: Background,
    time: float,
    settings: ObservationSettings,
    factors: Mapping[str, float],
    cache: AnalysisCache,
    comm: MPI.Comm,
) -> np.ndarray:
    """(M,) of Flag's values. Collective.

    factors : {field: factor of background errors} so far
    """
    flags, readings = np.zeros(len(innovation.readings), np.int8), innovation.readings
    lags = (0.0, *(() if background.lagged is None else background.lagged.lags))

    def std() -> np.ndarray:
        return _std(innovation, background, cache, comm) * at_readings(factors, readings.variable)

    for number in range(int(innovation.lag.max(initial=0)) + 1):  # readings of one time are asked beside each other
        of = np.flatnonzero(innovation.lag == number)

        def std_of(of: np.ndarray = of) -> np.ndarray:
            return std()[of]

        marked = [(flag, marks[of]) for flag, marks in (*innovation.flagged, *settings.flagged)]
        flags[of] = control_quality(
            readings.select(of),
            settings.quality,
            background.transfer.grid,
            time - lags[number],
            innovation.value[of],
            std_of,
            marked,
            settings.withheld,
        )
    return flags


@dataclass(frozen=True)
class _Correction:
    """What the minimum adds: increment (n_local,) to the state of now, biases (K,) to those before, in their units."""

    increment: np.ndarray
    biases: np.ndarray


def _correction(minimum: Minimum, innovation: Innovation, n_local: int) -> _Correction:
    increment, names = minimum.analysis.increment, innovation.biases.names
    if not names:
        return _Correction(increment[:n_local], np.zeros(0))
    transform = cast(BiasedTransform, minimum.inputs.transform)
    return _Correction(transform.state_increment(increment), transform.bias(minimum.analysis.control))


@dataclass(frozen=True)
class _Guarded:
    """What the guard lets through: correction and analysis as they count, the readings' (M,) residual, and why."""

    correction: _Correction
    analysis: Analysis
    residual: np.ndarray
    verdict: Verdict | None


def _guarded(
    guard: Guard,
    minimum: Minimum,
    innovation: Innovation,
    flags: np.ndarray,
    background: Background,
    cache: AnalysisCache,
    comm: MPI.Comm,
) -> _Guarded:
    """The correction as far as readings that the analysis did not know bear it out. Collective."""
    correction = _correction(minimum, innovation, background.transfer.n_local)
    residual = innovation.value - _fitted(correction, innovation, comm)
    if guard == "off":
        return _Guarded(correction, minimum.analysis, residual, None)
    verdict = _verdict(guard, minimum, innovation, residual, flags, background, cache, comm)
    by_variable = increment_factors(verdict, background.transfer.variables)
    if np.all(by_variable == 1.0):
        return _Guarded(correction, minimum.analysis, residual, verdict)
    factor = np.tile(by_variable, background.transfer.n_local // len(by_variable))
    inputs = minimum.inputs
    before = fields_of(inputs.readings.variable[inputs.reading_operator.reading[inputs.lag > 0]])
    whole = np.append(factor, [verdict.factor(str(name)) for name in before])
    correction = replace(correction, increment=factor * correction.increment)
    residual = innovation.value - _fitted(correction, innovation, comm)
    return _Guarded(correction, _scaled(minimum, whole, comm), residual, verdict)


def _verdict(
    guard: Guard,
    minimum: Minimum,
    innovation: Innovation,
    residual: np.ndarray,
    flags: np.ndarray,
    background: Background,
    cache: AnalysisCache,
    comm: MPI.Comm,
) -> Verdict:
    """Analysis and forecast at readings left out, and at withheld ones: residual, flags (M,) of all. Collective."""
    near = neighbourhood(background.transfer)
    known = left_out_departures(minimum.inputs, minimum.analysis, near, cache, comm)
    readings = innovation.readings
    withheld = np.flatnonzero((flags == Flag.WITHHELD) & np.isfinite(residual))
    names = fields_of(readings.variable[withheld])
    before, after = (of[withheld] / readings.error[withheld] for of in (innovation.value, residual))
    joined = zip((known.field, known.forecast, known.analysis), (names, before, after), strict=True)
    return judge(Departures(*(np.concatenate(pair) for pair in joined)), guard)


def _scaled(minimum: Minimum, factor: np.ndarray, comm: MPI.Comm) -> Analysis:
    """The analysis with another increment: factor (n_local,) of its state; biases stay. Collective."""
    inputs, increment = minimum.inputs, minimum.analysis.increment
    increment = np.append(factor, np.ones(len(increment) - len(factor))) * increment
    residual = inputs.innovation - inputs.operator.observe(increment)
    misfit, whitened = statistics(residual, comm), inputs.error.whiten(residual)
    observation = comm.allreduce(float(whitened @ whitened))
    return replace(
        minimum.analysis, increment=increment, residual=misfit, chi_squared=observation / max(misfit.count, 1)
    )


def _fitted(correction: _Correction, innovation: Innovation, comm: MPI.Comm) -> np.ndarray:
    """(M,) what the correction explains of the innovation of every reading of now, used or not. Collective."""
    operator = innovation.operator
    at_readings = by_reading(operator, operator.observe_analysis(correction.increment), len(innovation.readings), comm)
    at_readings[innovation.lag > 0] = np.nan
    return at_readings + innovation.biases.at_readings(correction.biases)


def _named(innovation: Innovation, correction: _Correction) -> dict[str, float]:
    biases = innovation.biases
    return {name: float(b) for name, b in zip(biases.names, biases.prior + correction.biases, strict=True)}
