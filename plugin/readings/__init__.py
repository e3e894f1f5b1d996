"""Sensor readings from files: CSV tables, NetCDF of CF's discrete sampling geometries, Fluidity's detectors.

Each reader gives Observations, ordered by time: seconds of the simulation, metres, names as in the case
file (`Tracer`, `Velocity.x`, and `Velocity.speed` for wind speed).
"""

from pathlib import Path

import numpy as np

from da.observation.observations import Observations
from plugin.readings.common import NO_CHOICE, Choice, ReadingsError
from plugin.readings.detectors import read_detectors
from plugin.readings.h5part import read_h5part
from plugin.readings.netcdf import read_netcdf
from plugin.readings.table import read_table

__all__ = ["Choice", "ReadingsError", "read_readings"]

_READERS = {
    ".nc": read_netcdf,
    ".nc4": read_netcdf,
    ".cdf": read_netcdf,
    ".detectors": read_detectors,
    ".h5part": read_h5part,
}


def read_readings(path: str | Path, choice: Choice = NO_CHOICE) -> Observations:
    """Read a file of sensor readings; its suffix names the format, CSV where it is none of the others'.

    Parameters
    ----------
    path : .nc, .nc4 or .cdf (NetCDF), .detectors or .detectors.h5part (Fluidity), or CSV
    choice : Choice, what the file leaves open

    Returns
    -------
    Observations, ordered by time

    Raises
    ------
    ReadingsError
        naming file, row or variable, what was found and what was expected
    """
    path = Path(path)
    readings = _READERS.get(path.suffix.lower(), read_table)(path, choice)
    return readings.select(np.argsort(readings.time, kind="stable"))
