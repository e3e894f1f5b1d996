"""Opening NetCDF files of both kinds."""

import h5netcdf
import numpy as np
from scipy.io import netcdf_file

from plugin.readings.cf import CfVariable, NetcdfSource
from plugin.readings.common import ReadingsError

_HDF5, _CLASSIC = b"\x89HDF\r\n\x1a\n", (b"CDF\x01", b"CDF\x02")


def open_source(path):
    """Read all of a NetCDF file.

    Returns
    -------
    NetcdfSource

    Raises
    ------
    ReadingsError
        if the file cannot be read, or is no NetCDF
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(8)
        if begin == _HDF5:
            return _netcdf4(path)
        if begin[:4] in _CLASSIC:
            return _classic(path)
    except (OSError, KeyError, TypeError, ValueError, IndexError) as error:
        raise ReadingsError(f"{path}: cannot be read: {error}") from None
    raise ReadingsError(f"{path}: begins with {begin!r}, expected NetCDF, classic, 64-bit offset or NetCDF-4")


def _netcdf4(path):
    with h5netcdf.File(path, "r") as file:
        variables = {
            name: CfVariable(name, tuple(of.dimensions), dict(of.attrs), np.asarray(of[...]))
            for name, of in file.variables.items()
        }
        return NetcdfSource(path, dict(file.attrs), variables)


def _classic(path):
    with netcdf_file(path, "r", mmap=False) as file:
        variables = {
            name: CfVariable(name, tuple(of.dimensions), dict(of._attributes), np.array(of.data))
            for name, of in file.variables.items()
        }
        return NetcdfSource(path, dict(file._attributes), variables)
