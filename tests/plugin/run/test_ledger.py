"""The ledger: whole lines or none, and no change goes unnoticed."""

import pytest

from plugin.run.ledger import LedgerError, append_entry, go_back, read_ledger


@pytest.fixture
def ledger(tmp_path):
    path = tmp_path / "ledger.jsonl"
    for k in range(3):
        append_entry(path, {"window": k, "time": 0.1 * k})
    return path


def test_entries_come_back_in_order(ledger):
    assert read_ledger(ledger) == [{"window": k, "time": 0.1 * k} for k in range(3)]
    assert read_ledger(ledger.with_name("none")) == []


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_line_cut_off_by_a_crash_is_no_entry_and_is_replaced(ledger, cut):
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    assert [e["window"] for e in read_ledger(ledger)] == [0, 1]
    append_entry(ledger, {"window": 9})
    assert [e["window"] for e in read_ledger(ledger)] == [0, 1, 9]


def test_a_changed_line_is_noticed(ledger):
    ledger.write_text(ledger.read_text().replace('"window": 1', '"window": 7'))
    with pytest.raises(LedgerError, match="line 2: does not match its checksum"):
        read_ledger(ledger)


def test_what_is_not_json_is_refused_before_writing(ledger):
    before = ledger.read_bytes()
    with pytest.raises(ValueError):
        append_entry(ledger, {"cost": float("nan")})
    assert ledger.read_bytes() == before


def test_entries_gone_back_over_count_no_longer_and_stay_in_the_file(ledger):
    before = ledger.read_bytes()
    go_back(ledger, 1)
    append_entry(ledger, {"window": 7})
    assert [e["window"] for e in read_ledger(ledger)] == [0, 7]
    go_back(ledger, 1)
    assert [e["window"] for e in read_ledger(ledger)] == [0]
    assert ledger.read_bytes().startswith(before)


def test_a_last_line_of_any_bytes_is_unfinished(ledger):
    whole = ledger.read_bytes()
    ledger.write_bytes(whole + b"\x00\xff\xfe\x00")
    append_entry(ledger, {"window": 3})
    assert [e["window"] for e in read_ledger(ledger)] == [0, 1, 2, 3] and ledger.read_bytes().startswith(whole)


def test_only_the_end_of_a_ledger_is_read_before_a_line_is_added(ledger, monkeypatch):
    for k in range(3, 40):
        append_entry(ledger, {"window": k, "text": "x" * 5000})
    whole = ledger.read_bytes()
    monkeypatch.setattr("plugin.run.ledger._BLOCK", 64)
    monkeypatch.setattr("plugin.run.ledger._read", None)  # what reads all of it
    append_entry(ledger, {"window": 40})
    assert ledger.read_bytes().startswith(whole)
    ledger.write_bytes(ledger.read_bytes()[:-3])
    append_entry(ledger, {"window": 41})
    monkeypatch.undo()
    assert [e["window"] for e in read_ledger(ledger)] == [*range(40), 41]


@pytest.mark.parametrize("begin", [b"", b"\x00\x00", b'{"checksum": '])
def test_a_ledger_without_a_whole_line_begins_anew(tmp_path, begin):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(begin)
    append_entry(path, {"window": 1})
    assert read_ledger(path) == [{"window": 1}]
