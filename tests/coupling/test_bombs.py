"""Small files that claim to be large, or lead elsewhere: each is refused with a sentence, before memory is taken."""

import io
import re
import subprocess
import sys
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
from contents import SELF, small_mesh, small_state

from coupling.archive import Archive, ArchiveWriter, describe, join_archives
from coupling.common.files import FileError
from coupling.fluidity.halo import read_halo
from coupling.fluidity.options import read_options
from coupling.vtk.dumps import write_dump
from coupling.vtk.sizes import SizeError, check_sizes
from coupling.vtk.vtu import dump_time, piece_paths, read_state
from coupling.vtk.xml import XmlError, check_prolog

HUGE = 1 << 31
MEMORY = 50 * 2**20  # bytes that a refusal may take

BODY = '<VTKFile type="UnstructuredGrid"><UnstructuredGrid/></VTKFile>'
DOCTYPES = {
    "entity": '<!DOCTYPE a [<!ENTITY b "c">]>',
    "external entity": '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>',
    "parameter entity": '<!DOCTYPE a [<!ENTITY % b SYSTEM "file:///etc/passwd"> %b;]>',
    "external": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/a.dtd">',
    "public": '<!DOCTYPE a PUBLIC "-//W3C//DTD XHTML 1.0//EN" "http://127.0.0.1:9/a.dtd">',
    "plain": "<!DOCTYPE a>",
}
READERS = {
    "s.flml": read_options,
    "s.halo": read_halo,
    "s.pvtu": piece_paths,
    "s.vtu": lambda path: read_state(path, SELF),
}


@pytest.fixture(scope="module")
def vtu(tmp_path_factory):
    mesh = small_mesh(40)
    state = small_state(1.5, mesh, a=np.linspace(0.0, 1.0, mesh.n_nodes))
    return write_dump(state, tmp_path_factory.mktemp("vtu") / "s", SELF).read_bytes()


@pytest.fixture
def archive(tmp_path):
    path = tmp_path / "s.vtkhdf"
    mesh = small_mesh(40)
    with ArchiveWriter(path, SELF) as writer:
        for time in (0.0, 1.0):
            writer.append(small_state(time, mesh, a=np.linspace(0.0, 1.0, mesh.n_nodes) + time))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
@pytest.mark.parametrize("doctype", DOCTYPES.values(), ids=DOCTYPES)
@pytest.mark.parametrize("name", READERS)
def test_document_types_are_refused_in_any_xml(tmp_path, name, doctype, encoding):
    word = re.sub("-sig|-.e$", "", encoding)
    path = tmp_path / name
    path.write_bytes(f'<?xml version="1.0" encoding="{word}"?><!-- é --> {doctype}{BODY}'.encode(encoding))
    with pytest.raises(FileError, match=f"{name}: .*(document type or XML entities|not well-formed XML)"):
        READERS[name](path)


