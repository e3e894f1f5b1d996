"""Readings from NetCDF files of CF's discrete sampling geometries (CF-1.11, chapter 9).

Points, time series, trajectories and profiles, as multidimensional arrays (complete or not) or as
ragged ones (contiguous or indexed). NetCDF-4 is read through h5netcdf, so that no second HDF5 library
enters the process beside h5py's parallel one; classic NetCDF through SciPy.

Coordinates are known by `standard_name` (time, projection_x_coordinate, projection_y_coordinate, height,
altitude or depth), else by `axis`, else by the names time, x, y, z, else, for z, by the attribute `positive`.
They are the mesh's, in units of length: degrees are refused. What is positive downwards changes its sign.
Units of values are converted to the model's. The standard deviation of an error is an ancillary variable whose standard
name ends in `standard_error`, or a variable NAME_error, or the case file's.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from da.observation.observations import Observations
from plugin.readings.cf import CfVariable, NetcdfSource, aligned, in_metres, instances, text, upwards
from plugin.readings.cf_time import seconds
from plugin.readings.common import NO_CHOICE, Choice, ReadingsError, joined
from plugin.readings.names import clean_name, clean_names
from plugin.readings.netcdf_files import open_source

_COORDINATES = {
    "time": (("time",), "T"),
    "x": (("projection_x_coordinate",), "X"),
    "y": (("projection_y_coordinate",), "Y"),
    "z": (
        ("height", "altitude", "height_above_mean_sea_level", "height_above_reference_ellipsoid", "depth"),
        "Z",
    ),
}
_FEATURES = ("point", "timeseries", "trajectory", "profile", "timeseriesprofile", "trajectoryprofile")
_STANDARD = {
    "x_wind": "Velocity.x",
    "y_wind": "Velocity.y",
    "eastward_wind": "Velocity.x",
    "northward_wind": "Velocity.y",
    "upward_air_velocity": "Velocity.z",
    "downward_air_velocity": "Velocity.z",
    "wind_speed": "Velocity.speed",
}


@dataclass(frozen=True)
class _Frame:
    """The coordinate variables of a file, by time, x, y, z; and its stations' names, or None."""

    coordinates: dict[str, CfVariable]
    station: CfVariable | None


def read_netcdf(path: str | Path, choice: Choice = NO_CHOICE) -> Observations:
    """Read the readings of a NetCDF file of discrete sampling geometries.

    Parameters
    ----------
    path : the file
    choice : Choice. A data variable's name is the case's variable, unless `names` maps it or its standard name is
        one of the wind's; those that are not wanted are left alone

    Returns
    -------
    Observations; stations are of the variable with a `cf_role`. Missing values are left out

    Raises
    ------
    ReadingsError
        naming file and variable, what was found and what was expected
    """
    path = Path(path)
    source = open_source(path)
    _not_in_groups(source, choice)
    feature = text(source.attributes.get("featureType", "point"))
    if feature.lower() not in _FEATURES:
        raise ReadingsError(f"{path}: featureType is {feature!r}, expected one of {', '.join(_FEATURES)}")
    frame = _frame(source)
    special = {id(v) for v in (*frame.coordinates.values(), frame.station)}
    chosen = {
        name: known
        for name, variable in source.variables.items()
        if (known := _wanted(choice, name, text(variable.attributes.get("standard_name", ""))))
        and _is_data(source, name, special)
    }
    if not chosen:
        raise ReadingsError(
            f"{path}: no wanted variable; found {sorted(source.variables)}, expected {choice.variables or 'readings'}"
        )
    _each_once(path, chosen, choice)
    return joined([_readings(source, frame, name, known, choice) for name, known in chosen.items()])


def _each_once(path: Path, chosen: dict[str, str], choice: Choice) -> None:
    """Refuse two variables that are the case's same one and would count twice, unless the case itself maps both."""
    for known in set(chosen.values()):
        same = [name for name, of in chosen.items() if of == known]
        if len(same) > 1 and not all(name in choice.names for name in same):
            raise ReadingsError(
                f"{path}: {' and '.join(same)} are both {known}; map those to be read to it by observations.names, and "
                "others to a name that is not analysed"
            )


def _not_in_groups(source: NetcdfSource, choice: Choice) -> None:
    """Refuse a file whose readings, or coordinates, lie in groups: only the root's variables are read."""
    known = set(_COORDINATES) | {name for of in source.groups.values() for name in of if _wanted(choice, name)}
    within = {group: [name for name in names if name in known] for group, names in source.groups.items()}
    if any(within.values()) or (source.groups and not source.variables):
        has = "; ".join(f"{group}: {', '.join(names)}" for group, names in source.groups.items())
        raise ReadingsError(
            f"{source.path}: its variables lie in groups ({has}), and only those of the root are read; copy them "
            "there, time, x, y, z, the values under the variable's name and their errors as NAME_error"
        )


def _wanted(choice: Choice, name: str, standard: str = "") -> str | None:
    """The case's name of a file's variable, None if the case does not want it."""
    known = choice.names.get(name) or _STANDARD.get(standard, name)
    return known if choice.wants(known) else None


