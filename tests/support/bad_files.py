"""Damage to dumps, archives and readings: each function damages one and is registered with the expected message."""

import re
import shutil

import h5py
import numpy as np
from bad_input import bad, change_readings
from mpi4py import MPI
from places import DATA
from vtkmodules.vtkCommonDataModel import VTK_QUAD
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader, vtkXMLUnstructuredGridWriter

from coupling.archive import ArchiveWriter
from coupling.archive.series import open_series
from coupling.geometry.mesh import Field, State, join_pieces
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import read_state

COMM = MPI.COMM_SELF


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


@bad("dump", "has cells of several shapes", r"s_0\.vtu: .*one shape")
def _(folder, told):
    same(folder, told, [state_of(folder), State(1e3, state_of(folder, 1).fields)])
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


@bad("dump", "has values that are not finite", r"s_1\.vtu: the state of 1 s holds a NaN or an infinity in Tracer")
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
    data = DATA / "parallel"
    shutil.copytree(data, folder / "pieces")
    victim = sorted((folder / "pieces").rglob("*_1.vtu"))[0]
    victim.unlink()
    told["background"]["snapshots"] = [{"path": str(folder / "pieces")}]


@bad("dump", "is a PVTU that names a piece twice", r"\.pvtu: names its piece .* twice")
def _(folder, told):
    shutil.copytree(DATA / "parallel", folder / "pieces")
    edited(folder / "pieces/mini_3.pvtu", b"mini_3/mini_3_1.vtu", b"mini_3/mini_3_0.vtu")
    told["background"]["snapshots"] = [{"path": str(folder / "pieces")}]


@bad("dump", "is a PVTU with a piece outside its folder", r"\.pvtu: its piece '.*' is outside its own folder")
def _(folder, told):
    data = DATA / "parallel"
    (folder / "pieces").mkdir()
    text = (data / "mini_3.pvtu").read_text()
    (folder / "pieces/mini_3.pvtu").write_text(text.replace('Source="mini_3/', f'Source="{data}/mini_3/'))
    told["background"]["snapshots"] = [{"path": str(folder / "pieces")}]


@bad("dump", "is a PVTU with a piece that is a link to elsewhere", r"\.pvtu: its piece '.*' is outside its own folder")
def _(folder, told):
    shutil.copytree(DATA / "parallel", folder / "pieces")
    piece = sorted((folder / "pieces").rglob("*_1.vtu"))[0]
    piece.rename(folder / "elsewhere.vtu")
    piece.symlink_to(folder / "elsewhere.vtu")
    told["background"]["snapshots"] = [{"path": str(folder / "pieces")}]


@bad("dump", "is of another mesh than the model's, with space: mesh", r"mesh")
def _(folder, told):
    told["grid"] = {"space": "mesh"}
    told["model"]["start"] = str(folder / "training/0/case_10_checkpoint.flml")
    change_readings(folder, lambda lines: [lines[0], *(re.sub(r"^[^,]+", "48", line) for line in lines[1:])])
    state = state_of(folder)
    mesh = next(iter(state.fields.values())).mesh
    moved = join_pieces([(0, mesh.points + 0.5, mesh.cells, mesh.ghost)], 1, COMM)
    same(folder, told, [of_mesh(state, moved, k) for k in range(3)])


@bad("dump", "has the mesh's nodes in another order, with space: mesh", r"mesh")
def _(folder, told):
    told["grid"] = {"space": "mesh"}
    told["model"]["start"] = str(folder / "training/0/case_10_checkpoint.flml")
    change_readings(folder, lambda lines: [lines[0], *(re.sub(r"^[^,]+", "48", line) for line in lines[1:])])
    state = state_of(folder)
    mesh = next(iter(state.fields.values())).mesh
    order = np.random.default_rng(0).permutation(mesh.n_nodes)
    place = np.argsort(order)
    permuted = join_pieces([(0, mesh.points[order], place[mesh.cells], mesh.ghost)], 1, COMM)
    same(folder, told, [of_mesh(state, permuted, k, order) for k in range(3)])


@bad("dump", "declares an XML entity", r"case_\d+\.vtu: .*(entit|DOCTYPE|document type)")
def _(folder, told):
    edited(dumps(folder)[1], b"<VTKFile", b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]>\n<VTKFile')


