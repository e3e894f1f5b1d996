"""Analyses of ensembles by the names of the case file, and the localisation that they ask for."""

from collections.abc import Callable
from typing import Any

import numpy as np
from mpi4py import MPI

from da.background.localisation import Taper
from da.ensemble.ensemble import EnsembleReadings, EnsembleUpdate
from da.ensemble.envar import Patterns, envar, patterns_of
from da.ensemble.etkf import etkf
from da.ensemble.hybrid import StaticErrors, hybrid
from da.ensemble.letkf import letkf
from da.ensemble.reach import Reach
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError, CycleCase
from plugin.case.ensemble import HybridSection
from plugin.case.localisation import between_matrix, lengths_of
from plugin.case.variables import field_of
from plugin.ensemble.setting import method_of
from plugin.state.transfer import Transfer


def update_by_name(
    case: CycleCase,
    readings: EnsembleReadings,
    transfer: Transfer,
    comm: MPI.Comm,
    static: Callable[[], StaticErrors] | None = None,
) -> EnsembleUpdate:
    """The update by the method that the case names. Collective.

    static : function that gives the static errors of a hybrid analysis at the readings

    Raises
    ------
    ConfigurationError
        if the localisation does not fit the variables, or the method does not know the readings' errors
    MinimisationError
        if the mean of a 4DEnVar or hybrid analysis is not found
    """
    method = method_of(case)
    try:
        if method == "letkf":
            return letkf(readings, _reach(case.background, readings, transfer), comm)
        if method in ("4denvar", "hybrid"):
            patterns = _patterns(case.background, readings, transfer, comm)
            search: dict[str, Any] = {"method": case.minimiser.method, "max_iterations": case.minimiser.max_iterations}
            if method == "4denvar":
                return envar(readings, comm, patterns, **search)
            assert static is not None
            of = case.analysis.hybrid or HybridSection()
            weights = {"static_weight": of.static, "ensemble_weight": of.ensemble}
            return hybrid(readings, comm, static(), patterns, **weights, **search)
        return etkf(readings, comm)
    except ValueError as error:
        raise ConfigurationError(f"analysis.method: {method}: {error}") from error


def check_localisation(settings: BackgroundSection, names: list[str]) -> None:
    """ConfigurationError if lengths or factors between variables do not fit the variables; names of these."""
    _lengths(settings, names)
    _between(settings, names)


def _reach(settings: BackgroundSection, readings: EnsembleReadings, transfer: Transfer) -> Reach:
    """How far readings reach the rows of this rank."""
    names = [v.name for v in transfer.variables]
    position, variable = _rows(transfer)
    between = None if settings.between is None else _between(settings, names)[:, _numbers(readings, names)]
    return Reach(position, variable, *_lengths(settings, names), between)


def _patterns(
    settings: BackgroundSection, readings: EnsembleReadings, transfer: Transfer, comm: MPI.Comm
) -> Patterns | None:
    """Patterns of the localisation; None where there is none. Collective."""
    names = [v.name for v in transfer.variables]
    if settings.localisation is None and settings.between is None:
        return None
    taper = Taper(*_rows(transfer), *_lengths(settings, names), _between(settings, names), 0)
    return patterns_of(taper, readings, _numbers(readings, names), comm)


def _rows(transfer: Transfer) -> tuple[np.ndarray, np.ndarray]:
    """(n_local, 3) places and (n_local,) numbers of the variables of this rank's rows."""
    places, width = transfer.grid.places(transfer.comm), len(transfer.variables)
    return np.repeat(places, width, axis=0), np.tile(np.arange(width), len(places))


def _lengths(settings: BackgroundSection, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(v,) horizontal and vertical lengths [m], infinite where there are none."""
    of = settings.localisation
    try:
        return (
            lengths_of(None if of is None else of.horizontal, names, "localisation.horizontal"),
            lengths_of(None if of is None else of.vertical, names, "localisation.vertical"),
        )
    except ValueError as error:
        raise ConfigurationError(f"background.{error}") from error


def _between(settings: BackgroundSection, names: list[str]) -> np.ndarray:
    """(v, v) factors between variables; ones where the case says nothing, for members know today's covariances."""
    try:
        return between_matrix("sample" if settings.between is None else settings.between, names)
    except ValueError as error:
        raise ConfigurationError(f"background.between: {error}") from error


def _numbers(readings: EnsembleReadings, names: list[str]) -> np.ndarray:
    """(M,) number of each reading's variable among those analysed; of a vector that of its first component."""
    fields = [field_of(name) for name in names]
    return np.array([fields.index(field_of(str(name))) for name in readings.field], dtype=np.int64)
