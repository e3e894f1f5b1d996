"""JSON too deep for its reader is a damaged file, whoever reads it, and never a traceback."""

import h5py
import pytest
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.common.locks import InUseError, take
from coupling.common.manifest import NAME, check_manifest
from plugin.case.configuration import ConfigurationError
from plugin.report.run import read_run
from plugin.run.ledger import LedgerError, append_entry, read_ledger
from plugin.run.settings import kept_settings
from plugin.window.background.modes_file import FORMAT, VERSION, ModesFileError, read_about

COMM = MPI.COMM_SELF
DEEP = "[" * 100_000


def test_settings_of_a_run(tmp_path):
    (tmp_path / "case.json").write_text(DEEP)
    with pytest.raises(ConfigurationError, match="case.json: is not what was written"):
        kept_settings(tmp_path / "case.json")
    with pytest.raises(ConfigurationError, match="case.json: no settings of a run"):
        read_run(tmp_path)


def test_a_ledgers_line(tmp_path):
    path = tmp_path / "ledger.jsonl"
    append_entry(path, {"window": 1})
    whole = path.read_bytes()
    path.write_bytes(DEEP.encode() + b"\n" + whole)
    with pytest.raises(LedgerError, match="line 1: does not match its checksum"):
        read_ledger(path)


def test_a_manifest(tmp_path):
    (tmp_path / NAME).write_text(DEEP)
    with pytest.raises(FileError, match="is not the list that was written"):
        check_manifest(tmp_path, COMM)


def test_a_lock(tmp_path):
    (tmp_path / "lock").write_text(DEEP)
    with pytest.raises(InUseError, match="cannot be understood"):
        take(tmp_path / "lock", "a run", lambda text: None)


def test_a_modes_file(tmp_path):
    path = tmp_path / "modes.h5"
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "name": "tsvd", "n_samples": 3, "about": "[" * 30_000})
    with pytest.raises(ModesFileError, match="modes.h5: is damaged"):
        read_about(path)
