"""Damaged files: a reader returns their contents or says that they are broken, and nothing else."""

import numpy as np
import pytest
from contents import SELF, content, small_mesh, small_state
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coupling.archive import Archive, ArchiveWriter
from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.geometry.mesh import MeshError
from coupling.vtk.dumps import write_dump
from coupling.vtk.sizes import SizeError, check_sizes
from coupling.vtk.vtu import read_state

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
DAMAGES = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "zero", "insert", "drop"]), st.floats(0, 1), st.integers(1, 255)),
    min_size=1,
    max_size=4,
)


def damaged(data, damages):
    """Bytes with some of them changed, taken away or put in."""
    data = bytearray(data)
    for kind, where, by in damages:
        at = int(where * max(0, len(data) - 1))
        if kind == "flip" and data:
            data[at] ^= by
        elif kind == "cut":
            del data[at:]
        elif kind == "zero":
            data[at : at + by] = bytes(len(data[at : at + by]))
        elif kind == "insert":
            data[at:at] = bytes([by]) * (by % 7 + 1)
        elif kind == "drop":
            del data[at : at + by % 40 + 1]
    return bytes(data)


@pytest.fixture(scope="module")
def state():
    mesh = small_mesh(40)
    return small_state(1.5, mesh, a=np.linspace(0.0, 1.0, mesh.n_nodes), b=np.ones((mesh.n_nodes, 3)))


@pytest.fixture(scope="module")
def vtu(state, tmp_path_factory):
    return write_dump(state, tmp_path_factory.mktemp("vtu") / "s", SELF).read_bytes()


@pytest.fixture(scope="module")
def archive(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("archive") / "s.vtkhdf"
    with ArchiveWriter(path, SELF) as writer:
        writer.append(state)
    return path.read_bytes()


@MANY
@given(damages=DAMAGES)
def test_vtu(vtu, state, tmp_path, damages):
    path = tmp_path / "s.vtu"
    path.write_bytes(damaged(vtu, damages))
    try:
        result = read_state(path, SELF)
    except (FileError, MeshError) as error:
        assert str(error)
        return
    for field in result.fields.values():  # what could be read is complete
        assert len(field.values) == (field.mesh.n_nodes if field.location == "point" else field.mesh.n_cells)
        assert field.mesh.cells.min(initial=0) >= 0 and field.mesh.cells.max(initial=-1) < field.mesh.n_nodes


@MANY
@given(damages=DAMAGES)
def test_archive(archive, state, tmp_path, damages):
    path = tmp_path / "s.vtkhdf"
    path.write_bytes(damaged(archive, damages))
    try:
        with Archive(path, SELF) as opened:
            content(opened.read(0))
    except (FileError, MeshError) as error:
        assert str(error)


@MANY
@given(damages=DAMAGES)
def test_options(fluidity_data, tmp_path, damages):
    path = tmp_path / "s.flml"
    path.write_bytes(damaged((fluidity_data / "serial/mini.flml").read_bytes(), damages))
    try:
        flml.required(flml.read_options(path), "timestepping/timestep", float, path)
    except FileError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'NumberOfPoints="160', b'NumberOfPoints="999999999160', "bytes are|are expected for its number of points"),
        (b'NumberOfCells="40', b'NumberOfCells="-40', "expected a whole number"),
        (b'NumberOfComponents="3"', b'NumberOfComponents="300000000"', "are expected"),
        (b"<VTKFile", b"<!DOCTYPE a [<!ENTITY b 'c'>]><VTKFile", "document type or XML entities"),
        (b'header_type="UInt32"', b'header_type="Float64"', "sizes of type 'Float64'"),
        (b'type="UInt8"', b'type="Object"', "of type 'Object'"),
        (b"<VTKFile", b"<VTKFool", "XML|no VTK file"),
    ],
)
def test_impossible_sizes(vtu, tmp_path, old, new, message):
    assert old in vtu, vtu[:600]
    path = tmp_path / "s.vtu"
    path.write_bytes(vtu)
    check_sizes(path)
    path.write_bytes(vtu.replace(old, new, 1))
    with pytest.raises(SizeError, match=message):
        check_sizes(path)


@pytest.mark.parametrize("words", [2**31, 2**32 - 1, 1 << 27])
def test_impossible_blocks(vtu, tmp_path, words):
    begin = vtu.index(b"_", vtu.index(b"<AppendedData")) + 1
    path = tmp_path / "s.vtu"
    for word in range(4):  # how many blocks, how large they are, the last one, and what the first takes
        at = begin + 4 * word
        path.write_bytes(vtu[:at] + words.to_bytes(4, "little") + vtu[at + 4 :])
        with pytest.raises(SizeError):
            check_sizes(path)


def test_a_piece_elsewhere_is_refused(fluidity_data, tmp_path):
    text = (fluidity_data / "parallel/mini_3.pvtu").read_text()
    path = tmp_path / "mini_3.pvtu"
    path.write_text(text.replace('Source="mini_3/', f'Source="{fluidity_data}/parallel/mini_3/'))
    with pytest.raises(FileError, match="outside its own folder"):
        read_state(path, SELF)
