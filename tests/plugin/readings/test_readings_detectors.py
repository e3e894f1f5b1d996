"""Readings from Fluidity's detector series."""

import numpy as np
import pytest

from plugin.readings import Choice, ReadingsError, read_readings

HEADER = """<header>
<constant name="FluidityVersion" type="string" value="4.1" />
{extra}<field column="1" name="ElapsedTime" statistic="value"/>
<field column="2" name="dt" statistic="value"/>
<field column="3" name="roof" statistic="position" components="3"/>
<field column="6" name="drifter" statistic="position" components="3"/>
<field column="9" name="Tracer" statistic="roof" material_phase="Fluid"/>
<field column="10" name="Tracer" statistic="drifter" material_phase="Fluid"/>
<field column="11" name="Velocity" statistic="roof" material_phase="Fluid" components="3"/>
<field column="14" name="Velocity" statistic="drifter" material_phase="Fluid" components="3"/>
</header>
"""
BINARY = """<constant name="format" type="string" value="binary" />
<constant name="real_size" type="integer" value="8" />
<constant name="integer_size" type="integer" value="4" />
"""
PLAIN = HEADER.format(extra="")
ROWS = np.array(
    [[t, 0.5, 1, 2, 3, 4 + t, 5, 6, 0.1 * t, 0.2 * t, t, 2 * t, 3 * t, -t, -2 * t, -3 * t] for t in (0.5, 1.0, 1.5)]
)
ERRORS = {"Tracer": 0.01, "Velocity": 0.2}


def _text(rows):
    return "".join("".join(f"  {x:.16e}" for x in row) + "\n" for row in rows)


def _write(tmp_path, rows=ROWS, header=PLAIN):
    path = tmp_path / "truth.detectors"
    path.write_text(header + (rows if isinstance(rows, str) else _text(rows)))
    return path


def _row(found, time, station, variable):
    (i,) = np.flatnonzero((found.time == time) & (found.station == station) & (found.variable == variable))
    return found.position[i].tolist(), found.value[i], found.error[i]


@pytest.mark.parametrize("form", ["text", "binary"])
def test_each_detector_and_component_is_a_reading(tmp_path, form):
    path = _write(tmp_path)
    if form == "binary":
        path = _write(tmp_path, "", HEADER.format(extra=BINARY))
        ROWS.tofile(tmp_path / "truth.detectors.dat")
    found = read_readings(path, Choice(errors=ERRORS))
    assert len(found) == 3 * 2 * 4 and (np.diff(found.time) >= 0).all()
    assert _row(found, 1.5, "roof", "Tracer") == ([1, 2, 3], pytest.approx(0.15), 0.01)
    # a detector that drifts has its own place at each time
    assert _row(found, 1.0, "drifter", "Velocity.z") == ([5.0, 5, 6], -3.0, 0.2)
    assert _row(found, 0.5, "drifter", "Velocity.x") == ([4.5, 5, 6], -0.5, 0.2)


def test_single_precision(tmp_path):
    path = _write(tmp_path, "", HEADER.format(extra=BINARY.replace('"8"', '"4"')))
    ROWS.astype("f4").tofile(tmp_path / "truth.detectors.dat")
    assert _row(read_readings(path, Choice(errors=ERRORS)), 1.5, "roof", "Velocity.y")[1] == 3.0


def test_only_what_is_wanted_needs_an_error(tmp_path):
    found = read_readings(_write(tmp_path), Choice(variables=("Velocity.y",), errors={"Velocity.y": 0.3}))
    assert set(found.variable) == {"Velocity.y"} and len(found) == 6
    found = read_readings(_write(tmp_path), Choice(variables=("c",), names={"Tracer": "c"}, errors={"c": 1.0}))
    assert set(found.variable) == {"c"}
    with pytest.raises(ReadingsError, match="truth.detectors: no error is given for 'Tracer'.*errors: {Tracer: …}"):
        read_readings(_write(tmp_path), Choice(variables=("Tracer",)))
    with pytest.raises(ReadingsError, match=r"no detector has a wanted variable; found \['Tracer', 'Velocity'\]"):
        read_readings(_write(tmp_path), Choice(variables=("Salt",)))


def test_missing_values_and_fortran_exponents(tmp_path):
    rows = _text(ROWS[:1]).replace("1.0000000000000001e-01", "NaN").replace("5.0000000000000003e-02", "0.1234-100")
    found = read_readings(_write(tmp_path, rows), Choice(variables=("Tracer",), errors=ERRORS))
    assert found.station.tolist() == ["roof"] and found.value.tolist() == [0.1234e-100]


