"""Readings from CSV."""

import pytest

from plugin.readings import Choice, ReadingsError, read_readings

HEADER = "time,x,y,z,variable,value,error,station\n"


def _write(tmp_path, *lines, header=HEADER):
    path = tmp_path / "readings.csv"
    path.write_text(header + "".join(line + "\n" for line in lines))
    return path


def test_rows_are_read_and_ordered_by_time(tmp_path):
    path = _write(tmp_path, "20,1,2,3,Tracer,0.5,0.1,a", "10,4,5,6,Velocity.x,-1,0.2,b")
    found = read_readings(path)
    assert found.time.tolist() == [10, 20] and found.variable.tolist() == ["Velocity.x", "Tracer"]
    assert found.position.tolist() == [[4, 5, 6], [1, 2, 3]]
    assert found.value.tolist() == [-1, 0.5] and found.error.tolist() == [0.2, 0.1]


def test_a_file_without_rows_has_no_readings(tmp_path):
    assert len(read_readings(_write(tmp_path))) == 0


@pytest.mark.parametrize(
    ("lines", "header", "told"),
    [
        (["20,1,2,3,Tracer,0.5"], "time,x,y,z,variable,value\n", r"line 1: no column 'error'"),
        (["20,1,2,three,Tracer,0.5,0.1,a"], HEADER, r"line 2: column 'z' is 'three'"),
        (["20,1,2,3,Tracer,nan,0.1,a"], HEADER, r"line 2: column 'value' is 'nan'"),
        (["20,1,2,3,Tracer,1,0.1,a", "20,1,2,3,Tracer,1,0,a"], HEADER, r"line 3: error is 0"),
        (["20,1,2"], HEADER, r"line 2: column 'z' is None"),
    ],
)
def test_a_bad_line_is_named(tmp_path, lines, header, told):
    with pytest.raises(ReadingsError, match="readings.csv, " + told):
        read_readings(_write(tmp_path, *lines, header=header))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ReadingsError, match="none.csv"):
        read_readings(tmp_path / "none.csv")


def test_stations_instruments_and_speeds(tmp_path):
    header = "time,x,y,z,variable,value,error,instrument,station\n"
    found = read_readings(_write(tmp_path, "1,1,2,3,Velocity.speed,0.5,0.1, cup ,a", header=header))
    assert found.station.tolist() == ["a"] and found.instrument.tolist() == ["cup"]
    assert found.variable.tolist() == ["Velocity.speed"]
    assert read_readings(_write(tmp_path, "20,1,2,3,Tracer,0.5,0.1,a")).instrument.tolist() == [""]


def test_names_and_errors_that_the_case_gives(tmp_path):
    choice = Choice(names={"c": "Tracer"}, errors={"Tracer": 0.3, "Velocity": 0.2})
    found = read_readings(_write(tmp_path, "1,1,2,3,c,0.5,,a", "2,1,2,3,Velocity.x,1,0.7,a"), choice)
    assert found.variable.tolist() == ["Tracer", "Velocity.x"] and found.error.tolist() == [0.3, 0.7]
    found = read_readings(_write(tmp_path, "1,1,2,3,Velocity.y,0.5", header="time,x,y,z,variable,value\n"), choice)
    assert found.error.tolist() == [0.2]
    with pytest.raises(ReadingsError, match="line 2: no error is given for 'Salt'"):
        read_readings(_write(tmp_path, "1,1,2,3,Salt,0.5,,a"), choice)
    with pytest.raises(ReadingsError, match="error -1.0 of 'Tracer'"):
        read_readings(_write(tmp_path, "1,1,2,3,Tracer,0.5,,a"), Choice(errors={"Tracer": -1.0}))