def test_entities_that_grow_without_end_are_not_expanded(tmp_path):
    levels = "".join(f'<!ENTITY a{k} "{f"&a{k - 1};" * 10 if k else "0123456789"}">' for k in range(10))
    text = f'<!DOCTYPE a [{levels}]><VTKFile a="&a9;">&a9;</VTKFile>'
    for name, reader in READERS.items():
        (tmp_path / name).write_text(text)
        tracemalloc.start()
        with pytest.raises(FileError, match="document type or XML entities"):
            reader(tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
        tracemalloc.stop()


@pytest.mark.parametrize("name", READERS)
def test_a_file_of_utf_16_without_a_document_type_is_no_vtu(tmp_path, name):
    (tmp_path / name).write_bytes(f'<?xml version="1.0" encoding="utf-16"?>{BODY}'.encode("utf-16"))
    with pytest.raises(FileError, match="not text in UTF-8" if name == "s.vtu" else "expected|no pieces"):
        READERS[name](tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-7", "rot13", "hex", "nothing", "utf-32", "idna"])
def test_other_encodings_are_refused(encoding):
    with pytest.raises(XmlError, match="not well-formed XML"):
        check_prolog(io.BytesIO(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode()))


@pytest.mark.parametrize("name", READERS)
def test_deep_nesting_is_refused(tmp_path, name):
    (tmp_path / name).write_text("<VTKFile>" + "<a>" * 200_000 + "</a>" * 200_000 + "</VTKFile>")
    with pytest.raises(FileError, match=f"{name}: not well-formed XML: .*[Dd]epth"):
        READERS[name](tmp_path / name)


def test_xml_that_never_begins_is_refused(tmp_path):
    for name, reader in READERS.items():
        for text in ("", "   ", "<!-- ", '<?xml version="1.0"?>', "\0" * 100, "<" * 100):
            (tmp_path / name).write_text(text)
            with pytest.raises(FileError, match=name):
                reader(tmp_path / name)


def changed(vtu, old, new):
    """A VTU with another header; `old` must be there."""
    head, data = vtu.split(b"<AppendedData", 1)
    assert re.search(old, head), head
    return re.sub(old, new, head, count=1) + b"<AppendedData" + data


FIELD_DATA = (
    b'<FieldData><DataArray type="Float64" Name="t" NumberOfTuples="%d" format="ascii">1</DataArray></FieldData><Piece'
)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (rb"<Piece", FIELD_DATA % (1 << 40), "array t of 8796093022208 bytes, its text cannot hold them"),
        (rb'NumberOfPoints="160', b'NumberOfPoints="9223372036854775807', "are expected for its number"),
        (rb'NumberOfPoints="160', b'NumberOfPoints="' + b"9" * 5000, "expected a whole number"),
        (rb'(?s)<Points>.*</Points>', b"", "has 160 for NumberOfPoints, but no array Points in <Points>"),
        (rb'(?s)<Cells>.*</Cells>', b"<Cells/>", "has 40 for NumberOfCells, but no array connectivity in <Cells>"),
        (rb'Name="types"', b'Name="kinds"', "no array types in <Cells>"),
        (rb'format="appended"', b'format="ascii"', None),  # an offset alone makes it appended, here and in VTK
    ],
)  # fmt: skip
def test_headers_that_claim_what_is_not_there_are_refused(vtu, tmp_path, old, new, message):
    path = tmp_path / "s.vtu"
    path.write_bytes(changed(vtu, old, new))
    if message is None:
        assert read_state(path, SELF)["a"].mesh.n_nodes == 160
        path.write_bytes(changed(path.read_bytes(), rb'NumberOfPoints="160', b'NumberOfPoints="170'))
        message = "are expected for its number of points"
    with pytest.raises(FileError, match=message):
        read_state(path, SELF)
    with pytest.raises(FileError, match=message):
        dump_time(path)


def test_many_arrays_of_the_same_bytes_are_refused(vtu, tmp_path):
    array = re.search(rb'<DataArray type="Float64" Name="a"[^>]*>', vtu)[0]
    many = b"".join(array.replace(b'"a"', b'"a%d"' % k) for k in range(200))
    path = tmp_path / "s.vtu"
    path.write_bytes(changed(vtu, rb"</PointData>", many + b"</PointData>"))
    with pytest.raises(SizeError, match="said to take"):
        check_sizes(path)


@pytest.mark.parametrize("quote", [b"'", b'"'])
@pytest.mark.parametrize("encoding", [b"raw", b"base64", b"nothing"])
def test_the_sizes_are_read_as_vtk_reads_them(vtu, tmp_path, quote, encoding):
    path = tmp_path / "s.vtu"
    new = b"<AppendedData encoding=" + quote + encoding + quote
    path.write_bytes(vtu.replace(b'<AppendedData encoding="raw"', new))
    if encoding == b"raw":
        check_sizes(path)
    else:
        with pytest.raises(SizeError, match="base64|beyond|cut off"):
            check_sizes(path)


def resized(path, name, shape):
    """Let a dataset of an archive claim another shape; nothing is written."""
    with h5py.File(path, "r+") as file:
        file[name].resize(shape)
    return path