def _is_data(source, name, special):
    variable = source.variables[name]
    helper = {"sample_dimension", "instance_dimension", "cf_role"} & set(variable.attributes)
    is_error = _error_names(source) & {name}
    return (
        bool(variable.dimensions)
        and variable.values.dtype.kind in "fiu"
        and id(variable) not in special
        and not (helper or is_error)
    )


def _error_names(source):
    """Names of variables that hold the errors of others."""
    return {other for name in source.variables for other in [_error_name(source, name)] if other}


def _error_name(source, name):
    listed = text(source.variables[name].attributes.get("ancillary_variables", "")).split()
    for other in listed:
        if other not in source.variables:
            raise ReadingsError(f"{source.path}: {name} has the ancillary variable {other!r}, which is not in the file")
        if text(source.variables[other].attributes.get("standard_name", "")).endswith("standard_error"):
            return other
    return f"{name}_error" if f"{name}_error" in source.variables else None


def _frame(source: NetcdfSource) -> _Frame:
    coordinates = {}
    for role, (standard, axis) in _COORDINATES.items():
        matches = _of_role(source, role, standard, axis)
        if len(matches) != 1:
            raise ReadingsError(f"{source.path}: {_no_coordinate(source, role, standard, axis, matches)}")
        coordinates[role] = matches[0]
    identity = [v for v in source.variables.values() if "cf_role" in v.attributes]
    return _Frame(coordinates, identity[0] if identity else None)


def _of_role(source: NetcdfSource, role: str, standard: tuple[str, ...], axis: str) -> list[CfVariable]:
    """The variables that the first way that knows any takes for a coordinate."""
    variables = list(source.variables.values())
    return (
        [v for v in variables if text(v.attributes.get("standard_name", "")) in standard]
        or [v for v in variables if text(v.attributes.get("axis", "")).upper() == axis]
        or [v for v in variables if v.name.lower() == role]
        or [v for v in variables if role == "z" and "positive" in v.attributes]
    )


def _no_coordinate(source, role, standard, axis, matches):
    expected = f"expected one variable with standard_name {standard[0]!r}, axis {axis!r}, or the name {role!r}"
    if matches:
        return f"{len(matches)} variables for {role} ({', '.join(v.name for v in matches)}), {expected}"
    kinds = {text(v.attributes.get("standard_name", "")) for v in source.variables.values()}
    if role in "xy" and {"longitude", "latitude"} & kinds:
        return f"places are in degrees; {expected}, in metres of the mesh"
    return f"no variable for {role}; found {sorted(source.variables)}, {expected}"


def _readings(source, frame, name, known, choice):
    """Observations' arrays of one data variable."""
    data = source.variables[name]
    where = f"{source.path}, variable {name!r}"
    index = instances(source, data)
    unit = data.unit()
    to_model = choice.to_model(known, unit, where)
    value = (to_model.factor * data.numbers() + to_model.offset).ravel()
    if known.endswith(".z"):
        value = upwards(data) * value
    kept = np.isfinite(value)

    def along(variable, values):
        return aligned(variable, values, data, index).ravel()[kept]

    columns = {}
    for role, variable in frame.coordinates.items():
        converted = seconds(variable, choice.epoch) if role == "time" else in_metres(variable)
        if role == "z":
            converted = upwards(variable) * converted
        columns[role] = along(variable, converted)
        bad = np.flatnonzero(~np.isfinite(columns[role]))
        if len(bad):
            row = np.flatnonzero(kept)[bad[0]]
            raise ReadingsError(f"{where}: reading {row} has a value but its {variable.name} is missing")
    n = int(kept.sum())
    station, instrument = np.full(n, ""), clean_name(text(data.attributes.get("instrument", "")), where)
    if frame.station is not None:
        station = clean_names(
            along(frame.station.without_letters(), frame.station.words()),
            f"{source.path}, variable {frame.station.name!r}",
        )
    return {
        "time": columns["time"],
        "position": np.column_stack([columns[role] for role in "xyz"]),
        "variable": np.full(n, known),
        "value": value[kept],
        "error": _errors(source, name, known, along, n, choice, where),
        "station": station,
        "instrument": np.full(n, instrument),
    }


def _errors(source, name, known, along, n, choice, where):
    other = _error_name(source, name)
    if other is None:
        return np.full(n, choice.error_of(known, where))
    variable = source.variables[other]
    # a difference: degC of an error are K; one without units has those of its data
    unit = variable.unit() or source.variables[name].unit()
    error = along(
        variable, choice.to_model(known, unit, f"{source.path}, variable {other!r}").factor * variable.numbers()
    )
    bad = np.flatnonzero(~(np.isfinite(error) & (error > 0.0)))
    if len(bad):
        raise ReadingsError(
            f"{where}: {other} is {error[bad[0]]} for the reading number {bad[0]}, expected a standard deviation above "
            "zero"
        )
    return error
