"""Readings from NetCDF of CF's discrete sampling geometries, both kinds of file."""

from datetime import datetime

import numpy as np
import pytest
from netcdf_readings import AXES, points, read_points, write_netcdf

from plugin.readings import Choice, ReadingsError, read_readings

# Debian's h5py is older than its numpy
pytestmark = pytest.mark.filterwarnings("ignore:`product` is deprecated:DeprecationWarning")


def _told(found):
    columns = found.time, found.position.tolist(), found.value, found.station, found.error
    return [(t, *p, v, s, e) for t, p, v, s, e in zip(*columns, strict=True)]


NAMES = np.array([list("roof"), list("yard")], dtype="S1")
PLACES = {"x": (("station",), [1.0, 2.0], AXES["x"]), "y": (("station",), [3.0, 4.0], AXES["y"])}
EXPECTED = [  # time, x, y, z, value, station, error
    (10.0, [1.0, 3.0, 5.0], 0.1, "roof", 0.5),
    (10.0, [2.0, 4.0, 6.0], 0.3, "yard", 0.5),
    (20.0, [1.0, 3.0, 5.0], 0.2, "roof", 0.5),
]
EXPECTED = [(t, *p, v, s, e) for t, p, v, s, e in EXPECTED]
STATION = {"name": (("station", "letters"), NAMES, {"cf_role": "timeseries_id"})}
HEIGHT = {"z": (("station",), [5.0, 6.0], AXES["z"])}
LAYOUTS = {
    "orthogonal": {
        "time": (("time",), [10.0, 20.0], AXES["time"]),
        "Tracer": (("station", "time"), [[0.1, 0.2], [0.3, -9.0]], {"missing_value": -9.0}),
    },
    "time_first": {
        "time": (("time",), [10.0, 20.0], AXES["time"]),
        "Tracer": (("time", "station"), [[0.1, 0.3], [0.2, -9.0]], {"missing_value": -9.0}),
    },
    "incomplete": {
        "time": (("station", "obs"), [[10.0, 20.0], [10.0, -9.0]], {**AXES["time"], "_FillValue": -9.0}),
        "Tracer": (("station", "obs"), [[0.1, 0.2], [0.3, -9.0]], {"_FillValue": -9.0}),
    },
    "contiguous": {
        "count": (("station",), np.array([2, 1], "i4"), {"sample_dimension": "obs"}),
        "time": (("obs",), [10.0, 20.0, 10.0], AXES["time"]),
        "Tracer": (("obs",), [0.1, 0.2, 0.3], {}),
    },
    "indexed": {
        "of": (("obs",), np.array([0, 1, 0], "i4"), {"instance_dimension": "station"}),
        "time": (("obs",), [10.0, 10.0, 20.0], AXES["time"]),
        "Tracer": (("obs",), [0.1, 0.3, 0.2], {}),
    },
}


