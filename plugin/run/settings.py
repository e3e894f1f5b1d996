"""What a run keeps of its case file, to see at a resume that it is the same; and the readings that the case names."""

import json

from plugin.case.configuration import ConfigurationError
from plugin.readings import Choice, read_readings
from plugin.readings.common import SPEED
from plugin.window.observation_operator import check_matrix


def settings_of(case):
    """A case's settings as JSON holds them."""
    return json.loads(case.model_dump_json(by_alias=True))


def kept_settings(path):
    """What a run has kept of its case file, as JSON holds it. Not collective.

    Raises
    ------
    ConfigurationError
        if the file is not what was written
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not what was written ({error}); restore it, or start a new run") from None


def first_difference(now, earlier):
    """Name of the first section that is not as it was; None if all are."""
    return next((name for name in now if now[name] != earlier.get(name)), None)


def readings_of(case):
    """The Observations that a case names. Not collective.

    Raises
    ------
    ReadingsError
        as `plugin.readings.read_readings`
    ConfigurationError
        if the case's analysis does not take what is read, a station to be withheld is not there, or a given R is none
    """
    of = case.observations
    readings = read_readings(of.file, Choice(tuple(case.variables), of.names, of.errors, of.epoch))
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
