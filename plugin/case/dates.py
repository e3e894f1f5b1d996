"""Dates of the case file: ISO 8601, and what YAML's own dates allow beside it."""

import re
from datetime import datetime, timedelta, timezone
from typing import Any

_DATE = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})"
    r"(?:(?:T|\s+)(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?\s*(Z|([-+])(\d{1,2})(?::?(\d{2}))?)?)?",
    re.IGNORECASE,
)
_PACKED = re.compile(r"\d{8}(?:T\d{4,6}(?:Z|[-+]\d{2}:?\d{2})?)?")


def parse_date(value: Any) -> datetime:
    """2020-01-31T12:00:00, 2020-1-31 9:00 +2, 20200131 as text or number; without a zone where none is written.

    Raises
    ------
    ValueError
        if it is none of these: 2020 is no date, and no seconds since 1970 either
    """
    text = str(value).strip()
    try:
        if _PACKED.fullmatch(text):
            return datetime.fromisoformat(text)
        match = _DATE.fullmatch(text)
        if match is None:
            raise ValueError
        *numbers, second, zone, sign, hours, minutes = match.groups()
        ahead = timedelta(hours=int(hours or 0), minutes=int(minutes or 0)) * (-1 if sign == "-" else 1)
        year, month, day, hour, minute = (int(number or 0) for number in numbers)
        date = datetime(year, month, day, hour, minute, tzinfo=timezone(ahead) if zone else None)
        return date + timedelta(seconds=_below_60(float(second or 0)))
    except ValueError:
        raise ValueError("expected a date like 2020-01-31T12:00:00") from None


def _below_60(second: float) -> float:
    if second >= 60.0:
        raise ValueError
    return second