@pytest.mark.parametrize(
    ("rows", "header", "told"),
    [
        ("1 2 3\n", None, r"truth.detectors, line 12: 3 columns, expected 16"),
        (_text(ROWS).replace("1.0000000000000000e+00", "wrong", 1), None, r"line 12, column 3: found 'wrong'"),
        ("", "time,x,y\n", r"line 1: no XML header"),
        ("", "<!DOCTYPE h [<!ENTITY a 'b'>]>" + PLAIN, r"understood: declares a document type or XML entities"),
        ("", "<header><field column='1'></header>", r"XML header cannot be understood"),
        ("", HEADER.replace("ElapsedTime", "Time").format(extra=""), r"no 'ElapsedTime'"),
        ("", HEADER.format(extra=BINARY), r"truth.detectors.dat: the rows of truth.detectors cannot be read"),
        ("", HEADER.format(extra=BINARY.replace('"8"', '"16"')), r"real_size '16', expected 4 or 8"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, rows, header, told):
    with pytest.raises(ReadingsError, match=told):
        read_readings(_write(tmp_path, rows, header or HEADER.format(extra="")), Choice(errors=ERRORS))


PHASES = """<header>
<field column="1" name="ElapsedTime" statistic="value"/>
<field column="2" name="D1" statistic="position" components="3"/>
<field column="5" name="Tracer" statistic="D1" material_phase="Air"/>
<field column="6" name="Tracer" statistic="D1" material_phase="{second}"/>
<field column="7" name="Velocity" statistic="D1" material_phase="Air" components="3"/>
</header>
"""


def test_fields_of_several_phases_have_the_phase_in_their_names(tmp_path):
    path = _write(tmp_path, "10 4 10 7 0.31 0.77 1 2 3\n", PHASES.format(second="Dust"))
    errors = {"Air::Tracer": 0.1, "Dust::Tracer": 0.05, "Tracer": 0.1, "Air::Velocity": 0.2}
    found = read_readings(path, Choice(("Dust::Tracer",), errors=errors))
    assert found.value.tolist() == [0.77] and found.error.tolist() == [0.05] and found.station.tolist() == ["D1"]
    assert found.position.tolist() == [[4.0, 10.0, 7.0]] and found.variable.tolist() == ["Dust::Tracer"]
    found = read_readings(path, Choice(("Air::Velocity",), errors=errors))
    assert found.variable.tolist() == [f"Air::Velocity.{letter}" for letter in "xyz"]
    with pytest.raises(ReadingsError, match=r"\['Air::Tracer', 'Air::Velocity', 'Dust::Tracer'\]"):
        read_readings(path, Choice(("Tracer",), errors=errors))  # of which phase?
    named = Choice(("Tracer",), {"Dust::Tracer": "Tracer"}, errors)
    assert read_readings(path, named).value.tolist() == [0.77]


def test_one_phase_of_several_may_be_in_the_file(tmp_path):
    path = _write(tmp_path)
    for variables, name in ((("Tracer",), "Tracer"), (("Fluid::Tracer",), "Fluid::Tracer")):
        found = read_readings(path, Choice(variables, errors={name: 0.01}))
        assert set(found.variable) == {name} and len(found) == 6


def test_two_columns_of_one_field_at_one_detector_are_refused(tmp_path):
    path = _write(tmp_path, "10 4 10 7 0.31 0.77 1 2 3\n", PHASES.format(second="Air"))
    with pytest.raises(ReadingsError, match="header names 'Tracer' of 'D1' 2 times, expected once"):
        read_readings(path, Choice(errors=ERRORS))


@pytest.mark.parametrize("rows", ["", "10 4 10 7 0.31 0.77 1 2 3\n"])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name="D1" statistic="position" components="3"', 'name="D1" statistic="position" components="4"'),
        ('material_phase="Air" components="3"', 'material_phase="Air" components="1000000000"'),
        ('column="7"', f'column="{10**25}"'),
        ('column="7"', f'column="{2**31}"'),
        ('column="7"', 'column="0"'),
    ],
)
def test_columns_that_cannot_be_are_refused(tmp_path, rows, old, new):
    header = PHASES.format(second="Dust")
    assert old in header
    with pytest.raises(ReadingsError, match="truth.detectors: header names .*expected columns counted from 1"):
        read_readings(_write(tmp_path, rows, header.replace(old, new)), Choice(errors=ERRORS))


def test_a_cut_off_binary_row(tmp_path):
    path = _write(tmp_path, "", HEADER.format(extra=BINARY))
    (tmp_path / "truth.detectors.dat").write_bytes(ROWS.tobytes()[:-4])
    with pytest.raises(ReadingsError, match=r"380 bytes, expected whole rows of 16 numbers, 128 bytes each"):
        read_readings(path, Choice(errors=ERRORS))
