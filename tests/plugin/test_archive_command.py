"""python -m plugin.archive: what it packs, unpacks and tells, and how it fails."""

import hashlib
import os
import re
import shutil
import subprocess
import sys

import h5py
import numpy as np
import pytest
from contents import content
from mpi4py import MPI
from places import ROOT
from polyhedra import street_states
from together import together

from coupling.archive import Archive, ArchiveWriter, describe
from coupling.archive.series import open_series
from coupling.geometry.mesh import Field, State, join_pieces
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import read_state
from plugin.archive import main
from plugin.case.configuration import read_case
from plugin.run.job import run_job
from plugin.window.background.of_case import background

COMM = MPI.COMM_SELF
RUNS = ["serial", "parallel", "adaptive"]


def _run(*words):
    """Exit code of the command, run in this process."""
    with pytest.raises(SystemExit) as end:
        run_job(lambda: main([str(word) for word in words], COMM), COMM)
    return end.value.code


def _contents(path):
    """Times and all arrays of an archive, or of dumps; a mesh's fingerprint tells its points, cells and ghosts."""
    with open_series(path, COMM) as series:
        return [
            (state.time, {n: (f.mesh.fingerprint, f.values.shape, _hash(f.values)) for n, f in state.fields.items()})
            for state in (series.read(step) for step in range(len(series)))
        ]


def _hash(values):
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


@pytest.fixture
def adaptive(fluidity_data, tmp_path):
    """An archive of the adaptive run."""
    assert _run("pack", tmp_path / "adaptive.vtkhdf", fluidity_data / "adaptive") == 0
    return tmp_path / "adaptive.vtkhdf"


@pytest.mark.parametrize("run", RUNS)
def test_dumps_come_back_bit_for_bit(fluidity_data, tmp_path, run):
    assert _run("pack", tmp_path / "a.b.vtkhdf", fluidity_data / run) == 0
    assert _run("unpack", tmp_path / "a.b.vtkhdf", tmp_path / "back") == 0
    assert _contents(tmp_path / "a.b.vtkhdf") == _contents(tmp_path / "back") == _contents(fluidity_data / run)
    suffix = "pvtu" if run == "parallel" else "vtu"
    n = 5 if run == "adaptive" else 2
    files = {p.name for p in (tmp_path / "back").iterdir() if p.is_file()}
    assert files == {f"a.b_{k}.{suffix}" for k in range(n)}
    assert {p.name for p in tmp_path.iterdir()} == {"a.b.vtkhdf", "back"}


@pytest.mark.parametrize("ranks", [1, 2])
def test_polyhedra_are_unpacked_to_archives_of_one_state(tmp_path, mpirun, capfd, ranks):
    states = list(street_states(COMM))
    with ArchiveWriter(tmp_path / "street.vtkhdf", COMM) as archive:
        for state in states:
            archive.append(state)
    words = "unpack", tmp_path / "street.vtkhdf", tmp_path / "back", "--from", "1"
    if ranks == 1:
        assert _run(*words) == 0 and "2 archives of one state, street_1 … street_2" in capfd.readouterr().out
    else:
        mpirun(ranks, "-m", "plugin.archive", *words, timeout=60)
    assert {path.name for path in (tmp_path / "back").iterdir()} == {"street_1.vtkhdf", "street_2.vtkhdf"}
    for k in (1, 2):
        with Archive(tmp_path / f"back/street_{k}.vtkhdf", COMM) as one:
            assert [content(one.read(0)), len(one)] == [content(states[k]), 1]


def test_an_archive_is_packed_anew(adaptive, tmp_path):
    assert _run("pack", tmp_path / "again.vtkhdf", adaptive, "--compression", "9") == 0
    assert _contents(tmp_path / "again.vtkhdf") == _contents(adaptive)


