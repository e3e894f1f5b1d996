"""Units: of texts as CF and UDUNITS write them, and in files of readings."""

import numpy as np
import pytest
from netcdf_readings import points, read_points

from plugin.readings import Choice, ReadingsError
from plugin.readings.units import UnitError, conversion

pytestmark = pytest.mark.filterwarnings("ignore:`product` is deprecated:DeprecationWarning")


@pytest.mark.parametrize(
    ("text", "to", "factor"),
    [
        ("km/h", "m s-1", 1 / 3.6),
        ("km h-1", "m/s", 1 / 3.6),
        ("knots", "m s-1", 1852 / 3600),
        ("cm s-1", "m s^-1", 0.01),
        ("m.s-1", "m per second", 1.0),
        ("meter second-1", "m·s⁻¹", 1.0),
        ("ug m-3", "kg m-3", 1e-9),
        ("µg/m³", "kg/m**3", 1e-9),
        ("mg/L", "kg m-3", 1e-3),
        ("g kg-1", "1", 1e-3),
        ("%", "1", 0.01),
        ("1e-6", "1", 1e-6),
        ("10^3 m", "km", 1.0),
        ("hPa", "Pa", 100.0),
        ("kg m-1 s-2", "Pa", 1.0),
        ("feet", "m", 0.3048),
        ("furlongs", "furlongs", 1.0),
        ("m/s2", "m s-2", 1.0),
        ("W/m2/K", "W m-2 K-1", 1.0),
        ("degrees", "rad", np.pi / 180),
    ],
)
def test_factors(text, to, factor):
    there, back = conversion(text, to), conversion(to, text)
    assert there.factor == pytest.approx(factor, rel=1e-12) and there.offset == 0
    assert there.factor * back.factor == pytest.approx(1.0, rel=1e-12)


def test_temperatures_have_zeros_of_their_own():
    factor, offset = conversion("degF", "degC")
    assert factor * 212 + offset == pytest.approx(100.0) and factor * 32 + offset == pytest.approx(0.0, abs=1e-9)
    factor, offset = conversion("degree_Celsius", "K")
    assert factor * 20 + offset == pytest.approx(293.15)


@pytest.mark.parametrize(
    ("text", "to", "message"),
    [
        ("furlong", "m", "unit 'furlong' is not known"),
        ("ms-1", "m s-1", "unit 'ms-1' cannot be converted to 'm s-1'"),
        ("degrees", "1", "unit 'degrees' cannot be converted to '1'"),
        ("degC m", "K m", "a product with a temperature"),
        ("m/", "m", "unit 'm/' is not known"),
        ("0 m", "m", "the factor 0, expected one above zero"),
        ("10^999 m", "m", "the factor 10.999, expected"),
        ("Tm9 Tm9 Tm9", "m27", "too large or too small"),
    ],
)
def test_units_that_cannot_be_used(text, to, message):
    with pytest.raises(UnitError, match=message):
        conversion(text, to)


VELOCITY = Choice(("Velocity",), errors={"Velocity": 0.1})


@pytest.mark.parametrize("unit", ["km/h", "km hr-1", "kilometers per hour"])
def test_a_velocity_is_converted_to_the_models(tmp_path, unit):
    own = {"standard_name": "x_wind", "units": unit}
    given = points(u=(("obs",), [36.0, 72.0], own), u_error=(("obs",), [3.6, 7.2], {}))
    readings = read_points(tmp_path, given, VELOCITY)
    np.testing.assert_allclose(readings.value, [20.0, 10.0])
    np.testing.assert_allclose(readings.error, [2.0, 1.0])  # without units an error has those of its data


def test_the_models_unit_is_the_case_files(tmp_path):
    error = (("obs",), [100.0, 200.0], {"units": "ng m-3"})
    given = points(Tracer=(("obs",), [1.0, 2.0], {"units": "ug m-3"}), Tracer_error=error)
    readings = read_points(tmp_path, given, Choice(("Tracer",), units={"Tracer": "mg m-3"}))
    np.testing.assert_allclose(readings.value, [2e-3, 1e-3])
    np.testing.assert_allclose(readings.error, [2e-4, 1e-4])
    choice = Choice(("Tracer",), units={"Tracer": "K"})
    given = points(Tracer=(("obs",), [20.0, 21.0], {"units": "degC"}), Tracer_error=(("obs",), [0.5, 0.5], {}))
    readings = read_points(tmp_path, given, choice)
    np.testing.assert_allclose(readings.value, [294.15, 293.15])
    assert readings.error.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("changed", "choice", "message"),
    [
        (
            {"Tracer": (("obs",), [1.0, 2.0], {"units": "ug m-3"})},
            Choice(("Tracer",)),
            r"Tracer is in 'ug m-3', and which unit it has in the model is not known; .*units: {Tracer: ug m-3}",
        ),
        (
            {"Tracer": (("obs",), [1.0, 2.0], {"units": "K"})},
            Choice(("Tracer",), units={"Tracer": "kg m-3"}),
            "Tracer is in 'K', expected 'kg m-3' or what converts to it: unit 'K' cannot be converted",
        ),
        (
            {"u": (("obs",), [1.0, 2.0], {"standard_name": "x_wind", "units": "furlong/day"})},
            VELOCITY,
            "Velocity.x is in 'furlong/day', expected 'm s-1'.*unit 'furlong/day' is not known",
        ),
        ({"z": (("obs",), [1.0, 2.0], {"units": "hPa"})}, Choice(("Tracer",)), "z is in 'hPa', expected metres"),
    ],
)
def test_units_that_do_not_fit_are_named(tmp_path, changed, choice, message):
    with pytest.raises(ReadingsError, match="a.nc.*" + message):
        read_points(tmp_path, points(**changed), choice)


def test_numbers_without_a_unit_are_the_models(tmp_path):
    for unit in ({}, {"units": "1"}):
        readings = read_points(tmp_path, points(Tracer=(("obs",), [0.1, 0.2], unit)), Choice(("Tracer",)))
        assert readings.value.tolist() == [0.2, 0.1]


def test_places_in_other_units_of_length(tmp_path):
    given = points(
        x=(("obs",), [1.0, 2.0], {"axis": "X", "units": "km"}), z=(("obs",), [10.0, 20.0], {"units": "feet"})
    )
    readings = read_points(tmp_path, given)
    np.testing.assert_allclose(readings.position[:, [0, 2]], [[2000, 6.096], [1000, 3.048]])
