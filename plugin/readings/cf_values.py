"""Raw values of a NetCDF variable as numbers: signs, missing values, valid range and packing (CF-1.11, 2.5 and 8.1).

xarray decodes some of this, but not NetCDF's default fill values, `valid_min`, `valid_max` and `valid_range`, nor a
missing value of another type than the data's.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

# NetCDF's fill values where there is no _FillValue (netcdf.h); single bytes have none
_DEFAULT_FILL: dict[str, float | int] = {
    "i2": -32767,
    "u2": 65535,
    "i4": -2147483647,
    "u4": 4294967295,
    "i8": -9223372036854775806,
    "u8": 18446744073709551614,
    "f4": 9.9692099683868690e36,
    "f8": 9.9692099683868690e36,
}
_SAME_FLOAT = float(np.finfo(np.float32).eps)


def unpacked(raw: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Values in the file's units, float64, NaN where missing or not valid.

    Parameters
    ----------
    raw : numbers as they lie in the file
    attributes : the variable's; `_Unsigned`, `_FillValue`, `missing_value`, `valid_*`, `scale_factor` and `add_offset`
        are looked at

    Raises
    ------
    ValueError
        if the values, or one of these attributes, are no numbers
    """
    stored = signed_as_meant(raw, attributes)
    packing = [number for name in ("scale_factor", "add_offset") for number in _numbers(name, attributes, stored)]
    scale = float(_one("scale_factor", attributes, stored, 1.0))
    if scale == 0.0:
        raise ValueError("scale_factor is 0, with which all values would be the same; expected another number")
    offset = float(_one("add_offset", attributes, stored, 0.0))
    values = stored.astype(np.float64) * scale + offset
    wider = packing and np.result_type(*packing).kind == "f" and stored.dtype.kind in "iu"

    def of_packed(limits: np.ndarray) -> bool:
        # the NetCDF user's guide: of the unpacked values' type, which is wider, a limit is one of them
        return not (wider and limits.dtype.kind == "f")

    missing = np.zeros(stored.shape, bool)
    fills = [_numbers(name, attributes, stored) for name in ("_FillValue", "missing_value")]
    if not len(fills[0]) and (default := _DEFAULT_FILL.get(f"{stored.dtype.kind}{stored.dtype.itemsize}")) is not None:
        fills.append(np.array([default], stored.dtype))
    for fill in fills:
        missing |= _equal(stored, fill)
        if not of_packed(fill):
            missing |= np.isclose(values[..., None], fill.astype(np.float64), rtol=1e-6, atol=0.0).any(axis=-1)
    for name, low, high in (("valid_range", 0, 1), ("valid_min", 0, None), ("valid_max", None, 0)):
        limits = _numbers(name, attributes, stored)
        if not len(limits):
            continue
        if len(limits) != (2 if name == "valid_range" else 1):
            raise ValueError(f"{name} is {limits.tolist()}, expected {'two numbers' if high == 1 else 'one number'}")
        compared, limits = (stored, _as_type(limits, stored.dtype)) if of_packed(limits) else (values, limits)
        if low is not None:
            missing |= compared < limits[low]
        if high is not None:
            missing |= compared > limits[high]
    return np.where(missing, np.nan, values)


def signed_as_meant(raw: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    """Integers with the sign that `_Unsigned` gives them: NetCDF-3 has no unsigned types.

    Raises
    ------
    ValueError
        if the values are no numbers
    """
    stored = np.asarray(raw)
    if stored.dtype.kind not in "fiu":
        raise ValueError("holds no numbers")
    return _with_sign(stored, attributes)


def _with_sign(values: np.ndarray, attributes: Mapping[str, Any]) -> np.ndarray:
    unsigned = {"true": "u", "false": "i"}.get(_word(attributes.get("_Unsigned", "")).lower())
    if unsigned is None or values.dtype.kind not in "iu":
        return values
    return values.astype(values.dtype.newbyteorder("=")).view(f"{unsigned}{values.dtype.itemsize}")


def _word(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.item()
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _numbers(name: str, attributes: Mapping[str, Any], stored: np.ndarray) -> np.ndarray:
    """The numbers of an attribute, (k,); none if it is not there."""
    if name not in attributes:
        return np.zeros(0)
    numbers = np.ravel(np.asarray(attributes[name]))
    if numbers.dtype.kind not in "fiu":
        try:
            numbers = np.array([float(word) for word in _word(attributes[name]).replace(",", " ").split()])
        except ValueError:
            raise ValueError(f"{name} is {_word(attributes[name])!r}, expected a number") from None
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == stored.dtype.itemsize:
        numbers = _with_sign(numbers, attributes)
    return numbers


def _one(name: str, attributes: Mapping[str, Any], stored: np.ndarray, usual: float) -> float:
    numbers = _numbers(name, attributes, stored)
    if name in attributes and not (len(numbers) == 1 and np.isfinite(numbers[0])):
        raise ValueError(f"{name} is {numbers.tolist()}, expected one finite number")
    return numbers[0] if len(numbers) else usual


def _equal(stored: np.ndarray, fills: np.ndarray) -> np.ndarray:
    """Where a value is one of these, compared with no more digits than a float32 has: either may once have been one."""
    equal = np.zeros(stored.shape, bool)
    for fill in fills:
        if fill.dtype.kind == "f" and not np.isfinite(fill):
            continue  # what is not finite is missing by itself
        if stored.dtype.kind == "f":
            equal |= np.isclose(stored.astype(np.float64), float(fill), rtol=_SAME_FLOAT, atol=0.0)
        # as whole numbers: a float has not all digits of one of 64 bits
        elif fill == int(fill) and np.iinfo(stored.dtype).min <= int(fill) <= np.iinfo(stored.dtype).max:
            equal |= stored == stored.dtype.type(int(fill))
    return equal


def _as_type(limits: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Limits rounded to the data's own type where that is of floats: 0.3 as float32 lies within 0.3."""
    with np.errstate(over="ignore"):
        return limits.astype(dtype) if dtype.kind == "f" else limits
