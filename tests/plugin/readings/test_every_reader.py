"""What every reader of readings must do, whatever its format: a new one is added to WRITERS."""

import h5py
import numpy as np
import pytest
from netcdf_readings import AXES, write_netcdf

from plugin.readings import _READERS, Choice, ReadingsError, read_readings

pytestmark = pytest.mark.filterwarnings("ignore:`product` is deprecated:DeprecationWarning")

TIMES, PLACE = [20.0, 10.0, 30.0], [4.0, 10.0, 7.0]
VALUES = {"Tracer": [0.5, 0.25, 0.75], "Salt": [1.0, 2.0, 3.0]}


def _csv(folder, values):
    place = ",".join(map(str, PLACE))
    rows = [f"{t},{place},{n},{v[k]},,S1" for n, v in values.items() for k, t in enumerate(TIMES)]
    path = folder / "a.csv"
    path.write_text("\n".join(["time,x,y,z,variable,value,error,station", *rows]))
    return path


def _netcdf(folder, values):
    axes = {a: (("obs",), [c] * 3, AXES[a]) for a, c in zip("xyz", PLACE, strict=True)}
    names = {"name": (("obs", "letters"), np.array([list("S1")] * 3, dtype="S1"), {"cf_role": "timeseries_id"})}
    data = {name: (("obs",), of, {}) for name, of in values.items()}
    time = {"time": (("obs",), TIMES, AXES["time"])}
    return write_netcdf(folder / "a.nc", "classic", {**names, **axes, **time, **data})


def _detectors(folder, values):
    fields = "".join(
        f'<field column="{k}" name="{name}" statistic="S1" material_phase="Fluid"/>'
        for k, name in enumerate(values, start=5)
    )
    header = f'<header><field column="1" name="ElapsedTime" statistic="value"/><field column="2" name="S1" \
statistic="position" components="3"/>{fields}</header>\n'
    rows = np.column_stack([TIMES, np.tile(PLACE, (3, 1)), *values.values()])
    path = folder / "a.detectors"
    path.write_text(header + "".join(" ".join(map(repr, row)) + "\n" for row in rows.tolist()))
    return path


def _h5part(folder, values):
    path = folder / "a.h5part"
    with h5py.File(path, "w") as file:
        file.attrs["S1%ids"] = np.array([7], np.int32)
        for k, time in enumerate(TIMES):
            step = file.create_group(f"Step#{k}")
            step.attrs["time"] = np.array([time])
            step["id"] = np.array([7], np.int32)
            for axis, at in zip("xyz", PLACE, strict=True):
                step[axis] = np.array([at])
            for name, of in values.items():
                step[f"Fluid%{name}"] = np.array([of[k]])
    return path


WRITERS = {".csv": _csv, ".nc": _netcdf, ".detectors": _detectors, ".h5part": _h5part}
every = pytest.mark.parametrize("suffix", WRITERS)


def test_every_reader_is_here():
    assert {_READERS[suffix] for suffix in WRITERS if suffix in _READERS} == set(_READERS.values())


@every
def test_readings_come_ordered_by_time_with_all_they_have(tmp_path, suffix):
    readings = read_readings(WRITERS[suffix](tmp_path, VALUES), Choice(("Tracer",), errors={"Tracer": 0.1}))
    assert readings.time.tolist() == [10, 20, 30] and readings.value.tolist() == [0.25, 0.5, 0.75]
    assert readings.position.tolist() == [PLACE] * 3 and readings.error.tolist() == [0.1] * 3
    assert set(readings.variable) == {"Tracer"} and set(readings.station) == {"S1"}


@every
def test_names_of_the_case_count(tmp_path, suffix):
    choice = Choice(("c",), names={"Salt": "c"}, errors={"c": 0.1})
    readings = read_readings(WRITERS[suffix](tmp_path, VALUES), choice)
    assert set(readings.variable) == {"c"} and readings.value.tolist() == [2.0, 1.0, 3.0]


@every
def test_an_error_is_needed_and_positive(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path, VALUES)
    with pytest.raises(ReadingsError, match="no error is given for 'Tracer'"):
        read_readings(path, Choice(("Tracer",), errors={"Salt": 1.0}))
    with pytest.raises(ReadingsError, match="error 0.0 of 'Tracer'"):
        read_readings(path, Choice(("Tracer",), errors={"Tracer": 0.0}))


@every
@pytest.mark.parametrize(
    "content", [b"", b"\x00" * 64, bytes(range(256)), b"CDF\x01", b"\x89HDF\r\n\x1a\n", b"<header>"]
)
def test_what_is_no_such_file_is_named(tmp_path, suffix, content):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(ReadingsError, match=f"a{suffix}"):
        read_readings(path)


@every
def test_a_file_cut_off_anywhere_is_named_or_read(tmp_path, suffix):
    path = WRITERS[suffix](tmp_path, VALUES)
    whole = path.read_bytes()
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        try:
            read_readings(path, Choice(errors={"Tracer": 0.1, "Salt": 0.1}))
        except ReadingsError as error:
            assert f"a{suffix}" in str(error)


@every
def test_a_file_that_is_not_there_is_named(tmp_path, suffix):
    with pytest.raises(ReadingsError, match=f"none{suffix}.*cannot be read"):
        read_readings(tmp_path / f"none{suffix}")
