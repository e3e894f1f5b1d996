"""Units of measurement as UDUNITS and CF write them: `m s-1`, `km/h`, `ug m-3`, `degC`, `1e-6`.

Only what instruments of flow, weather and air quality use is known; an unknown unit is an error, never a guess.
"""

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

_PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "h": 1e2, "da": 1e1, "d": 1e-1, "c": 1e-2, "m": 1e-3} | {
    **dict.fromkeys(("u", "µ", "μ"), 1e-6),
    "n": 1e-9,
    "p": 1e-12,
}
_LONG_PREFIXES = {"giga": 1e9, "mega": 1e6, "kilo": 1e3, "hecto": 1e2, "centi": 1e-2, "milli": 1e-3, "micro": 1e-6} | {
    "nano": 1e-9
}
# (symbols that take a prefix, long names that take a long prefix, factor, powers of the base units)
_SCALABLE: tuple[tuple[str, str, float, dict[str, int]], ...] = (
    ("m", "metre meter", 1.0, {"m": 1}),
    ("g", "gram gramme", 1e-3, {"kg": 1}),
    ("s", "second", 1.0, {"s": 1}),
    ("K", "kelvin", 1.0, {"K": 1}),
    ("mol", "mole", 1.0, {"mol": 1}),
    ("N", "newton", 1.0, {"kg": 1, "m": 1, "s": -2}),
    ("Pa", "pascal", 1.0, {"kg": 1, "m": -1, "s": -2}),
    ("bar", "", 1e5, {"kg": 1, "m": -1, "s": -2}),
    ("J", "joule", 1.0, {"kg": 1, "m": 2, "s": -2}),
    ("W", "watt", 1.0, {"kg": 1, "m": 2, "s": -3}),
    ("Hz", "hertz", 1.0, {"s": -1}),
    ("Bq", "becquerel", 1.0, {"Bq": 1}),
    ("l L", "litre liter", 1e-3, {"m": 3}),
)
_PLAIN: tuple[tuple[str, float, dict[str, int]], ...] = (
    ("sec secs", 1.0, {"s": 1}),
    ("msec msecs millisec millisecs", 1e-3, {"s": 1}),
    ("usec usecs microsec microsecs", 1e-6, {"s": 1}),
    ("nsec nsecs nanosec nanosecs", 1e-9, {"s": 1}),
    ("min mins minute minutes", 60.0, {"s": 1}),
    ("h hr hrs hour hours", 3600.0, {"s": 1}),
    ("d day days", 86400.0, {"s": 1}),
    ("week weeks", 604800.0, {"s": 1}),
    ("ft foot feet", 0.3048, {"m": 1}),
    ("inch inches", 0.0254, {"m": 1}),
    ("mile miles", 1609.344, {"m": 1}),
    ("nautical_mile nautical_miles nmi nmile", 1852.0, {"m": 1}),
    ("knot knots knot_international kt kts kn", 1852.0 / 3600.0, {"m": 1, "s": -1}),
    ("mph", 0.44704, {"m": 1, "s": -1}),
    ("t tonne tonnes", 1e3, {"kg": 1}),
    ("atm", 101325.0, {"kg": 1, "m": -1, "s": -2}),
    ("percent %", 1e-2, {}),
    ("ppm ppmv", 1e-6, {}),
    ("ppb ppbv", 1e-9, {}),
    ("rad radian radians", 1.0, {"rad": 1}),
    ("deg degree degrees °", 0.017453292519943295, {"rad": 1}),
    ("degK degreeK degree_K degree_kelvin", 1.0, {"K": 1}),
)
_CELSIUS = "degC deg_C degreeC degree_C degree_Celsius degrees_Celsius degrees_C celsius Celsius °C"
_FAHRENHEIT = "degF deg_F degreeF degree_F degree_Fahrenheit degrees_F fahrenheit Fahrenheit °F"


class UnitError(ValueError):
    """A unit that is not known, or not of the kind that is needed; the message quotes it."""


@dataclass(frozen=True)
class Unit:
    """value in base units = factor · value + offset; powers : ((base unit, power), …), sorted."""

    factor: float
    offset: float
    powers: tuple[tuple[str, int], ...]


