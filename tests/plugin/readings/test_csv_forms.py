"""CSV as spreadsheets of many countries write it, CSV that contradicts itself, and names that do harm."""

import csv

import numpy as np
import pytest

from plugin.readings import Choice, ReadingsError, read_readings
from plugin.run.tables import read_tables
from plugin.window.observations.table import TABLE, write_table

HEADER = "time,x,y,z,variable,value,error,station"
ROW = "10,4,10,7,Tracer,0.3,0.05,S4"


def written(tmp_path, *lines, encoding="utf-8"):
    path = tmp_path / "readings.csv"
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


def row_of(readings):
    (time,), (position,), (value,), (error,) = (readings.time, readings.position, readings.value, readings.error)
    return time, position.tolist(), value, error, readings.variable[0], readings.station[0]


@pytest.mark.parametrize(
    "lines",
    [
        [HEADER, ROW],
        [HEADER.replace(",", ";"), "10;4;10;7;Tracer;0,3;0,05;S4"],
        [HEADER.replace(",", ";"), "10;4;10;7;Tracer;0.3;5e-2;S4"],
        [HEADER.replace(",", "\t"), ROW.replace(",", "\t")],
        ["", ",,,,,,,", HEADER, "", ",,,,,,,", ROW, "  ", ""],
        [HEADER.replace(",", ", "), ROW.replace(",", " , ")],
        ["time,x,y,z,variable,value,error,station,note,note,,", ROW + ",a,b,,"],
        [HEADER, ROW + ",,"],
        [HEADER, '10,4,10,7,"Tracer",0.3,0.05,"S4"'],
        ["sep=;", HEADER.replace(",", ";"), "10;4;10;7;Tracer;0,3;0,05;S4"],
        ['"SEP=|"', HEADER.replace(",", "|"), ROW.replace(",", "|")],
        [HEADER.title(), ROW],
        [HEADER.upper().replace("TIME", "Time [s]") + ",Unit", "10,4,10,7,Tracer,300,50,S4,g m-3"],
        ["time,x,y,z,variable,value [g m-3],error,unit,station", "10,4,10,7,Tracer,300,50,g m-3,S4"],
        ["time,x,y,z,variable,value [g m-3],error,unit,station", "10,4,10,7,Tracer,300,50,,S4"],
        ["time [min],x (m),y [km],z [cm],variable,value,error,station", f"{10 / 60},4,0.01,700,Tracer,0.3,0.05,S4"],
        ["time,x,y,z,variable,value [g/m3],error,station", "10,4,10,7,Tracer,300,50,S4"],
        ["time,x,y,z,variable,value,error [g/m3],station", "10,4,10,7,Tracer,0.3,50,S4"],
        ["time,x,y,z,variable,value,error,unit,station", "10,4,10,7,Tracer,300,50,g m-3,S4"],
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_all_tell_the_same(tmp_path, lines, encoding):
    readings = read_readings(written(tmp_path, *lines, encoding=encoding), Choice(units={"Tracer": "kg m-3"}))
    time, position, value, error, *names = row_of(readings)
    assert (time, position) == (pytest.approx(10), pytest.approx([4, 10, 7])) and names == ["Tracer", "S4"]
    assert (value, error) == (pytest.approx(0.3), pytest.approx(0.05))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([HEADER + ",value", ROW + ",0.9"], "line 1: column 'value' is there twice; leave one of them out"),
        ([HEADER + ", station ", ROW + ",S5"], "line 1: column 'station' is there twice"),
        ([HEADER + ",Value", ROW + ",0.9"], "line 1: column 'value' is there twice"),
        ([HEADER + ",unit,Units", ROW + ",m,m"], "line 1: column 'unit' is there twice"),
        (
            ["time,x,y,z,variable,value [g m-3],error,unit", "10,4,10,7,Tracer,300,50,mg m-3"],
            "line 2: column 'unit' is 'mg m-3', the header says that values are in 'g m-3'; leave one of them out",
        ),
        (["x [km]," + HEADER, "1," + ROW], "line 1: column 'x' is there twice"),
        ([HEADER, "10,4,10,7,Tracer,0,3,0,05,S4"], "line 2: 10 cells, the header has 8 columns; are there commas"),
        ([HEADER, '10,4,10,7,Tracer,"0,3",0.05,S4'], "line 2: column 'value' is '0,3', expected a number"),
        ([HEADER, ROW, ROW.replace("S4", '"S4')], "cannot be read: unexpected end of data"),
        ([HEADER, ROW.replace("0.3", "1_0")], "line 2: column 'value' is '1_0', expected a number"),
        ([HEADER, ROW.replace("Tracer", " ")], "line 2: column 'variable' is '', expected the name"),
        (["", HEADER, "", ROW.replace("0.3", "high")], "line 4: column 'value' is 'high'"),
        (
            [HEADER.replace(",", ";"), "10;4;10;7;Tracer;0,3;0.05;S4"],
            "numbers have decimal commas and points, '0,3' in line 2 and '0.05' in line 2; expected one of the two",
        ),
        ([HEADER.replace(",", "|"), ROW.replace(",", "|")], "no column 'time'.*parted by commas, semicolons or tabs"),
        (["time,x [hPa],y,z,variable,value,error,station", ROW], "line 2: column 'x' is in 'hPa', expected 'm'"),
        (
            ["time,x,y,z,variable,value [ppm],error,station", ROW],
            "line 2: Tracer is in 'ppm', and which unit it has in the model is not known",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(tmp_path, lines, message):
    with pytest.raises(ReadingsError, match="readings.csv.*" + message):
        read_readings(written(tmp_path, *lines))


def test_another_encoding_is_named(tmp_path):
    with pytest.raises(ReadingsError, match="readings.csv: cannot be read: .*; save it as UTF-8"):
        read_readings(written(tmp_path, HEADER, ROW.replace("S4", "Köln"), encoding="latin-1"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S\x1b[2J4", r"column 'station': 'S\\x1b\[2J4' has the control character '\\x1b'; take it out"),
        ("S\u202e4", r"has the control character '\\u202e'"),
        ("S\x004", r"has the control character '\\x00'"),
        ("S" * 3000, "column 'station': 'SSSSSSSSSSSSSSSSSSSS'… has 3,000 characters, expected a name of at most 100"),
    ],
)
def test_names_that_do_harm_are_refused(tmp_path, name, message):
    with pytest.raises(ReadingsError, match="readings.csv, line 2, " + ".*" + message):
        read_readings(written(tmp_path, HEADER, ROW.replace("S4", name)))


def test_blanks_within_names(tmp_path):
    assert read_readings(written(tmp_path, HEADER, ROW.replace("S4", '"North\n gate"'))).station.tolist() == [
        "North gate"
    ]


@pytest.mark.parametrize("name", ["=1+2", "+cmd", "-1", "@sum", '=HYPERLINK("x")'])
def test_names_are_no_formulas_in_our_tables(tmp_path, name):
    folder = tmp_path / "0001"
    folder.mkdir()
    row = {**dict.fromkeys(TABLE, -1.0), "station": name, "variable": "Tracer", "used": "yes"}
    write_table(folder / "readings.csv", [row])
    with open(folder / "readings.csv", newline="") as file:
        (cells,) = csv.DictReader(file)
    assert cells["station"] == f"'{name}" and cells["value"] == "-1.0"
    # what reads our tables has the name again, and so has a table that becomes an input
    assert read_tables(tmp_path)["station"].tolist() == [name]
    row |= {"error": 1.0, "innovation": None}
    write_table(folder / "readings.csv", [row])
    assert read_readings(folder / "readings.csv").station.tolist() == [name]


def test_a_large_file_takes_linear_time(tmp_path):
    rows = [ROW.replace("S4", f"S{k}") for k in range(20000)]
    assert len(np.unique(read_readings(written(tmp_path, HEADER, *rows)).station)) == 20000
