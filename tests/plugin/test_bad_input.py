"""What is wrong with what a cycle is given is told in one message, with exit code 2, before anything is written.

The table of docs/bad-input.md is this one; a test holds them together.
"""

import base64
import json
import re
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaml
from mpi4py import MPI

from coupling.archive import ArchiveWriter
from coupling.dumps import write_dump
from coupling.mesh import Field, State, join_pieces
from coupling.series import open_series
from coupling.vtu import read_state
from cycle_case import files, make_case, settings
from models import files as network_files
from models import zoo
from plugin.cycle import main
from plugin.job import BAD_INPUT, run_job

COMM = MPI.COMM_SELF
DOCUMENT = Path(__file__).resolve().parents[2] / "docs/bad-input.md"
CASES = {}


def bad(kind, what, told):
    """Register a function of (folder, settings) that spoils a sound case, and what the message must match.

    It returns nothing, or what the case file is to hold where that is what is wrong.
    """

    def register(spoil):
        CASES[f"{kind}: {what}"] = (spoil, told)
        return spoil

    return register


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A sound case, made once: a few seconds."""
    folder = make_case(tmp_path_factory.mktemp("sound"))
    for name in ("truth", "start-2", *(f"start-of-{k}" for k in (0, 1, 2, "truth"))):
        shutil.rmtree(folder / name)
    return folder


@pytest.fixture
def given(sound, tmp_path):
    """(folder, settings) of a copy that may be spoilt."""
    folder = tmp_path / "case"
    shutil.copytree(sound, folder)
    return folder, settings(folder, folder / "run")


def ended(folder, told, capsys, text=None):
    """(exit code, message) of a cycle."""
    case = folder / "case.yml"
    text = text_of(told) if text is None else text
    case.write_bytes(text if isinstance(text, bytes) else text.encode())
    before = files(folder)
    with pytest.raises(SystemExit) as end:
        run_job(lambda: main([str(case)], COMM), COMM)
    after = files(folder)
    for name in list(after):
        if name.startswith("run/cache/"):  # interpolations between mesh and grid, which are right whatever is wrong
            del after[name]
    assert after == before, sorted(set(after) ^ set(before))
    return end.value.code, capsys.readouterr().err


# --- the case file -----------------------------------------------------------------------------------------------


def text_of(told):
    return yaml.safe_dump(told, sort_keys=False)


@bad("case file", "is not there", r"none\.yml: cannot be read: .*No such file")
def _(folder, told):
    return None


@bad("case file", "is empty", r"case\.yml: expected keys and values, e\.g\. 'model:', found NoneType")
def _(folder, told):
    return "\n"


@bad("case file", "is a list", r"case\.yml: expected keys and values, e\.g\. 'model:', found list")
def _(folder, told):
    return "- model\n"


@bad("case file", "has a key twice", r"case\.yml, line \d+: key 'grid' is given twice, first in line \d+")
def _(folder, told):
    return text_of(told) + "grid: {spacing: 4.0}\n"


@bad("case file", "has a tab", r"case\.yml, line \d+: found character '\\t'")
def _(folder, told):
    return text_of(told) + "minimiser:\n\tmethod: lmvm\n"


@bad("case file", "is not UTF-8", r"case\.yml: cannot be read: .*utf-8")
def _(folder, told):
    return b"model: \xff\xfe\n"


@bad("case file", "has an unknown key", r"line \d+: cycle\.windws: unknown key; did you mean 'windows'\?")
def _(folder, told):
    told["cycle"]["windws"] = 3


@bad("case file", "lacks a section", r"line 1: observations: this key is missing")
def _(folder, told):
    del told["observations"]


@bad("case file", "has an object of Python", r"case\.yml, line \d+: could not determine a constructor")
def _(folder, told):
    return text_of(told) + "minimiser: !!python/object/apply:os.system [ls]\n"


@bad("case file", "has a number that cannot be", r"line \d+: cycle\.window: found -8; .*greater than 0")
def _(folder, told):
    told["cycle"]["window"] = -8


@bad("background", "τ = 0", r"line \d+: background\.truncation.*: found 0")
def _(folder, told):
    told["background"]["truncation"] = 0


@bad("background", "more modes than snapshots", r"truncation τ = 16, expected 1 to \d+.*lower τ or add snapshots")
def _(folder, told):
    told["background"]["snapshots"] = told["background"]["snapshots"][:1]


@bad("background", "one snapshot", r"expected \(rows of this rank, two or more snapshots\)")
def _(folder, told):
    for path in dumps(folder)[1:]:
        path.unlink()
    told["background"]["snapshots"] = [{"path": str(dumps(folder)[0])}]


@bad("background", "snapshots that are all the same", r"all 3 snapshots are the same")
def _(folder, told):
    state = read_state(dumps(folder)[0], COMM, ["Tracer", "Velocity"])
    same(folder, told, [State(float(k), state.fields) for k in range(3)])


@bad("background", "no snapshots there", r"nowhere: no such file or folder|nowhere.*no ")
def _(folder, told):
    told["background"]["snapshots"] = [{"path": str(folder / "nowhere")}]


# --- dumps ---------------------------------------------------------------------------------------------------------


def dumps(folder):
    """The dumps of the earlier runs that are used, in time order of each run."""
    found = [path for path in folder.glob("training/*/case_*.vtu") if path.stem.split("_")[1:][0].isdecimal()]
    found = [path for path in found if path.stem.count("_") == 1 and path.stem != "case_0"]
    return sorted(found, key=lambda path: (path.parent, int(path.stem.split("_")[1])))


def same(folder, told, states):
    """Make these states the snapshots."""
    (folder / "own").mkdir()
    for k, state in enumerate(states):
        write_dump(state, folder / f"own/s_{k}", COMM)
    told["background"] |= {"snapshots": [{"path": str(folder / "own")}], "truncation": 1}


def state_of(folder, k=0):
    return read_state(dumps(folder)[k], COMM, ["Tracer", "Velocity"])


def of_mesh(state, mesh, k, order=slice(None)):
    """State k of a series on another mesh."""
    return State(float(k), {n: Field(n, mesh, (1 + k) * f.values[order], f.location) for n, f in state.fields.items()})


def edited(path, old, new):
    text = path.read_bytes()
    assert text.count(old) >= 1, old
    path.write_bytes(text.replace(old, new, 1))


@bad("dump", "is empty", r"case_\d+\.vtu: ")
def _(folder, told):
    dumps(folder)[2].write_bytes(b"")


@bad("dump", "is cut off", r"case_\d+\.vtu: ")
def _(folder, told):
    path = dumps(folder)[2]
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@bad("dump", "has a flipped bit in its values", r"case_\d+\.vtu: ")
def _(folder, told):
    path = dumps(folder)[2]
    content = bytearray(path.read_bytes())
    offset = int(re.search(rb'Name="Tracer"[^>]*offset="(\d+)"', content)[1])
    content[content.index(b"_", content.index(b"<AppendedData")) + 1 + offset + 60] ^= 0x10
    path.write_bytes(content)


@bad("dump", "has cells that are no tetrahedra", r"s_0\.vtu: .*tetrahedra")
def _(folder, told):
    same(folder, told, [state_of(folder), State(1e3, state_of(folder, 1).fields)])
    from vtkmodules.vtkCommonDataModel import VTK_QUAD
    from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader, vtkXMLUnstructuredGridWriter

    path = folder / "own/s_0.vtu"
    reader = vtkXMLUnstructuredGridReader()
    reader.SetFileName(str(path))
    reader.Update()
    grid = reader.GetOutput()
    types = grid.GetCellTypesArray()
    types.SetValue(0, VTK_QUAD)
    grid.SetCells(types, grid.GetCells())
    writer = vtkXMLUnstructuredGridWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(grid)
    writer.Write()


@bad("dump", "lacks a field", r"s_\d\.vtu: .*'?Velocity'?")
def _(folder, told):
    fields = {"Tracer": state_of(folder)["Tracer"]}
    same(folder, told, [State(float(k), fields) for k in range(3)])


@bad("dump", "has a scalar where a vector is expected", r"Velocity")
def _(folder, told):
    states = []
    for k in range(3):
        fields = state_of(folder, k).fields
        velocity = fields["Velocity"]
        fields["Velocity"] = Field("Velocity", velocity.mesh, velocity.values[:, 0].copy(), velocity.location)
        states.append(State(float(k), fields))
    same(folder, told, states)


@bad("dump", "has values that are not finite", r"NaN or an infinity|not finite")
def _(folder, told):
    states = []
    for k in range(3):
        fields = dict(state_of(folder, k).fields)
        if k == 1:
            values = fields["Tracer"].values.copy()
            values[5] = np.nan
            fields["Tracer"] = fields["Tracer"].replaced(values)
        states.append(State(float(k), fields))
    same(folder, told, states)


@bad("dump", "is a PVTU that lacks a piece", r"missing|no such file")
def _(folder, told):
    data = Path(__file__).resolve().parents[1] / "data/fluidity/parallel"
    shutil.copytree(data, folder / "pieces")
    victim = sorted((folder / "pieces").rglob("*_1.vtu"))[0]
    victim.unlink()
    told["background"]["snapshots"] = [{"path": str(folder / "pieces")}]


@bad("dump", "is a PVTU with a piece outside its folder", r"\.pvtu: its piece '.*' is outside its own folder")
def _(folder, told):
    data = Path(__file__).resolve().parents[1] / "data/fluidity/parallel"
    (folder / "pieces").mkdir()
    text = (data / "mini_3.pvtu").read_text()
    (folder / "pieces/mini_3.pvtu").write_text(text.replace('Source="mini_3/', f'Source="{data}/mini_3/'))
    told["background"]["snapshots"] = [{"path": str(folder / "pieces")}]


@bad("dump", "is of another mesh than the model's, with space: mesh", r"mesh")
def _(folder, told):
    told["grid"] = {"space": "mesh"}
    told["model"]["start"] = str(folder / "training/0/case_10_checkpoint.flml")
    readings(folder, lambda lines: [lines[0], *(re.sub(r"^[^,]+", "48", line) for line in lines[1:])])
    state = state_of(folder)
    mesh = next(iter(state.fields.values())).mesh
    moved = join_pieces([(0, mesh.points + 0.5, mesh.cells, mesh.ghost)], 1, COMM)
    same(folder, told, [of_mesh(state, moved, k) for k in range(3)])


@bad("dump", "has the mesh's nodes in another order, with space: mesh", r"mesh")
def _(folder, told):
    told["grid"] = {"space": "mesh"}
    told["model"]["start"] = str(folder / "training/0/case_10_checkpoint.flml")
    readings(folder, lambda lines: [lines[0], *(re.sub(r"^[^,]+", "48", line) for line in lines[1:])])
    state = state_of(folder)
    mesh = next(iter(state.fields.values())).mesh
    order = np.random.default_rng(0).permutation(mesh.n_nodes)
    place = np.argsort(order)
    permuted = join_pieces([(0, mesh.points[order], place[mesh.cells], mesh.ghost)], 1, COMM)
    same(folder, told, [of_mesh(state, permuted, k, order) for k in range(3)])


@bad("dump", "declares an XML entity", r"case_\d+\.vtu: .*(entit|DOCTYPE|document type)")
def _(folder, told):
    edited(dumps(folder)[1], b"<VTKFile", b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<VTKFile')


@bad("dump", "tells more points than it has", r"case_\d+\.vtu: ")
def _(folder, told):
    path = dumps(folder)[1]
    content = re.sub(rb'NumberOfPoints="\d+"', b'NumberOfPoints="99999999999"', path.read_bytes(), count=1)
    path.write_bytes(content)


@bad("dump", "stands twice for the same time", r"case_1\.vtu and .*case_77\.vtu are both of 4 s; leave one of them out")
def _(folder, told):
    first = dumps(folder)[0]
    shutil.copyfile(first, first.with_name("case_77.vtu"))


# --- archives ------------------------------------------------------------------------------------------------------


def archive(folder, told):
    """Make the snapshots an archive; its path."""
    path = folder / "earlier.vtkhdf"
    with open_series(folder / "training/0", COMM) as series, ArchiveWriter(path, COMM) as writer:
        for k in range(len(series)):
            writer.append(series.read(k, ["Tracer", "Velocity"]))
    told["background"] |= {"snapshots": [{"path": str(path)}], "truncation": 2}
    return path


@bad("archive", "is cut off", r"earlier\.vtkhdf: not a whole HDF5 file")
def _(folder, told):
    path = archive(folder, told)
    path.write_bytes(path.read_bytes()[:20_000])


@bad("archive", "is some other HDF5 file", r"earlier\.vtkhdf: HDF5 with .*no group VTKHDF")
def _(folder, told):
    with h5py.File(archive(folder, told), "w") as file:
        file["x"] = np.arange(3)


@bad("archive", "has a link to another file", r"earlier\.vtkhdf: VTKHDF/PointData/Tracer.* is a link, which is refused")
def _(folder, told):
    path = archive(folder, told)
    with h5py.File(path, "r+") as file:
        del file["VTKHDF/PointData/Tracer"]
        file["VTKHDF/PointData/Tracer"] = h5py.ExternalLink("/etc/passwd", "x")


@bad("archive", "keeps values in another file", r"earlier\.vtkhdf: .*keeps its values in other files")
def _(folder, told):
    path = archive(folder, told)
    with h5py.File(path, "r+") as file:
        old = file["VTKHDF/PointData/Tracer"]
        n = old.shape[0]
        del file["VTKHDF/PointData/Tracer"]
        file["VTKHDF/PointData"].create_dataset("Tracer", (n,), "<f8", external=[("/etc/passwd", 0, 8 * n)])


@bad("archive", "tells of rows beyond its end", r"earlier\.vtkhdf: Steps tells of rows")
def _(folder, told):
    path = archive(folder, told)
    with h5py.File(path, "r+") as file:
        file["VTKHDF/Steps/PointDataOffsets/Tracer"][1] = 10**15


# --- readings ------------------------------------------------------------------------------------------------------


def readings(folder, change):
    path = folder / "readings.csv"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(change(lines)) + "\n")


def cell(line, column, value):
    """A function that puts a value into a cell of the table."""

    def change(lines):
        words = lines[line].split(",")
        words[column] = value
        return [*lines[:line], ",".join(words), *lines[line + 1 :]]

    return change


@bad("readings", "file is not there", r"readings\.csv: ")
def _(folder, told):
    (folder / "readings.csv").unlink()


@bad("readings", "file is empty", r"readings\.csv.*: ")
def _(folder, told):
    (folder / "readings.csv").write_text("")


@bad("readings", "have a wrong header", r"readings\.csv.*: .*(column|header).*")
def _(folder, told):
    readings(folder, cell(0, 5, "val"))


@bad("readings", "have a word for a number", r"readings\.csv, line 4: .*'high'")
def _(folder, told):
    readings(folder, cell(3, 5, "high"))


@bad("readings", "have a value that is NaN", r"readings\.csv, line 4: .*nan")
def _(folder, told):
    readings(folder, cell(3, 5, "nan"))


@bad("readings", "have an error of zero", r"readings\.csv, line 4: .*error")
def _(folder, told):
    readings(folder, cell(3, 6, "0"))


@bad("readings", "have a date with a time zone", r"readings\.csv, line 4: .*2020-01-01T00:00:08\+02:00")
def _(folder, told):
    readings(folder, cell(3, 0, "2020-01-01T00:00:08+02:00"))


@bad("readings", "have a line that is too short", r"readings\.csv, line 4: ")
def _(folder, told):
    readings(folder, lambda lines: [*lines[:3], "8.0,1.0", *lines[4:]])


@bad("readings", "are of something that is not analysed", r"reading of 'Pressure' at .*not analysed; variables are")
def _(folder, told):
    readings(folder, cell(3, 4, "Pressure"))


@bad("readings", "all lie outside every window", r"readings\.csv: none of the \d+ readings, .* is of a window of this run")
def _(folder, told):
    readings(folder, lambda lines: [lines[0], *(re.sub(r"^[^,]+", "1e6", line) for line in lines[1:])])


@bad("readings", "are binary", r"readings\.csv")
def _(folder, told):
    (folder / "readings.csv").write_bytes(bytes(range(256)) * 8)


@bad("error covariance", "is not positive definite", r"smallest eigenvalue")
def _(folder, told):
    n = len((folder / "readings.csv").read_text().splitlines()) - 1
    matrix = np.ones((n, n)) - 2 * np.eye(n)
    np.save(folder / "r.npy", matrix)
    told["observations"]["error_model"] = {"matrix": str(folder / "r.npy")}


@bad("error covariance", "is a pickle", r"r\.npy")
def _(folder, told):
    np.save(folder / "r.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    told["observations"]["error_model"] = {"matrix": str(folder / "r.npy")}


# --- the model's options -------------------------------------------------------------------------------------------


def options(folder):
    return folder / "start-1/case.flml"


@bad("options", "are not there", r"case\.flml: ")
def _(folder, told):
    options(folder).unlink()


@bad("options", "are no XML", r"case\.flml")
def _(folder, told):
    options(folder).write_text("fluidity")


@bad("options", "declare an XML entity", r"case\.flml: .*(entit|DOCTYPE|document type)")
def _(folder, told):
    text = options(folder).read_text()
    head, _, rest = text.partition("?>")
    options(folder).write_text(f'{head}?>\n<!DOCTYPE x [<!ENTITY a "b">]>{rest}')


@bad("options", "include another file", r"case\.flml: .*(XInclude|include)")
def _(folder, told):
    text = options(folder).read_text()
    include = '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    options(folder).write_text(text.replace("</fluidity_options>", f"{include}</fluidity_options>"))


@bad("options", "lack the mesh file", r"mesh\.msh")
def _(folder, told):
    (folder / "start-1/mesh.msh").unlink()


@bad("options", "name a mesh outside their folder", r"case\.flml.*: .*outside")
def _(folder, told):
    text = options(folder).read_text()
    assert 'file_name="mesh"' in text
    shutil.copyfile(folder / "start-1/mesh.msh", folder / "mesh.msh")
    options(folder).write_text(text.replace('file_name="mesh"', 'file_name="../mesh"'))


@bad("options", "are for another number of processes", r"processes")
def _(folder, told):
    told["model"]["processes"] = 2


# --- modes and networks --------------------------------------------------------------------------------------------


@bad("modes", "file is cut off", r"modes\.h5: ")
def _(folder, told):
    told["background"]["modes"] = str(folder / "modes.h5")
    (folder / "modes.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))


def network(folder, told, shape):
    told["background"]["transform"] = "decoded"
    told["network"] = {"file": str(folder / "net.safetensors")}
    model = zoo.make("Backbone", 4, shape)
    network_files.save(folder / "net.safetensors", model, {"variables": ["Tracer"]}, {})


@bad("network", "is of another grid", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))


@bad("network", "is cut off", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))
    path = folder / "net.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


@bad("network", "tells a header larger than the file", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))
    path = folder / "net.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + path.read_bytes()[8:])


@bad("network", "is a pickle", r"net\.safetensors: ")
def _(folder, told):
    network(folder, told, (17, 17, 17))
    (folder / "net.safetensors").write_bytes(base64.b64decode("gASVBQAAAAAAAABLAS4="))


# --- the run folder ------------------------------------------------------------------------------------------------


@bad("run folder", "is a file", r"run: .*cannot be made a folder: File exists; choose another")
def _(folder, told):
    (folder / "run").write_text("a file")


@bad("run folder", "cannot be made", r"run: .*cannot be made a folder: .*; choose another")
def _(folder, told):
    told["run"] = "/proc/none/run"


@bad("run folder", "holds another run", r"run: holds a run already; go on with it by --resume")
def _(folder, told):
    (folder / "run").mkdir()
    (folder / "run/case.json").write_text(json.dumps({}))


def test_the_document_has_the_same_table():
    rows = dict(re.findall(r"^\| ([^|]+: [^|]+) \| (.+) \|$", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))
    assert list(rows) == list(CASES) and len(rows) >= 40
    for name, (_, pattern) in CASES.items():
        assert re.search(pattern, rows[name].replace("\\|", "|").replace("<br>", "\n"), re.DOTALL), name


@pytest.mark.parametrize("name", CASES)
def test_bad_input_is_told(name, given, capsys):
    spoil, pattern = CASES[name]
    folder, told = given
    text = spoil(folder, told)
    if name == "case file: is not there":
        with pytest.raises(SystemExit) as end:
            run_job(lambda: main([str(folder / "none.yml")], COMM), COMM)
        code, message = end.value.code, capsys.readouterr().err
    else:
        code, message = ended(folder, told, capsys, text)
    assert code == BAD_INPUT, message
    assert message.startswith("error: ") and "Traceback" not in message, message
    assert re.search(pattern, message, re.DOTALL), message
