"""What real files use of CF and of NetCDF itself: missing values, packing, times, directions."""

from datetime import datetime, timedelta, timezone

import h5netcdf
import h5py
import numpy as np
import pytest
from netcdf_readings import AXES, points, read_points, write_netcdf

from plugin.readings import Choice, ReadingsError, read_readings
from plugin.readings.cf_values import unpacked

pytestmark = pytest.mark.filterwarnings("ignore:`product` is deprecated:DeprecationWarning")
NAN = np.nan
FLOAT_FILL, SHORT_FILL = np.float32(9.9692099683868690e36), -32767
ERRORS = Choice(("Tracer",), errors={"Tracer": 0.5})


def same(raw, attributes, expected):
    np.testing.assert_allclose(unpacked(raw, attributes), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("raw", "attributes", "expected"),
    [
        # NetCDF's default fill values where there is no _FillValue, of single bytes there is none
        (np.array([0.31, FLOAT_FILL, 0.28], "f4"), {}, [0.31, NAN, 0.28]),
        (np.array([0.31, 9.969209968386869e36], "f8"), {}, [0.31, NAN]),
        (np.array([1, SHORT_FILL], "i2"), {}, [1, NAN]),
        (np.array([1, -2147483647], "i4"), {"missing_value": np.int32(0)}, [1, NAN]),
        (np.array([1, -9223372036854775806], "i8"), {}, [1, NAN]),
        (np.array([1, 18446744073709551614], "u8"), {}, [1, NAN]),
        (np.array([1, -9223372036854775805], "i8"), {}, [1, -9223372036854775805]),
        (np.array([0.31, FLOAT_FILL], "f8"), {}, [0.31, NAN]),
        (np.array([1, -127], "i1"), {}, [1, -127]),
        (np.array([1, FLOAT_FILL], "f4"), {"_FillValue": np.float32(-1)}, [1, FLOAT_FILL]),
        # a missing value of another type than the data's
        (np.array([0.31, -999.9], "f4"), {"missing_value": np.float64(-999.9)}, [0.31, NAN]),
        (np.array([0.31, -999.9], "f8"), {"missing_value": np.float32(-999.9)}, [0.31, NAN]),
        (np.array([0.31, np.float32(-999.9)], "f8"), {"missing_value": -999.9}, [0.31, NAN]),
        (np.array([0.0, 1e-300], "f8"), {"missing_value": 1e-300}, [0.0, NAN]),
        (np.array([0.31, 1e20], ">f4"), {"missing_value": 1e20}, [0.31, NAN]),
        (np.array([31, -99], "i2"), {"missing_value": -99.0}, [31, NAN]),
        (np.array([31, -99], "i2"), {"missing_value": -99.5}, [31, -99]),
        (np.array([31, -99], "i2"), {"missing_value": b"-99"}, [31, NAN]),
        (np.array([1.0, -9.0, -8.0]), {"missing_value": np.array([-9.0, -8.0])}, [1, NAN, NAN]),
        (np.array([1.0, 2.0]), {"missing_value": np.nan}, [1, 2]),
        (np.array([100, -99990], "i4"), {"scale_factor": 0.01, "missing_value": -999.9}, [1, NAN]),
        # bytes without a sign, and their fill value and range
        (np.array([20, -56, 100], "i1"), {"_Unsigned": "true", "scale_factor": 0.01}, [0.2, 2.0, 1.0]),
        (np.array([20, -1], "i1"), {"_Unsigned": b"true", "_FillValue": np.int8(-1)}, [20, NAN]),
        (np.array([20, -56], ">i2"), {"_Unsigned": "True"}, [20, 65480]),
        (np.array([20, 200], "u1"), {"_Unsigned": "false"}, [20, -56]),
        (np.array([20, -56, -6], "i1"), {"_Unsigned": "true", "valid_max": np.int8(-56)}, [20, 200, NAN]),
        # valid range: of the packed values where it is of their type, of the unpacked ones where it is of theirs
        (np.array([1.0, 5.0, 9.0]), {"valid_range": np.array([2.0, 8.0])}, [NAN, 5, NAN]),
        (np.array([1.0, 5.0, 9.0]), {"valid_min": 2.0}, [NAN, 5, 9]),
        (np.array([1.0, 5.0, 9.0]), {"valid_max": 8.0}, [1, 5, NAN]),
        (np.array([0.1, 0.3], "f4"), {"valid_max": 0.3}, [0.1, 0.3]),
        (np.array([10, 50], "i2"), {"scale_factor": 0.1, "valid_max": np.int16(20)}, [1, NAN]),
        (np.array([10, 50], "i2"), {"scale_factor": 0.1, "valid_max": 2.0}, [1, NAN]),
        # packing
        (np.array([1, 2], "i2"), {"scale_factor": np.array([0.5]), "add_offset": b"10"}, [10.5, 11]),
    ],
)
def test_raw_values_become_numbers(raw, attributes, expected):
    same(raw, attributes, expected)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"scale_factor": 0.0}, "Tracer: scale_factor is 0, with which all values would be the same"),
        ({"scale_factor": "much"}, "Tracer: scale_factor is 'much', expected a number"),
        ({"add_offset": np.array([1.0, 2.0])}, r"Tracer: add_offset is \[1.0, 2.0\], expected one finite number"),
        ({"valid_range": 1.0}, r"Tracer: valid_range is \[1.0\], expected two numbers"),
        ({"missing_value": "none"}, "Tracer: missing_value is 'none', expected a number"),
    ],
)
def test_attributes_that_are_no_numbers_are_named(tmp_path, attributes, message):
    with pytest.raises(ReadingsError, match="a.nc: " + message):
        read_points(tmp_path, points(Tracer=(("obs",), [0.1, 0.2], attributes)), ERRORS)


