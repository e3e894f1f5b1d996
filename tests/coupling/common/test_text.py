"""Texts of others, fit to be shown."""

import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from coupling.common.text import counted, end_of_file, last_lines, printable


def test_what_a_terminal_would_obey_is_written_out():
    assert printable("a\x1b[31mb\x07\x9b\x7f\r") == r"a\x1b[31mb\x07\x9b\x7f\x0d"
    assert printable("\u202eevil\u2028\ud800") == r"\u202eevil\u2028\ud800"
    assert printable("Temperature 3 → 4 °C\n\tσ é 日本") == "Temperature 3 → 4 °C\n\tσ é 日本"


@given(st.text(st.characters()))
def test_nothing_but_printable_characters_tabs_and_lines_is_left_of_the_controls(text):
    shown = printable(text)
    assert not [c for c in shown if ord(c) < 32 and c not in "\n\t" or 127 <= ord(c) < 160]
    assert printable(shown) == shown
    shown.encode()


def test_the_last_lines_of_a_file(tmp_path):
    path = tmp_path / "log"
    path.write_text("".join(f"line {k}\n" for k in range(100)) + "\n\n")
    assert last_lines(path, 3) == ["line 97", "line 98", "line 99"]
    path.write_text("")
    assert last_lines(path, 3) == [] and last_lines(tmp_path / "none", 3) == [] and last_lines(tmp_path, 3) == []


def test_one_long_line_is_cut_and_never_read_as_a_whole(tmp_path):
    path = tmp_path / "log"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
        file.seek(0, 2)
        file.write(b"\x1b[31m the end")
    tracemalloc.start()
    (line,) = last_lines(path, 15)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(line) < 600 and "\x1b" not in line and most < 100e6
    assert len(end_of_file(path)) <= 1 << 20


def test_colours_are_taken_away_and_not_written_out(tmp_path):
    path = tmp_path / "log"
    path.write_text(
        "\x1b[0m\x1b[31m2026-11-29 (0.1s) vtkXMLReader.cxx:360 ERR| no file\x1b[0m\n\x1b[1;38:5:9mred\x1b[K\x07\n"
    )
    assert last_lines(path, 2) == ["2026-11-29 (0.1s) vtkXMLReader.cxx:360 ERR| no file", r"red\x07"]


def test_bytes_that_are_no_text_are_shown_as_such(tmp_path):
    (tmp_path / "log").write_bytes(b"\xff\xfe abc\n")
    assert last_lines(tmp_path / "log", 1) == ["\ufffd\ufffd abc"]


def test_one_is_no_plural():
    assert [counted(n, "reading") for n in (0, 1, 2)] == ["0 readings", "1 reading", "2 readings"]