CLAIMS = {
    "VTKHDF/Points": (HUGE, 3),
    "VTKHDF/Connectivity": (HUGE,),
    "VTKHDF/Offsets": (HUGE,),
    "VTKHDF/Types": (HUGE,),
    "VTKHDF/CellData/vtkGhostType": (HUGE,),
    "VTKHDF/PointData/a": (HUGE,),
}


@pytest.mark.parametrize("name", CLAIMS)
def test_a_dataset_larger_than_its_file_is_refused(archive, tmp_path, name):
    resized(archive, name, CLAIMS[name])
    for use in (lambda: Archive(archive, SELF), lambda: join_archives([archive], tmp_path / "o.vtkhdf", SELF)):
        with pytest.raises(
            FileError, match=rf"s.vtkhdf: {name} claims [0-9,]+ bytes, of which the file holds [0-9,]+; was it"
        ):
            use()
    if name == "VTKHDF/PointData/a":
        with pytest.raises(FileError, match="claims"):
            describe(archive)


@pytest.mark.parametrize(
    "name", ["NumberOfPoints", "NumberOfCells", "Steps/Values", "Steps/PointOffsets", "Steps/PartOffsets"]
)
def test_an_index_larger_than_its_file_is_refused(archive, name):
    with h5py.File(archive, "r+") as file:
        del file[f"VTKHDF/{name}"]
        file["VTKHDF"].create_dataset(name, (HUGE,), "<i8", chunks=(1 << 20,), compression="gzip")
        if name == "Steps/Values":
            file["VTKHDF/Steps"].attrs["NSteps"] = HUGE
    with pytest.raises(FileError, match=f"VTKHDF/{name} claims"):
        Archive(archive, SELF)


def test_fingerprints_and_chunks_are_looked_at_too(archive, tmp_path):
    with h5py.File(archive, "r+") as file:
        del file["FluidityDA/fingerprints"]
        file["FluidityDA"].create_dataset("fingerprints", (1,), "S2000000000", chunks=(1,), compression="gzip")
    with pytest.raises(FileError, match="FluidityDA/fingerprints claims"):
        Archive(archive, SELF)
    with h5py.File(archive, "r+") as file:
        del file["FluidityDA"], file["VTKHDF/PointData/a"]
        a = file["VTKHDF/PointData"].create_dataset(
            "a", (320,), "<f8", maxshape=(None,), chunks=(1 << 28,), compression=1
        )
        chunk = zlib.compress(bytes(1 << 20))
        a.id.write_direct_chunk((0,), chunk)
    with pytest.raises(FileError, match="PointData/a is stored in chunks of 2,147,483,648 bytes, but is 2,560"):
        Archive(archive, SELF)


@pytest.mark.parametrize("name", ["PointOffsets", "PartOffsets", "NumberOfParts", "PointDataOffsets/a"])
def test_rows_so_far_on_that_their_sum_is_negative_are_refused(archive, name):
    with h5py.File(archive, "r+") as file:
        file[f"VTKHDF/Steps/{name}"][...] = np.iinfo(np.int64).max
    with pytest.raises(FileError, match="Steps has rows|names parts beyond"):
        Archive(archive, SELF)


def test_an_archive_that_claims_gigabytes_is_refused_where_they_are_not(archive):
    """The whole command, in less memory than the archive asks for."""
    with h5py.File(archive, "r+") as file:
        root = file["VTKHDF"]
        root["Points"].resize((HUGE, 3))
        root["PointData/a"].resize((HUGE,))
        root["NumberOfPoints"][...] = HUGE
    script = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30));"
        f"sys.argv = ['archive', 'unpack', {str(archive)!r}, {str(archive.parent / 'out')!r}];"
        "runpy.run_module('plugin.archive', run_name='__main__')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1, ended
    assert "claims" in ended.stderr and not (archive.parent / "out").exists()


@pytest.mark.parametrize("name", ["s.flml", "s.halo", "s.pvtu"])
def test_files_that_include_others_are_refused(tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_text("secret")
    include = f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="{secret.as_uri()}" parse="text"/>'
    (tmp_path / name).write_text(f"<fluidity_options>{include}</fluidity_options>")
    with pytest.raises(FileError, match="includes other files"):
        READERS[name](tmp_path / name)
