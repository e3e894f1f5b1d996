"""Opening NetCDF files of both kinds."""

import math
from collections.abc import Iterator
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
from scipy.io import netcdf_file

from coupling.common.hdf5 import elsewhere_problem
from plugin.readings.cf import CfVariable, NetcdfSource
from plugin.readings.common import ReadingsError

_HDF5, _CLASSIC = b"\x89HDF\r\n\x1a\n", (b"CDF\x01", b"CDF\x02")
_SMALL = 2**24  # bytes that any variable may claim
_MOST_COMPRESSED = 1100  # deflate makes at most 1,032 bytes of one


def open_source(path: Path) -> NetcdfSource:
    """Read all variables of a NetCDF file's root, and the names of those in groups.

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
    except ReadingsError:
        raise
    # what h5netcdf, h5py and SciPy raise on damaged files
    except (OSError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RuntimeError) as error:
        raise ReadingsError(f"{path}: cannot be read: {error}") from None
    except MemoryError:
        raise ReadingsError(f"{path}: cannot be read: claims more values than memory holds") from None
    raise ReadingsError(f"{path}: begins with {begin!r}, expected NetCDF, classic, 64-bit offset or NetCDF-4")


def _netcdf4(path: Path) -> NetcdfSource:
    with h5py.File(path, "r") as plain:
        if (problem := elsewhere_problem(plain)) is not None:
            raise ReadingsError(f"{path}: {problem}")
    with h5netcdf.File(path, "r") as file:
        for name, of in file.variables.items():
            _affordable(path, name, of)
        variables = {
            name: CfVariable(path, name, tuple(of.dimensions), dict(of.attrs), np.asarray(of[...]))
            for name, of in file.variables.items()
        }
        return NetcdfSource(path, dict(file.attrs), variables, dict(_groups(file)))


def _affordable(path: Path, name: str, variable: h5netcdf.Variable) -> None:
    """Refuse a variable that claims more values than the file can hold, before memory is taken for them."""
    claimed = variable.dtype.itemsize * math.prod(variable.shape)
    stored = variable._h5ds.id.get_storage_size()
    if claimed > _SMALL and claimed > _MOST_COMPRESSED * stored:
        raise ReadingsError(
            f"{path}: {name} claims {variable.shape} values, {claimed / 2**20:,.0f} MiB, of which the file holds "
            f"{stored:,} bytes; expected a file whose values are written"
        )


def _groups(file: h5netcdf.Group, above: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    for name, group in file.groups.items():
        if group.variables:
            yield above + name, tuple(group.variables)
        yield from _groups(group, f"{above}{name}/")


def _classic(path: Path) -> NetcdfSource:
    with netcdf_file(path, "r", mmap=False) as file:
        variables = {
            name: CfVariable(path, name, tuple(of.dimensions), dict(of._attributes), np.array(of.data))
            for name, of in file.variables.items()
        }
        return NetcdfSource(path, dict(file._attributes), variables, {})