class Conversion(NamedTuple):
    """value in the new unit = factor · value + offset; differences and errors take the factor alone."""

    factor: float
    offset: float


def _table() -> dict[str, Unit]:
    table: dict[str, Unit] = {}
    for symbols, names, factor, powers in _SCALABLE:
        kind = tuple(sorted(powers.items()))
        for symbol in symbols.split():
            table |= {prefix + symbol: Unit(by * factor, 0.0, kind) for prefix, by in _PREFIXES.items()}
            table[symbol] = Unit(factor, 0.0, kind)
        for name in names.split():
            for prefix, by in {"": 1.0, **_LONG_PREFIXES}.items():
                table |= {prefix + name + end: Unit(by * factor, 0.0, kind) for end in ("", "s")}
    for words, factor, powers in _PLAIN:
        table |= {word: Unit(factor, 0.0, tuple(sorted(powers.items()))) for word in words.split()}
    table |= {word: Unit(1.0, 273.15, (("K", 1),)) for word in _CELSIUS.split()}
    table |= {word: Unit(5.0 / 9.0, 459.67 * 5.0 / 9.0, (("K", 1),)) for word in _FAHRENHEIT.split()}
    return table


_UNITS = _table()
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_NUMBER = re.compile(
    r"(?:10(?:\^|\*\*)(?P<power>[+-]?\d{1,3}))|[+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?(?![A-Za-z°%µμ])"
)
_FACTOR = re.compile(r"(?P<name>[A-Za-z_°µμ%]+)(?:(?:\^|\*\*)?(?P<power>[+-]?\d))?")
_LINK = re.compile(r"\s*(?P<divide>/|\bper\b)\s*|\s*[*·.×]\s*|\s+")


def unit(text: str) -> Unit:
    """A unit's text as factor, offset and powers of base units.

    Raises
    ------
    UnitError
        if a part of it is not known, or a unit with an offset (degC) stands in a product
    """
    words = text.strip().translate(_SUPERSCRIPTS)
    if words in _UNITS:
        return _UNITS[words]
    powers: dict[str, int] = {}
    factor, place, sign, parts, offset = 1.0, 0, 1, 0, 0.0
    while place < len(words):
        link = _LINK.match(words, place) if parts else None
        if link:
            sign, place = (-1 if link["divide"] else 1), link.end()
        elif parts:
            raise UnitError(f"unit {text!r} is not known")
        number, name = _NUMBER.match(words, place), _FACTOR.match(words, place)
        if number:
            value = float(f"1e{number['power']}" if number["power"] else number[0])
            if not 0.0 < value < math.inf:
                raise UnitError(f"unit {text!r} has the factor {number[0]}, expected one above zero")
            factor, place = factor * value**sign, number.end()
        elif name and name["name"] in _UNITS:
            known, power = _UNITS[name["name"]], sign * int(name["power"] or 1)
            factor, offset, place = factor * known.factor**power, offset or known.offset, name.end()
            for base, by in known.powers:
                powers[base] = powers.get(base, 0) + by * power
        else:
            raise UnitError(f"unit {text!r} is not known")
        parts += 1
    if not 0.0 < factor < math.inf:
        raise UnitError(f"unit {text!r} is too large or too small a factor of base units")
    if offset:
        raise UnitError(f"unit {text!r} is a product with a temperature that has a zero of its own, write it with K")
    return Unit(factor, 0.0, tuple(sorted((base, power) for base, power in powers.items() if power)))


@lru_cache(maxsize=256)
def conversion(text: str, to: str) -> Conversion:
    """How values in one unit become values in another. The same text twice needs no known unit.

    Raises
    ------
    UnitError
        if one of them is not known, or they are of different kinds
    """
    if text.strip() == to.strip():
        return Conversion(1.0, 0.0)
    old, new = unit(text), unit(to)
    if old.powers != new.powers:
        raise UnitError(f"unit {text!r} cannot be converted to {to!r}")
    return Conversion(old.factor / new.factor, (old.offset - new.offset) / new.factor)