@pytest.mark.parametrize("kind", ["classic", "netcdf4"])
def test_what_is_missing_is_no_reading(tmp_path, kind):
    values = [0.31, float(FLOAT_FILL), 0.28]
    axes = {axis: (("obs",), [1.0, 2.0, 3.0], AXES[axis]) for axis in ("time", "x", "y", "z")}
    path = write_netcdf(tmp_path / "a.nc", kind, {**axes, "Tracer": (("obs",), values, {"missing_value": 0.28})})
    readings = read_readings(path, ERRORS)
    assert readings.value.tolist() == [0.31] and readings.time.tolist() == [1.0]


EPOCH = datetime(2020, 1, 31, 12)


@pytest.mark.parametrize(
    ("units", "values", "expected"),
    [
        ("milliseconds since 2020-01-31T12:00:00", [10000, 14000], [10, 14]),
        ("msec since 2020-01-31T12:00:00", [10000, 14000], [10, 14]),
        ("microseconds since 2020-01-31 12:00", [10e6, 14e6], [10, 14]),
        ("nanoseconds since 2020-01-31 12:00:00", np.array([10**10, 14 * 10**9]), [10, 14]),
        ("milliseconds since 1970-01-01", [1580472010001, 1580472014000], [10.001, 14]),
        ("seconds since 2020-1-31 12:00:0.0", [10, 14], [10, 14]),
        ("seconds since 2020-01-31 14:00 +2:00", [10, 14], [10, 14]),
        ("seconds Since 2020-01-31 14:00 +2:00", [10, 14], [10, 14]),
        ("Seconds since 2020-01-31 11:30 -0030", [10, 14], [10, 14]),
        ("seconds since 2020-1-31 12", [10, 14], [10, 14]),
        ("seconds since 2020-01-31 12:00:00.25Z", [10, 14], [10.25, 14.25]),
        ("seconds since 20200131T120000Z", [10, 14], [10, 14]),
        ("weeks since 2020-01-24 12:00:00 UTC", [1, 2], [0, 604800]),
        ("ms", [10000, 14000], [10, 14]),
        ("hr", [1, 2], [3600, 7200]),
    ],
)
def test_times_as_cf_and_udunits_write_them(tmp_path, units, values, expected):
    values = np.asarray(values, dtype=np.int64 if "nano" in units else np.float64)
    readings = read_points(tmp_path, points(time=(("obs",), values, {"units": units})), Choice(epoch=EPOCH))
    np.testing.assert_allclose(readings.time, expected, rtol=0, atol=1e-6)


def test_the_standard_calendar_is_julian_before_1582(tmp_path):
    # Julian day numbers: 1721424 begins on 0001-01-01 of that calendar, 2458880 on 2020-01-31; both at noon
    given = points(time=(("obs",), [737456.0, 737457.0], {"units": "days since 1-1-1 12:00"}))
    assert read_points(tmp_path, given, Choice(epoch=EPOCH)).time.tolist() == [0.0, 86400.0]


def test_an_epoch_with_a_zone(tmp_path):
    given = points(time=(("obs",), [10.0, 14.0], {"units": "seconds since 2020-01-31 12:00"}))
    choice = Choice(epoch=datetime(2020, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))))
    assert read_points(tmp_path, given, choice).time.tolist() == [10, 14]


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ("months since 2020-01-31", "time is in 'months since .*unit of time of fixed length"),
        ("seconds since 2020-02-30", "time counts since '2020-02-30', expected a date like"),
        ("seconds since 2020-01-31 25:00", "time counts since .*expected a date like 2020-01-31 12:00:00"),
        ("seconds since 2020-01-31 12:00 CET", "time counts since '2020-01-31 12:00 CET', expected a date"),
        ("seconds since start", "time counts since 'start', expected a date like"),
        ("day as %Y%m%d.%f", "time is in 'day as"),
    ],
)
def test_times_that_cannot_be_understood(tmp_path, units, message):
    with pytest.raises(ReadingsError, match="a.nc: " + message):
        read_points(tmp_path, points(time=(("obs",), [1.0, 2.0], {"units": units})), Choice(epoch=EPOCH))


