"""The readings that a case names, and whether its analysis can use them."""

from da.observation.observations import Observations
from plugin.case.configuration import Case, ConfigurationError
from plugin.readings import Choice, read_readings
from plugin.readings.common import SPEED
from plugin.readings.error_matrix import check_matrix


def readings_of(case: Case) -> Observations:
    """The Observations that a case names. Not collective.

    Raises
    ------
    ReadingsError
        as `plugin.readings.read_readings`
    ConfigurationError
        if the case's analysis does not take what is read, a station to be withheld is not there, or a given R is none
    """
    of = case.observations
    readings = read_readings(of.file, Choice(tuple(case.variables), of.names, of.errors, of.epoch, of.units))
    speeds = [name for name in readings.variable if name.endswith(f".{SPEED}")]
    if speeds and case.background.transform == "bireduced":
        raise ConfigurationError(
            f"background.transform: bireduced takes values of the variables, and {of.file} has readings of "
            f"{speeds[0]}; leave them out, or take decoded"
        )
    if of.error_model.matrix is not None:
        check_matrix(of.error_model.matrix)
    unknown = sorted(set(of.withheld) - set(readings.station.tolist()))
    if unknown:
        raise ConfigurationError(f"observations.withheld: {of.file} has no station {unknown[0]!r}")
    return readings