@bad("dump", "hides an XML entity in UTF-16", r"case_\d+\.vtu: .*document type")
def _(folder, told):
    text = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "b">]><VTKFile type="UnstructuredGrid"/>'
    dumps(folder)[1].write_bytes(text.encode("utf-16"))


@bad("dump", "tells more points than it has", r"case_\d+\.vtu: ")
def _(folder, told):
    path = dumps(folder)[1]
    content = re.sub(rb'NumberOfPoints="\d+"', b'NumberOfPoints="99999999999"', path.read_bytes(), count=1)
    path.write_bytes(content)


@bad("dump", "stands twice for the same time", r"case_1\.vtu and .*case_77\.vtu are both of 4 s; leave one of them out")
def _(folder, told):
    first = dumps(folder)[0]
    shutil.copyfile(first, first.with_name("case_77.vtu"))


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


@bad("archive", "claims more than the file holds", r"earlier\.vtkhdf: VTKHDF/Points claims .* bytes, of which the file")
def _(folder, told):
    path = archive(folder, told)
    with h5py.File(path, "r+") as file:
        file["VTKHDF/Points"].resize((1 << 31, 3))


@bad("archive", "tells of rows beyond its end", r"earlier\.vtkhdf: Steps has rows")
def _(folder, told):
    path = archive(folder, told)
    with h5py.File(path, "r+") as file:
        file["VTKHDF/Steps/PointDataOffsets/Tracer"][1] = 10**15


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
    change_readings(folder, cell(0, 5, "val"))


@bad("readings", "have a word for a number", r"readings\.csv, line 4: .*'high'")
def _(folder, told):
    change_readings(folder, cell(3, 5, "high"))


@bad("readings", "have a value that is NaN", r"readings\.csv, line 4: .*nan")
def _(folder, told):
    change_readings(folder, cell(3, 5, "nan"))


@bad("readings", "have an error of zero", r"readings\.csv, line 4: .*error")
def _(folder, told):
    change_readings(folder, cell(3, 6, "0"))


@bad("readings", "have a date with a time zone", r"readings\.csv, line 4: .*2020-01-01T00:00:08\+02:00")
def _(folder, told):
    change_readings(folder, cell(3, 0, "2020-01-01T00:00:08+02:00"))


@bad("readings", "have a line that is too short", r"readings\.csv, line 4: ")
def _(folder, told):
    change_readings(folder, lambda lines: [*lines[:3], "8.0,1.0", *lines[4:]])


@bad(
    "readings",
    "are of something that is not analysed",
    r"readings\.csv: none of its \d+ readings is of what is analysed; it has Pressure \(\d+\), variables are",
)
def _(folder, told):
    change_readings(
        folder, lambda lines: [lines[0], *(re.sub("Tracer|Velocity..", "Pressure", line) for line in lines[1:])]
    )


@bad(
    "readings",
    "all lie outside every window",
    r"readings\.csv: none of the \d+ readings, .* is of a window of this run",
)
def _(folder, told):
    change_readings(folder, lambda lines: [lines[0], *(re.sub(r"^[^,]+", "1e6", line) for line in lines[1:])])


@bad("readings", "have a column twice", r"readings\.csv, line 1: column 'value' is there twice")
def _(folder, told):
    change_readings(folder, lambda lines: [lines[0] + ",value", *(line + ",0.9" for line in lines[1:])])


@bad("readings", "have more cells than columns", r"readings\.csv, line 4: 8 cells, the header has 7 columns")
def _(folder, told):
    change_readings(folder, lambda lines: [*lines[:3], lines[3].replace("0.", "0,"), *lines[4:]])


@bad("readings", "have decimal commas and points", r"readings\.csv: numbers have decimal commas and points, ")
def _(folder, told):
    change_readings(folder, lambda lines: [line.replace(",", ";") for line in cell(3, 5, "0,5")(lines)])
    change_readings(folder, lambda lines: [*lines[:3], lines[3].replace("0;5", "0,5"), *lines[4:]])


@bad("readings", "have a unit of another kind", r"readings\.csv, line 2: column 'x' is in 'hPa', expected 'm'")
def _(folder, told):
    change_readings(folder, cell(0, 1, "x [hPa]"))


@bad("readings", "have a name with control characters", r"readings\.csv, line 4.*has the control character")
def _(folder, told):
    change_readings(folder, cell(3, 4, "Tra\x1b[2Jcer"))


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