@pytest.mark.parametrize("kind", ["classic", "netcdf4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_all_layouts_tell_the_same(tmp_path, kind, layout):
    path = write_netcdf(tmp_path / "a.nc", kind, {**STATION, **PLACES, **HEIGHT, **LAYOUTS[layout]})
    found = read_readings(path, Choice(errors={"Tracer": 0.5}))
    assert sorted(_told(found)) == EXPECTED and set(found.variable) == {"Tracer"}


def test_a_sensor_that_moves_brings_its_own_errors(tmp_path):
    found = read_points(tmp_path, points())
    assert found.time.tolist() == [1, 2] and found.position.tolist() == [[2, 3, 4], [1, 2, 3]]
    assert found.error.tolist() == [0.02, 0.01]


def test_errors_as_ancillary_variables_packing_and_kilometres(tmp_path):
    packed = {"scale_factor": 0.5, "add_offset": 10.0, "ancillary_variables": "s q"}
    variables = points(
        x=(("obs",), [1.0, 2.0], {"axis": "X", "units": "km"}),
        Tracer=(("obs",), np.array([1, 2], "i2"), packed),
        q=(("obs",), [1.0, 1.0], {"standard_name": "quality_flag"}),
        s=(("obs",), [3.0, 4.0], {"standard_name": "tracer standard_error"}),
    )
    found = read_points(tmp_path, variables, Choice(variables=("Tracer",)))
    assert found.value.tolist() == [11.0, 10.5] and found.error.tolist() == [4.0, 3.0]
    assert found.position[:, 0].tolist() == [2000.0, 1000.0]


def test_names_of_the_case(tmp_path):
    own = {"standard_name": "x_wind", "instrument": "sonic"}
    variables = points(u=(("obs",), [3.0, 4.0], own), ff=(("obs",), [5.0, 6.0], {"standard_name": "wind_speed"}))
    errors = {"Velocity": 0.2, "Velocity.speed": 0.4}
    found = read_points(tmp_path, variables, Choice(variables=("Velocity",), errors=errors))
    assert set(zip(found.variable, found.error, strict=True)) == {("Velocity.x", 0.2), ("Velocity.speed", 0.4)}
    assert set(found.instrument[found.variable == "Velocity.x"]) == {"sonic"}
    found = read_points(tmp_path, variables, Choice(variables=("c",), names={"Tracer": "c"}))
    assert set(found.variable) == {"c"} and found.error.tolist() == [0.02, 0.01]


@pytest.mark.parametrize(
    ("units", "expected"),
    [
        ("minutes", [60.0, 120.0]),
        ("seconds since 2020-01-31 12:00:00", [-86399.0, -86398.0]),
        ("hours since 2020-02-01T11:00:00Z", [0.0, 3600.0]),
        ("days since 2020-02-01 14:00:00 +02:00", [86400.0, 172800.0]),
    ],
)
def test_times(tmp_path, units, expected):
    variables = points(time=(("obs",), [2.0, 1.0], {"units": units}))
    found = read_points(tmp_path, variables, Choice(epoch=datetime(2020, 2, 1, 12)))
    assert found.time.tolist() == expected


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"time": (("obs",), [1.0, 2.0], {"units": "s since 2020-01-01"})}, "simulation's time zero .* epoch:"),
        ({"time": (("obs",), [1.0, 2.0], {"units": "furlongs"})}, "time is in 'furlongs', expected seconds"),
        ({"x": (("obs",), [1.0, 2.0], {"standard_name": "longitude"})}, None),
        ({"lon": (("obs",), [1.0, 2.0], {"standard_name": "longitude"}), "x": None}, "places are in degrees"),
        ({"x": (("obs",), [1.0, 2.0], {"units": "degrees"})}, "x is in 'degrees', expected metres"),
        ({"z": None}, "no variable for z; found .*axis 'Z'"),
        ({"x2": (("obs",), [1.0, 2.0], {"standard_name": "projection_x_coordinate"})}, "2 variables for x"),
        ({"Tracer_error": None}, "variable 'Tracer': no error is given for 'Tracer'"),
        ({"Tracer_error": (("obs",), [0.1, 0.0], {})}, "Tracer_error is 0.0 for the reading number 1"),
        ({"x": (("other",), [1.0, 2.0, 3.0], {})}, r"x has dimensions \('other',\), Tracer has \('obs',\)"),
        ({"x": (("obs",), [1.0, np.nan], {})}, "reading 1 has a value but its x is missing"),
        ({"Tracer": (("obs",), [1.0, 2.0], {"ancillary_variables": "none"})}, "ancillary variable 'none'"),
        ({"Tracer": None, "Tracer_error": None}, "no wanted variable; found"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, changed, told):
    variables = {name: of for name, of in points(**changed).items() if of is not None}
    if told is None:  # a standard name wins over a name
        variables["a"] = (("obs",), [7.0, 8.0], AXES["x"])
        assert read_points(tmp_path, variables, Choice(("Tracer",))).position[0, 0] == 8
        return
    with pytest.raises(ReadingsError, match="a.nc.*" + told):
        read_points(tmp_path, variables, Choice(("Tracer",)))


def test_counts_must_fit(tmp_path):
    wrong = {**LAYOUTS["contiguous"], "count": (("station",), np.array([2, 2], "i4"), {"sample_dimension": "obs"})}
    with pytest.raises(ReadingsError, match="count counts 4 samples, Tracer has 3"):
        read_points(tmp_path, {**STATION, **PLACES, **HEIGHT, **wrong}, Choice(errors={"Tracer": 1.0}))
    wrong = {**LAYOUTS["indexed"], "of": (("obs",), np.array([0, 2, 0], "i4"), {"instance_dimension": "station"})}
    with pytest.raises(ReadingsError, match="belongs to instance 2, .* has 2"):
        read_points(tmp_path, {**STATION, **PLACES, **HEIGHT, **wrong}, Choice(errors={"Tracer": 1.0}))


@pytest.mark.parametrize("kind", ["netcdf4", "classic"])
def test_two_variables_that_are_the_same_one(tmp_path, kind):
    more = points(co=(("obs",), [0.5, 0.6], {}), co_error=(("obs",), [0.1, 0.1], {}))

    def read(**names):
        return read_points(tmp_path, more, Choice(("Tracer",), names=names), kind)

    assert sorted(read().value) == [0.1, 0.2]
    message = "Tracer and co are both Tracer; map those to be read to it by observations.names"
    with pytest.raises(ReadingsError, match="a.nc: " + message):
        read(co="Tracer")
    assert sorted(read(co="Tracer", Tracer="unused").value) == [0.5, 0.6]
    assert sorted(read(co="Tracer", Tracer="Tracer").value) == [0.1, 0.2, 0.5, 0.6]


def test_two_kinds_of_wind_that_are_the_same_one(tmp_path):
    winds = {name: (("obs",), [1.0, 2.0], {"standard_name": name}) for name in ("x_wind", "eastward_wind")}
    with pytest.raises(ReadingsError, match="(x_wind|eastward_wind) and (x_wind|eastward_wind) are both Velocity.x"):
        read_points(tmp_path, points(**winds), Choice(errors={"Velocity": 0.1}))


def test_what_is_no_such_file(tmp_path):
    with pytest.raises(ReadingsError, match="featureType is 'grid', expected one of point"):
        read_points(tmp_path, points(), featureType="grid")
    broken = b"\x89HDF\r\n\x1a\nrest"
    for content, told in ((b"time,x,y", "expected NetCDF"), (broken, "cannot be read"), (b"", "NetCDF")):
        (tmp_path / "b.nc").write_bytes(content)
        with pytest.raises(ReadingsError, match="b.nc: .*" + told):
            read_readings(tmp_path / "b.nc")
    with pytest.raises(ReadingsError, match="none.nc: cannot be read"):
        read_readings(tmp_path / "none.nc")