@pytest.mark.parametrize(
    "options, times",
    [
        ([], [0, 8, 12, 16, 24]),
        (["--from", "8"], [8, 12, 16, 24]),
        (["--until", "12"], [0, 8, 12]),
        (["--every", "2"], [0, 12, 24]),
        (["--from", "7.9", "--until", "16", "--every", "2"], [8, 16]),
    ],
)
def test_the_span_of_time_can_be_chosen(fluidity_data, adaptive, tmp_path, options, times):
    whole = [c for c in _contents(fluidity_data / "adaptive") if c[0] in times]
    assert _run("pack", tmp_path / "some.vtkhdf", fluidity_data / "adaptive", *options) == 0
    assert _run("unpack", adaptive, tmp_path / "some", *options) == 0
    assert [c[0] for c in whole] == times
    assert _contents(tmp_path / "some.vtkhdf") == _contents(tmp_path / "some") == whole


def test_fields_can_be_chosen(fluidity_data, adaptive, tmp_path):
    assert _run("pack", tmp_path / "two.vtkhdf", fluidity_data / "adaptive", "--fields", "Velocity, Tracer") == 0
    assert _run("unpack", adaptive, tmp_path / "one", "--fields", "Pressure") == 0
    for path, names in ((tmp_path / "two.vtkhdf", {"Tracer", "Velocity"}), (tmp_path / "one", {"Pressure"})):
        expected = [(t, {n: fields[n] for n in names}) for t, fields in _contents(adaptive)]
        assert _contents(path) == expected


def test_precision_and_compression_reach_the_file(fluidity_data, tmp_path):
    dumps = fluidity_data / "adaptive"
    assert _run("pack", tmp_path / "raw.vtkhdf", dumps, "--compression", "0", "--precision", "float32") == 0
    assert _run("pack", tmp_path / "best.vtkhdf", dumps, "--compression", "9") == 0
    for name, kind, level in (("raw", "<f4", None), ("best", "<f8", 9)):
        with h5py.File(tmp_path / f"{name}.vtkhdf") as file:
            tracer, points = file["VTKHDF/PointData/Tracer"], file["VTKHDF/Points"]
            assert (tracer.dtype.str, points.dtype.str, tracer.compression_opts) == (kind, "<f8", level)


def test_info_tells_times_fields_and_meshes_in_full(adaptive, capsys):
    capsys.readouterr()
    assert _run("info", adaptive) == 0
    told = capsys.readouterr().out
    assert "5 states, 0 … 24 s, 4 … 8 s apart" in told
    times, fields, meshes = describe(adaptive)
    rows = [[word.strip() for word in line.split("│")[1:-1]] for line in told.splitlines() if line.startswith("│")]
    assert [row[:4] for row in rows[: len(fields)]] == [
        [f.name, "points", str({"Velocity": 3, "Viscosity": 9, "TracerDiffusivity": 9}.get(f.name, 1)), "float64"]
        for f in fields
    ]
    assert [row[1:] for row in rows[len(fields) :]] == [
        ["1485", "6143", "1", "2", "0", meshes[0].fingerprint],
        ["330", "1192", "1", "2", "2", meshes[1].fingerprint],
        ["671", "2775", "1", "1", "4", meshes[2].fingerprint],
    ]


def _twice(fluidity_data, folder):
    for k in (1, 2):
        shutil.copy(fluidity_data / "adaptive/mini_3.vtu", folder / f"d_{k}.vtu")


def _broken(fluidity_data, folder):
    shutil.copy(fluidity_data / "adaptive/mini_3.vtu", folder / "d_1.vtu")
    (folder / "d_2.vtu").write_bytes((fluidity_data / "adaptive/mini_4.vtu").read_bytes()[:9000])


def _lacking(fluidity_data, folder):
    """The last dump has fewer fields."""
    shutil.copy(fluidity_data / "adaptive/mini_3.vtu", folder / "d_1.vtu")
    state = open_series(fluidity_data / "adaptive/mini_4.vtu", COMM).read(0, ["Tracer"])
    write_dump(state, folder / "d_2", COMM)


def _archive(fluidity_data, folder):
    assert _run("pack", folder / "in.vtkhdf", fluidity_data / "adaptive") == 0


