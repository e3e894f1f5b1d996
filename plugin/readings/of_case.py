"""The readings that a case names, and whether its analysis can use them."""

from collections import Counter
from collections.abc import Callable, Sequence

from da.observation.observations import Observations
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.observations import ObservationSection
from plugin.readings import Choice, ReadingsError, read_readings
from plugin.readings.common import SPEED
from plugin.readings.error_matrix import check_matrix


def readings_of(case: Case, said: Callable[[str], None] = lambda text: None) -> Observations:
    """The Observations that a case names, those of what it does not analyse left out. Not collective.

    Parameters
    ----------
    case : Case, with observations
    said : function of a text, called once with how many readings are left out

    Raises
    ------
    ReadingsError
        as `plugin.readings.read_readings`; if all readings are of what is not analysed
    ConfigurationError
        if the case's analysis does not take what is read, a station to be withheld is not there, or a given R is none,
        or is of other readings
    """
    of = case.observations
    if of is None:
        raise ConfigurationError("observations: this key is missing")
    others: Counter[str] = Counter()
    readings = read_readings(
        of.file,
        Choice(tuple(case.variables), of.names, of.errors, of.epoch, of.units, lambda name: others.update([name])),
    )
    if others:
        _left_out(of, case.variables, len(readings), others, said)
    speeds = [name for name in readings.variable if name.endswith(f".{SPEED}")]
    if speeds and case.background.transform == "bireduced":
        raise ConfigurationError(
            f"background.transform: bireduced takes values of the variables, and {of.file} has readings of "
            f"{speeds[0]}; leave them out, or take decoded"
        )
    if speeds and of.lagged is not None:
        raise ConfigurationError(
            f"observations.window: lagged takes values of the variables, and {of.file} has readings of {speeds[0]}; "
            "leave them out, or take window: interpolate"
        )
    if of.error_model.matrix is not None:
        check_matrix(of.error_model.matrix)
    stations = readings.station.tolist() if readings.station is not None else []
    unknown = sorted(set(of.withheld) - set(stations))
    if unknown:
        raise ConfigurationError(
            f"observations.withheld: {of.file} has no station {unknown[0]!r} with readings of what is analysed"
        )
    return readings


def _left_out(
    of: ObservationSection, variables: Sequence[str], n_kept: int, others: Counter[str], said: Callable[[str], None]
) -> None:
    """Say, or refuse, that a file has readings of what is not analysed."""
    n_others = others.total()
    names = ", ".join(f"{name} ({count})" for name, count in sorted(others.items())[:10])
    names += f" and {len(others) - 10} others" if len(others) > 10 else ""
    if n_kept == 0:
        raise ReadingsError(
            f"{of.file}: none of its {n_others} readings is of what is analysed; it has {names}, variables are "
            f"{list(variables)}; name others, or map them by observations.names"
        )
    if of.error_model.matrix is not None:
        raise ConfigurationError(
            f"observations.error_model.matrix: has a row for each reading, and {n_others} of {of.file} are of what is "
            f"not analysed: {names}; take them out of both"
        )
    said(f"{of.file}: {n_others} of {n_kept + n_others} readings are left out, of what is not analysed: {names}")
