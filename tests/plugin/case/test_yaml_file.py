"""The case file as YAML 1.2: texts that YAML 1.1 takes for something else, and files that would take all memory."""

import re
import time
from datetime import UTC, datetime

import pytest

from plugin.case.configuration import ConfigurationError, read_case
from plugin.case.dates import parse_date
from plugin.case.yaml_file import YamlError, read_yaml, yaml_text

CASE = """\
grid: {spacing: 8}
variables: [NO, NO2, on, y]
background: {snapshots: [{path: a, every: 010}]}
observations: {file: a.nc, epoch: EPOCH, names: {NO: NO2, 010: NO}}
"""


def written(tmp_path, text):
    path = tmp_path / "case.yml"
    path.write_text(text, encoding="utf-8")
    return path


def read(tmp_path, text):
    return read_yaml(written(tmp_path, text)).values


def test_words_and_numbers_of_yaml_1_2(tmp_path):
    texts = "a: [NO, yes, off, n, 1:30, 2020-01-31, '10', !!str 10, 'true']"
    assert read(tmp_path, texts) == {"a": ["NO", "yes", "off", "n", "1:30", "2020-01-31", "10", "10", "true"]}
    numbers = read(tmp_path, "a: [010, 0o10, 0x1F, -3, .5, 1e-3, 2., true, False, null, ~, ]")["a"]
    assert numbers == [10, 8, 31, -3, 0.5, 1e-3, 2.0, True, False, None, None]
    # whatever version a file says it is of
    assert read(tmp_path, "%YAML 1.1\n---\na: [NO, 010, 1:30]\n")["a"] == ["NO", 10, "1:30"]


@pytest.mark.parametrize(
    ("epoch", "expected"),
    [
        ("20200131", datetime(2020, 1, 31)),
        ('"20200131"', datetime(2020, 1, 31)),
        ("2020-01-31", datetime(2020, 1, 31)),
        ("2020-1-31 9:05:00", datetime(2020, 1, 31, 9, 5)),
        ("2020-01-31T12:00:00.25Z", datetime(2020, 1, 31, 12, 0, 0, 250000, tzinfo=UTC)),
        ("2020-01-31 14:00:00 +2", datetime(2020, 1, 31, 12, tzinfo=UTC)),
    ],
)
def test_names_and_dates_of_a_case(tmp_path, epoch, expected):
    case = read_case(written(tmp_path, CASE.replace("EPOCH", epoch).replace(", 010: NO", "")), needed=())
    assert case.variables == ["NO", "NO2", "on", "y"] and case.background.snapshots[0].every == 10
    assert case.observations.epoch == expected and case.observations.names == {"NO": "NO2"}


@pytest.mark.parametrize("epoch", ["2020", "0", "1.5e9", "1580472000", "true", "2020-02-30", "tomorrow", "[1]"])
def test_what_is_no_date(tmp_path, epoch):
    path = written(tmp_path, CASE.replace("EPOCH", epoch).replace(", 010: NO", ""))
    with pytest.raises(ConfigurationError, match="line 4: observations.epoch: found .*a date like 2020-01-31T12:00:00"):
        read_case(path, needed=())


@pytest.mark.parametrize("text", ["2020-01-31 12:00:60", "2020-01-31 12", "20201331", "2020-01-31 12:00 CET"])
def test_dates_that_do_not_exist(text):
    with pytest.raises(ValueError, match="expected a date"):
        parse_date(text)


def test_aliases_and_merged_sections(tmp_path):
    assert read(tmp_path, "a: &a {b: 1, c: 2}\nd: *a\ne: {<<: *a, c: 3}\nf: {<<: [*a, {g: 4}]}\n") == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 1, "c": 2},
        "e": {"b": 1, "c": 3},
        "f": {"b": 1, "c": 2, "g": 4},
    }


def test_values_written_are_read_again(tmp_path):
    values = {"b": ["NO", "010", 10, 1.5, None, True, "2020-01-31", "µ"], "a": {"d": [], "c": {}}}
    text = yaml_text(values)
    assert read(tmp_path, text) == values and text.index("b:") < text.index("a:") and "µ" in text


ALIASES = "a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]\n" for k in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (ALIASES, 5, "has more than 20,000 values, those behind aliases counted each time"),
        ("a: [" + "1," * 100_000 + "]", 1, "has more than 20,000 values"),
        ("a: &x [*x]", 1, r"the alias '\*x' contains itself"),
        ("a: &x {b: *x}", 1, r"the alias '\*x' contains itself"),
        ("[" * 100_000, 1, "lists and sections lie more than 40 deep in each other"),
        ("{a: " * 100_000, 1, "more than 40 deep"),
        ("\n".join(" " * k + "-" for k in range(1000)), 41, "more than 40 deep"),
        ("a" * 2**21, None, "is larger than 1 MiB, expected a few lines of settings"),
        ("a: 1\nb: 2\na: 3", 3, "key 'a' is given twice, first in line 1"),
        ("? [a]\n: 1", 1, "found a list or section for a key, expected a word"),
        ("a:\n  ~: 1", 2, "found None for a key"),
        ("a: !!python/object/apply:os.system [ls]", 1, "could not determine a constructor for the tag"),
        ("a: !!set {b, c}", 1, "could not determine a constructor for the tag"),
        ("a: 1\nb: [1", 2, "expected ',' or ']'"),
        ("a: {<<: 3}", 1, "<< takes a section"),
    ],
)
def test_what_is_refused_takes_neither_memory_nor_time(tmp_path, text, line, message):
    path, start = written(tmp_path, text), time.process_time()
    with pytest.raises(YamlError, match=message) as error:
        read_yaml(path)
    assert error.value.line == line and time.process_time() - start < 30
    with pytest.raises(ConfigurationError, match="case.yml" + (f", line {line}: " if line else ": ")):
        read_case(path)


def test_a_device_without_end(tmp_path):
    with pytest.raises(ConfigurationError, match="/dev/zero: is larger than 1 MiB"):
        read_case("/dev/zero")


@pytest.mark.parametrize("word", ["null", "~", "True", "007", "0x1F", "1e5", "1.10", ".nan"])
def test_words_that_are_no_texts_are_quoted_in_the_advice(tmp_path, word):
    texts = CASE.replace("EPOCH", "2020-01-31").replace(", 010: NO", "")
    for old, new, where in (
        ("NO2, on", f"NO2, {word}", "line 2: variables.2"),
        ("file: a.nc", f"file: a.nc, withheld: [S1, {word}]", "line 4: observations.withheld.1"),
    ):
        message = re.escape(f'expected a text, write it in quotes: "{word}"')
        with pytest.raises(ConfigurationError, match=f"{where}: found .*; {message}"):
            read_case(written(tmp_path, texts.replace(old, new)), needed=())
        read_case(written(tmp_path, texts.replace(old, new.replace(word, f'"{word}"'))), needed=())


def test_messages_stay_short(tmp_path):
    long = CASE.replace("EPOCH", "2020-01-31").replace("{spacing: 8}", "{spacing: " + "x" * 5000 + "}")
    with pytest.raises(ConfigurationError) as error:
        read_case(written(tmp_path, long), needed=())
    assert len(str(error.value)) < 1500 and "x…" in str(error.value)
    many = CASE.replace("EPOCH", "2020-01-31").replace("[NO, NO2, on, y]", str(list(range(100))))
    with pytest.raises(ConfigurationError, match=r"line 2: variables.0: found 0; .*(?s:.)*\nand 8\d more$"):
        read_case(written(tmp_path, many), needed=())
