"""Damaged or random case files and readings: either an error of their own kind or sound values."""

import datetime

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugin.case.configuration import Case, ConfigurationError, read_case
from plugin.readings import Choice, ReadingsError, read_readings

MANY = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SOUND = """model: {driver: embedded, start: start.flml, processes: 2}
cycle: {window: 8, windows: 3}
grid: {spacing: [8.0, 8.0, 5.0]}
variables: [Tracer, Velocity]
background: {snapshots: [{path: earlier}], truncation: 16}
observations: {file: readings.csv, errors: {Tracer: 0.1}, quality: {range: {Tracer: [0, 10]}}}
"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.dates(datetime.date(1990, 1, 1)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
HEADER = "time,x,y,z,variable,value,error\n"


def _read(tmp_path, text):
    path = tmp_path / "case.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    try:
        assert isinstance(read_case(path), Case)
    except ConfigurationError as error:
        assert str(error).startswith(str(path))


@MANY
@given(text=st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_as_a_case(tmp_path, text):
    _read(tmp_path, text)


@MANY
@given(at=st.floats(0, 1), length=st.integers(0, 30), instead=st.text(max_size=6))
def test_a_sound_case_with_a_part_replaced(tmp_path, at, length, instead):
    at = int(at * len(SOUND))
    _read(tmp_path, SOUND[:at] + instead + SOUND[at + length :])


@MANY
@given(data=st.data(), value=VALUES)
def test_a_sound_case_with_any_value_in_the_place_of_one(tmp_path, data, value):
    case = yaml.safe_load(SOUND)
    section = data.draw(st.sampled_from(sorted(case)))
    if isinstance(case[section], dict) and data.draw(st.booleans()):
        case[section][data.draw(st.sampled_from(sorted(case[section])))] = value
    else:
        case[section] = value
    _read(tmp_path, yaml.safe_dump(case, allow_unicode=True))


@MANY
@given(rows=st.text(max_size=300) | st.binary(max_size=300), header=st.booleans())
def test_any_text_as_readings(tmp_path, rows, header):
    path = tmp_path / "readings.csv"
    rows = rows if isinstance(rows, bytes) else rows.encode("utf-8", "surrogatepass")
    path.write_bytes((HEADER.encode() if header else b"") + rows)
    try:
        found = read_readings(path, Choice(("Tracer",), {}, {}, None))
    except ReadingsError as error:
        assert "readings.csv" in str(error)
        return
    assert (found.error > 0).all()


@MANY
@given(
    words=st.lists(
        st.sampled_from(["8", "1e400", "nan", "-3", "", "Tracer", "0.1", "x", "١", "1_0", " 2 "]), max_size=9
    )
)
def test_any_words_as_a_reading(tmp_path, words):
    path = tmp_path / "readings.csv"
    path.write_text(HEADER + ",".join(words) + "\n", encoding="utf-8")
    try:
        found = read_readings(path, Choice(("Tracer",), {}, {}, None))
    except ReadingsError as error:
        assert "line 2" in str(error) or not words
        return
    assert len(found) <= 1 and not any(map(any, (found.value != found.value, found.error <= 0)))


def test_aliases_that_multiply_are_refused_or_read_in_no_time(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    for k in "bcdefghij":
        lines.append(f"{k}: &{k} [" + ", ".join([f"*{chr(ord(k) - 1)}"] * 9) + "]")
    path = tmp_path / "case.yml"
    path.write_text("\n".join(lines))
    with pytest.raises(ConfigurationError) as told:
        read_case(path)
    assert len(str(told.value)) < 100_000
