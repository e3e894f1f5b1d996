"""Options files: what is refused, and where they may lie."""

import shutil

import numpy as np
import pytest
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.halo import read_halo, write_halo

COMM = MPI.COMM_SELF


@pytest.mark.parametrize(
    "declaration",
    [
        '<!DOCTYPE fluidity_options SYSTEM "other.dtd">',
        '<!DOCTYPE fluidity_options PUBLIC "-//A//B" "http://localhost/other.dtd">',
        "<!DOCTYPE fluidity_options [<!ENTITY name 'text'>]>",
        "<!DOCTYPE fluidity_options [<!ENTITY % name SYSTEM 'other.dtd'>]>",
        "<!DOCTYPE fluidity_options>",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_document_type_is_refused(declaration, encoding, tmp_path):
    path = tmp_path / "case.flml"
    text = f'<?xml version="1.0" encoding="{encoding}"?>{declaration}<fluidity_options/>'
    path.write_bytes(text.encode(encoding))
    with pytest.raises(FileError, match="case.flml: declares a document type"):
        flml.read_options(path)


@pytest.mark.parametrize("folder", ["west wind %20 100%", "Straße", "風 %41", "a#b?c&d"])
def test_any_folder_will_do(folder, fluidity_data, tmp_path):
    """lxml takes a name for a URL."""
    shutil.copytree(fluidity_data / "parallel", tmp_path / folder)
    restart = open_restart(tmp_path / folder / "mini_3_checkpoint.flml")
    state = read_fields(restart, COMM, ["Tracer"])
    written = write_restart(restart, tmp_path / folder / "analysis", COMM, state.fields)
    np.testing.assert_array_equal(read_fields(written, COMM)["Tracer"].values, state["Tracer"].values)
    path = tmp_path / folder / "of %20 mine.flml"
    flml.write_options(flml.read_options(restart.options), path)
    assert flml.read_options(path).getroot().tag == "fluidity_options"
    halo = read_halo(tmp_path / folder / "mesh_0.halo")
    write_halo(halo, tmp_path / folder / "mesh %41_0.halo")
    assert read_halo(tmp_path / folder / "mesh %41_0.halo").n_nodes == halo.n_nodes
