"""Files of readings in NetCDF, made for tests: both kinds of file, any variables and attributes."""

import h5netcdf
import numpy as np
from scipy.io import netcdf_file

from plugin.readings import Choice, read_readings

NOTHING = Choice()
AXES = {
    "time": {"standard_name": "time", "units": "s"},
    "x": {"standard_name": "projection_x_coordinate", "units": "m"},
    "y": {"axis": "Y", "units": "m"},
    "z": {"units": "m"},
}


def write_netcdf(path, kind, variables, **attributes):
    """variables : {name: (dimensions, values, attributes)}"""
    attributes = {"featureType": "timeSeries", **attributes}
    sizes = {d: n for dims, values, _ in variables.values() for d, n in zip(dims, np.shape(values), strict=True)}
    if kind == "classic":
        with netcdf_file(path, "w") as file:
            for name, value in attributes.items():
                setattr(file, name, value)
            for name, size in sizes.items():
                file.createDimension(name, size)
            for name, (dims, values, own) in variables.items():
                values = np.asarray(values)
                made = file.createVariable(name, {"f": "d", "i": "i", "S": "c"}[values.dtype.kind], dims)
                made[...] = values
                for key, value in own.items():
                    setattr(made, key, value)
        return path
    with h5netcdf.File(path, "w") as file:
        file.attrs.update(attributes)
        file.dimensions = sizes
        for name, (dims, values, own) in variables.items():
            values, own = np.asarray(values), dict(own)
            made = file.create_variable(name, dims, values.dtype, fillvalue=own.pop("_FillValue", None))
            made[...] = values
            made.attrs.update(own)
    return path


def points(**changed):
    given = {
        "time": (("obs",), [2.0, 1.0], AXES["time"]),
        **{axis: (("obs",), [k + 1.0, k + 2.0], AXES[axis]) for k, axis in enumerate("xyz")},
        "Tracer": (("obs",), [0.1, 0.2], {}),
        "Tracer_error": (("obs",), [0.01, 0.02], {}),
    }
    return {**given, **changed}


def read_points(tmp_path, variables, choice=NOTHING, kind="netcdf4", **attributes):
    attributes = {"featureType": "trajectory", **attributes}
    return read_readings(write_netcdf(tmp_path / "a.nc", kind, variables, **attributes), choice)