def _cut(fluidity_data, folder):
    _archive(fluidity_data, folder)
    whole = (folder / "in.vtkhdf").read_bytes()
    (folder / "in.vtkhdf").write_bytes(whole[: len(whole) // 2])


def _damaged(fluidity_data, folder):
    """The last chunk is wrong, which shows when half of the dumps are written."""
    _archive(fluidity_data, folder)
    with h5py.File(folder / "in.vtkhdf") as file:
        values = file["VTKHDF/PointData/Velocity"].id
        chunk = values.get_chunk_info(values.get_num_chunks() - 1)
    with open(folder / "in.vtkhdf", "r+b") as file:
        file.seek(chunk.byte_offset + chunk.size // 2)
        file.write(b"damage!!")


def _text(fluidity_data, folder):
    (folder / "in.vtkhdf").write_text("text")


def _other_hdf5(fluidity_data, folder):
    with h5py.File(folder / "in.vtkhdf", "w") as file:
        file["numbers"] = [1, 2]


def _nothing(fluidity_data, folder):
    pass


def _folder(fluidity_data, folder):
    _archive(fluidity_data, folder)
    (folder / "out").mkdir()


PACK, UNPACK = "pack out.vtkhdf", "unpack in.vtkhdf out"
FAILURES = [
    (_twice, f"{PACK} .", "both of 12 s"),
    (_broken, f"{PACK} .", "d_2.vtu: .* was it written whole"),
    (_lacking, f"{PACK} .", "the archive holds"),
    (_lacking, f"{PACK} . --fields Velocity", "d_2.vtu: no array 'Velocity'"),
    (_lacking, f"{PACK} . --fields Tracr", "d_1.vtu: no array 'Tracr'"),
    (_lacking, f"{PACK} . --fields Time", "has no fields"),
    (_lacking, f"{PACK} . --from 17", "no state in that span of time; there are 2, 12 … 16 s"),
    (_lacking, f"{PACK} . --from 13 --until 15", "no state in that span"),
    (_lacking, "pack out.hdf .", "an archive's name ends in .vtkhdf"),
    (_lacking, "pack none/out.vtkhdf .", "there is no folder none"),
    (_archive, "pack in.vtkhdf in.vtkhdf", "in.vtkhdf: is there already"),
    (_nothing, f"{PACK} .", "has no dumps"),
    (_nothing, f"{PACK} none.vtkhdf", "none.vtkhdf: no such file"),
    (_cut, f"{PACK} in.vtkhdf", "in.vtkhdf: not a whole HDF5 file"),
    (_cut, UNPACK, "in.vtkhdf: not a whole HDF5 file"),
    (_damaged, UNPACK, "in.vtkhdf: is damaged"),
    (_damaged, f"{PACK} in.vtkhdf", "in.vtkhdf: is damaged"),
    (_text, UNPACK, "in.vtkhdf: not a whole HDF5 file"),
    (_text, "info in.vtkhdf", "in.vtkhdf: not a whole HDF5 file"),
    (_other_hdf5, UNPACK, "HDF5 with .'numbers'., but no group VTKHDF"),
    (_other_hdf5, "info in.vtkhdf", "no group VTKHDF"),
    (_nothing, UNPACK, "in.vtkhdf: no such file"),
    (_nothing, "info in.vtkhdf", "in.vtkhdf: no such file"),
    (_archive, f"{UNPACK} --fields Tracr", "no array 'Tracr'; it has .*'Tracer'"),
    (_archive, f"{UNPACK} --from 25", "no state in that span of time; there are 5, 0 … 24 s"),
    (_folder, UNPACK, "out is there already"),
]


@pytest.mark.parametrize("make, command, message", FAILURES, ids=lambda x: x if isinstance(x, str) else x.__name__)
def test_bad_input_is_told_once_and_leaves_nothing(fluidity_data, tmp_path, monkeypatch, capfd, make, command, message):
    make(fluidity_data, tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    capfd.readouterr()
    monkeypatch.chdir(tmp_path)
    assert _run(*command.split()) == 2
    told = capfd.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
    assert re.search(message, told), told
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before


@pytest.mark.parametrize(
    "words, message",
    [
        ("pack out.vtkhdf", "DUMPS"),
        ("pack out.vtkhdf . --every 0", "expected 1, 2, 3"),
        ("pack out.vtkhdf . --fields A,,B", "expected different names"),
        ("pack out.vtkhdf . --fields A,A", "expected different names"),
        ("pack out.vtkhdf . --compression 10", "invalid choice"),
        ("pack out.vtkhdf . --precision half", "invalid choice: 'half'"),
        ("unpack in.vtkhdf", "FOLDER"),
        ("", "command"),
    ],
)
def test_wrong_words_are_told(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert _run(*words.split()) == 2
    assert message in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_it_is_a_program(fluidity_data, tmp_path):
    def command(*words):
        line = [sys.executable, "-m", "plugin.archive", *map(str, words)]
        return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)

    done = command("pack", tmp_path / "run.vtkhdf", fluidity_data / "adaptive/mini_[34].vtu")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("packing: 1 of 2\npacking: 2 of 2\n") and "2 states of 12 … 16 s" in done.stdout
    done = command("unpack", tmp_path / "run.vtkhdf", tmp_path)
    assert done.returncode == 2
    assert done.stderr == f"error: {tmp_path} is there already; remove it or choose another folder\n"


def test_ranks_pack_and_unpack_together(fluidity_data, tmp_path, mpirun):
    words = "pack", tmp_path / "two.vtkhdf", fluidity_data / "parallel"
    told = mpirun(2, "-m", "plugin.archive", *words, timeout=60).stdout
    assert told.startswith("packing: 1 of 2") and "\x1b" not in told
    assert _contents(tmp_path / "two.vtkhdf") == _contents(fluidity_data / "parallel")
    mpirun(3, "-m", "plugin.archive", "unpack", tmp_path / "two.vtkhdf", tmp_path / "three", timeout=60)
    assert _contents(tmp_path / "three") == _contents(fluidity_data / "parallel")
    told = mpirun(2, "-m", "plugin.archive", "info", tmp_path / "two.vtkhdf", timeout=60).stdout
    assert told.count("2 states, 8 … 12 s") == 1


@pytest.mark.parametrize("command", [["pack", "out.vtkhdf", "dumps"], ["pack", "out.vtkhdf"]])
def test_ranks_that_fail_say_so_once_and_leave_nothing(fluidity_data, tmp_path, mpirun, command):
    dumps = tmp_path / "dumps"
    for k in (2, 3):
        shutil.copytree(fluidity_data / f"parallel/mini_{k}", dumps / f"mini_{k}")
        shutil.copy(fluidity_data / f"parallel/mini_{k}.pvtu", dumps)
    piece = dumps / "mini_3/mini_3_1.vtu"  # read by the second rank alone
    piece.write_bytes(piece.read_bytes()[:100_000])
    done = mpirun(2, "-m", "plugin.archive", *command, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("error:") == 1
    assert ("mini_3_1.vtu: names data" if "dumps" in command else "DUMPS") in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"dumps"}


def test_memory_does_not_grow_with_the_number_of_dumps(tmp_path):
    n_cells, n_dumps = 10_000, 25
    points = np.arange(12.0 * n_cells).reshape(-1, 3)
    part = 0, points, np.arange(4 * n_cells).reshape(-1, 4), np.zeros(n_cells, bool)
    mesh = join_pieces([part], 1, COMM)
    (tmp_path / "dumps").mkdir()
    for k in range(n_dumps):
        fields = {"Velocity": Field("Velocity", mesh, np.full(points.shape, float(k)))}
        write_dump(State(float(k), fields), tmp_path / "dumps" / str(k), COMM)
    program = ROOT / "tests/support/pack_memory.py"
    line = [sys.executable, program, tmp_path / "dumps", tmp_path, "5"]
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=100, check=True)
    few, many = map(int, done.stdout.split())
    assert many - few < 7 * points.nbytes  # of the 20 more


@pytest.mark.parametrize(
    "run, options", [("adaptive", "from: 4, every: 2"), ("adaptive", "until: 16"), ("parallel", "")]
)
def test_training_sees_the_same_states_in_an_archive(fluidity_data, tmp_path, run, options):
    archive = tmp_path / "run.vtkhdf"
    assert _run("pack", archive, fluidity_data / run) == 0
    found = []
    for source in (fluidity_data / run, archive):
        (tmp_path / "case.yml").write_text(
            "model: {driver: fluidity, start: none.flml}\n"
            "cycle: {window: 4, windows: 1}\n"
            "grid: {shape: [8, 7, 4]}\n"
            "variables: [Tracer, Velocity.x]\n"
            f"background: {{snapshots: [{{path: {source}, {options}}}], transform: reduced}}\n"
            "observations: {file: none.csv}\n"
        )
        found.append(background(read_case(tmp_path / "case.yml"), COMM).modes)
    dumps, packed = found
    assert dumps.n_samples == packed.n_samples == {"from: 4, every: 2": 2, "until: 16": 4, "": 2}[options]
    assert np.abs(dumps.vectors).max() > 0
    np.testing.assert_array_equal(packed.vectors, dumps.vectors)
    np.testing.assert_array_equal(packed.mean, dumps.mean)


_PACK = """
import sys
from mpi4py import MPI
from plugin.archive import main
from plugin.run.job import run_job
begin()
run_job(lambda: main(["pack", {out!r}, {dumps!r}], MPI.COMM_WORLD), MPI.COMM_WORLD)
"""


@pytest.mark.parametrize("attempt", range(3))
def test_of_two_packings_into_one_name_one_is_there_and_the_other_says_so(fluidity_data, tmp_path, attempt):
    out = tmp_path / "a.vtkhdf"
    runs = [fluidity_data / "serial", fluidity_data / "adaptive"]
    ended = together(*(_PACK.format(out=str(out), dumps=str(run)) for run in runs))
    assert sorted(e.code for e in ended) == [0, 2], ended
    first, second = sorted(ended, key=lambda e: e.code)
    assert "a.vtkhdf" in second.said and re.search("another job|is in use|is there already", second.said), second
    assert "Traceback" not in second.said
    assert _contents(out) == _contents(runs[ended.index(first)])
    assert os.listdir(tmp_path) == ["a.vtkhdf"]


def test_an_archive_that_another_has_made_meanwhile_stays(fluidity_data, tmp_path, monkeypatch, capfd):
    out = tmp_path / "a.vtkhdf"

    def make_meanwhile(*words):
        out.write_text("of another job without locks")
        yield from words[0]

    monkeypatch.setattr("plugin.archive._counted", make_meanwhile)
    assert _run("pack", out, fluidity_data / "serial") == 2
    assert "is there already" in capfd.readouterr().err
    assert out.read_text() == "of another job without locks" and os.listdir(tmp_path) == ["a.vtkhdf"]


def test_states_between_are_filled_in(fluidity_data, tmp_path, capsys):
    """Of a run that is known, from every second of its states; and what does not fit is told."""
    first = read_state(fluidity_data / "serial/mini_2.vtu", COMM, ["Tracer"])
    x = first["Tracer"].mesh.points[:, 0] / 50.0
    (tmp_path / "run").mkdir()
    for k in range(40):
        state = State(float(k), {"Tracer": first["Tracer"].replaced(np.sin(x - 0.8 * k))})
        write_dump(state, tmp_path / f"run/wave_{k}", COMM)
    assert _run("pack", tmp_path / "coarse.vtkhdf", tmp_path / "run", "--every", 2) == 0
    words = ("fill", tmp_path / "filled.vtkhdf", tmp_path / "coarse.vtkhdf", "--learn", tmp_path / "run")
    assert _run(*words) == 0
    assert "20 states, and 19 between them, 1 s apart" in capsys.readouterr().out
    with open_series(tmp_path / "filled.vtkhdf", COMM) as filled, open_series(tmp_path / "run", COMM) as run:
        assert filled.times.tolist() == run.times[:-1].tolist()
        for k in range(39):
            found, truth = filled.read(k)["Tracer"].values, run.read(k)["Tracer"].values
            assert np.array_equal(found, truth) if k % 2 == 0 else np.abs(found - truth).max() < 0.01
    assert _run(*words) == 2
    told = ("fill", tmp_path / "new.vtkhdf", tmp_path / "run", "--learn", tmp_path / "run")
    assert _run(*told) == 2 and "expected the same multiple" in capsys.readouterr().err
    other = ("fill", tmp_path / "new.vtkhdf", tmp_path / "coarse.vtkhdf", "--learn", tmp_path / "coarse.vtkhdf")
    assert _run(*other) == 2 and not (tmp_path / "new.vtkhdf").exists()