def test_other_calendars_are_refused(tmp_path):
    own = {"units": "days since 2020-01-31", "calendar": "360_day"}
    with pytest.raises(ReadingsError, match="calendar '360_day', expected one of standard"):
        read_points(tmp_path, points(time=(("obs",), [1.0, 2.0], own)), Choice(epoch=EPOCH))


def test_times_as_words_are_refused(tmp_path):
    given = points(time=(("obs",), np.array([b"2020-01-31", b"2020-02-01"]), {"standard_name": "time"}))
    with pytest.raises(ReadingsError, match="a.nc: time: holds no numbers"):
        read_points(tmp_path, given)


@pytest.mark.parametrize(
    "attributes",
    [
        {"axis": "Z", "positive": "down", "standard_name": "depth"},
        {"axis": "Z", "positive": "Down"},
        {"standard_name": "depth"},
        {"positive": "down"},
    ],
)
def test_depths_are_below_zero(tmp_path, attributes):
    given = points(z=None, depth=(("obs",), [5.0, 2.0], {"units": "m", **attributes}))
    readings = read_points(tmp_path, {name: of for name, of in given.items() if of is not None})
    assert readings.position[:, 2].tolist() == [-2.0, -5.0]


def test_what_is_neither_up_nor_down(tmp_path):
    given = points(z=(("obs",), [5.0, 2.0], {"units": "m", "positive": "east"}))
    with pytest.raises(ReadingsError, match="z has positive = 'east', expected 'up' or 'down'"):
        read_points(tmp_path, given)


def test_a_downward_wind_changes_its_sign(tmp_path):
    own = {"standard_name": "downward_air_velocity", "units": "m s-1"}
    choice = Choice(("Velocity",), errors={"Velocity": 0.1})
    readings = read_points(tmp_path, points(w=(("obs",), [0.5, 0.25], own)), choice)
    assert set(readings.variable) == {"Velocity.z"} and sorted(readings.value) == [-0.5, -0.25]


@pytest.mark.parametrize("names", [{}, {"tracer": "Tracer"}])
def test_readings_in_groups_are_refused_with_their_places(tmp_path, names):
    path = tmp_path / "a.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"Location": 2}
        for group, of in {
            "MetaData": ["dateTime", "x", "y", "z"],
            "ObsValue": ["tracer"],
            "ObsError": ["tracer"],
        }.items():
            made = file.create_group(group)
            for name in of:
                made.create_variable(name, ("Location",), "f8")[...] = 1.0
    message = (
        r"a.nc: its variables lie in groups \(MetaData: dateTime, x, y, z; .*ObsValue: tracer.*of the root are read"
    )
    with pytest.raises(ReadingsError, match=message):
        read_readings(path, Choice(("Tracer",), names))


def test_groups_of_something_else_are_left_alone(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", "netcdf4", points(), featureType="point")
    with h5netcdf.File(path, "a") as file:
        file.create_group("instrument").create_variable("serial_number", (), "i4")[...] = 7
    assert len(read_readings(path, Choice(("Tracer",)))) == 2
    with h5netcdf.File(path, "a") as file:
        file.create_group("second").create_variable("Tracer", ("obs",), "f8")[...] = 7.0
    with pytest.raises(ReadingsError, match="second: Tracer"):
        read_readings(path, Choice(("Tracer",)))


def test_a_variable_that_claims_more_than_the_file_holds(tmp_path):
    path = write_netcdf(tmp_path / "a.nc", "netcdf4", points(), featureType="point")
    with h5netcdf.File(path, "a") as file:
        file.dimensions["many"] = 2**40
        file.create_variable("bomb", ("many",), "f8", chunks=(2**20,))
    with pytest.raises(
        ReadingsError, match=r"a.nc: bomb claims \(1099511627776,\) values, 8,388,608 MiB, of which .* 0 bytes"
    ):
        read_readings(path, Choice(("Tracer",)))


def _linked(file, secret):
    file["Tracer"] = h5py.ExternalLink(str(secret), "Tracer")


def _virtual(file, secret):
    layout = h5py.VirtualLayout((2,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "Tracer", (2,))
    file.create_virtual_dataset("Tracer", layout)


def _stored_elsewhere(file, secret):
    file.create_dataset("Tracer", (2,), "f8", external=[(str(secret), 0, 16)])


@pytest.mark.parametrize("make", [_linked, _virtual, _stored_elsewhere])
def test_values_in_other_files_are_refused(tmp_path, make):
    secret = write_netcdf(tmp_path / "secret.nc", "netcdf4", points(), featureType="point")
    path = write_netcdf(tmp_path / "a.nc", "netcdf4", points(), featureType="point")
    with h5py.File(path, "r+") as file:
        del file["Tracer"]
        make(file, secret)
        if isinstance(file.get("Tracer", getlink=True), h5py.HardLink):
            file["Tracer"].dims[0].attach_scale(file["obs"])
    with pytest.raises(
        ReadingsError, match="a.nc: /Tracer (is a link|keeps its values in other files), which is refused"
    ):
        read_readings(path, Choice(("Tracer",)))
