"""What a run keeps of its case file, to see at a resume that it is the same; and the readings that the case names."""

import json

from plugin.configuration import ConfigurationError
from plugin.readings import Choice, read_readings
from plugin.readings.common import SPEED


def settings_of(case):
    """A case's settings as JSON holds them."""
    return json.loads(case.model_dump_json(by_alias=True))


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
        if the case's analysis does not take what is read
    """
    of = case.observations
    readings = read_readings(of.file, Choice(tuple(case.variables), of.names, of.errors, of.epoch))
    speeds = [name for name in readings.variable if name.endswith(f".{SPEED}")]
    if speeds and case.background.transform == "bireduced":
        raise ConfigurationError(
            f"background.transform: bireduced takes values of the variables, and {of.file} has readings of "
            f"{speeds[0]}; leave them out, or take decoded"
        )
    return readings
