"""Times of the CF conventions: `milliseconds since 2020-1-31 12:00:0.0 +2:00`, and the calendars that clocks show."""

import re
from datetime import UTC, datetime

import cftime
import numpy as np

from plugin.readings.cf import CfVariable, text
from plugin.readings.common import ReadingsError
from plugin.readings.units import UnitError, conversion

_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
# As UDUNITS reads them; cftime's own reader takes an hour without minutes, or a zone like +2:00, for nothing
_DATE = re.compile(
    r"(?P<year>[+-]?\d{1,4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:(?:\s*T\s*|\s+)(?P<hour>\d{1,2})(?::(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?P<part>\.\d*)?)?)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE,
)
_PACKED = re.compile(
    r"(?P<year>\d{4})(?P<month>\d{2})(?P<day>\d{2})"
    r"(?:\s*T?\s*(?P<hour>\d{2})(?P<minute>\d{2})?(?P<second>\d{2})?(?P<part>\.\d*)?)?"
    r"\s*(?P<zone>Z|UTC|GMT|[+-]\d{1,2}(?::?\d{2})?)?",
    re.IGNORECASE,
)


def seconds(variable: CfVariable, epoch: datetime | None) -> np.ndarray:
    """Times as seconds of the simulation.

    Parameters
    ----------
    variable : in a unit of time, of the simulation, or since a date; in seconds of the simulation without units
    epoch : the simulation's zero, needed for times since a date; without a zone it is UTC

    Raises
    ------
    ReadingsError
        if unit, date or calendar cannot be understood, or there is no epoch to compare a date with
    """
    unit, where = variable.unit() or "s", f"{variable.path}: {variable.name}"
    measure, since, date = (re.split(r"\b(since|after|from|ref)\b", unit, maxsplit=1, flags=re.I) + ["", ""])[:3]
    factor = _factor(measure.strip())
    if factor is None:
        raise ReadingsError(
            f"{where} is in {unit!r}, expected seconds, or another unit of time of fixed length, or one of them since "
            "a date"
        )
    values = variable.numbers()
    if not since:
        return factor * values
    if epoch is None:
        raise ReadingsError(
            f"{where} is in {unit!r}, and which date the simulation's time zero is is not known; "
            "give it in the case file (observations: epoch: 2020-01-31T12:00:00)"
        )
    calendar = text(variable.attributes.get("calendar", "standard")).lower()
    if calendar not in _CALENDARS:
        raise ReadingsError(f"{where} has calendar {calendar!r}, expected one of {', '.join(_CALENDARS)}")
    # subtracted in the file's own unit, where milliseconds since 1970 are whole numbers
    return factor * (values - _before_epoch(date.strip(), epoch, calendar, where) / factor)


def _factor(measure: str) -> float | None:
    """Seconds that a unit of time has; None if it is none."""
    for word in (measure, measure.lower()):
        try:
            return conversion(word, "s").factor
        except UnitError:
            continue
    return None


def _before_epoch(words: str, epoch: datetime, calendar: str, where: str) -> float:
    """Seconds from the date that a file counts from to the simulation's zero."""
    match = _DATE.fullmatch(words) or _PACKED.fullmatch(words)
    try:
        if match is None:
            raise ValueError
        part = match.groupdict("0")
        numbers = [int(part[name]) for name in ("year", "month", "day", "hour", "minute", "second")]
        date = cftime.datetime(*numbers, calendar=calendar)
        zone = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})?", part["zone"])
        ahead = 0.0 if zone is None else float(f"{zone[1]}1") * (3600 * int(zone[2]) + 60 * int(zone[3] or 0))
        zero = (epoch if epoch.tzinfo else epoch.replace(tzinfo=UTC)).astimezone(UTC)
        since = cftime.datetime(*zero.timetuple()[:6], microsecond=zero.microsecond, calendar=calendar) - date
    except (ValueError, OverflowError):
        raise ReadingsError(f"{where} counts since {words!r}, expected a date like 2020-01-31 12:00:00") from None
    return since.total_seconds() + ahead - float("0" + part["part"])
