"""The doctor: what its checks say of sound and of broken set-ups, by hand and by the command."""

import io
import json
import re
import shutil
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from cycle_case import COMM, WINDOW, files, python, settings, write_readings, write_settings

from coupling.fluidity import options as flml
from coupling.fluidity.remarks import remarks
from coupling.geometry.grid import make_grid
from coupling.geometry.mesh import Mesh, Piece
from plugin.case.configuration import Case, ConfigurationError, read_case
from plugin.check.__main__ import main
from plugin.check.case.files import CaseFiles
from plugin.check.case.grid import grid_on_mesh, median_edge_length
from plugin.check.case.model import launcher as launched
from plugin.check.case.model import processes
from plugin.check.case.resources import most_modes
from plugin.check.case.restart import round_trip
from plugin.check.case.settings import plan_of_cycle
from plugin.check.case.states import states
from plugin.check.finding import FAIL, OK, WARN, Finding, Unavailable, as_text, findings
from plugin.check.machine.libraries import libraries, loaded, packages
from plugin.check.machine.processors import Placement, free_memory, gpu, processors


def levels(found):
    return [finding.level for finding in found]


# How checks speak


def test_a_check_that_breaks_down_is_a_finding():
    def breaks():
        yield Finding(OK, "a", "first")
        return 1 / 0

    first, last = findings("a", breaks)
    assert first.text == "first" and last.level == FAIL and "ZeroDivisionError" in last.text


def test_an_expected_error_is_shown_as_it_is_and_what_follows_from_it_is_no_second_fault():
    def raises(error):
        raise error

    (found,) = findings("a", raises, ConfigurationError("case.yml: line 3"))
    assert (found.level, found.text) == (FAIL, "case.yml: line 3")
    (found,) = findings("a", raises, Unavailable("the grid cannot be read, see above"))
    assert found.level == WARN and "see above" in found.text


def test_findings_say_what_to_do():
    lines = as_text(Finding(FAIL, "grid", "too coarse", "make it finer")).splitlines()
    assert lines[0].startswith("FAIL  grid") and lines[1].strip() == "→ make it finer"


# Libraries and machine


MAPS = """7f00-7f01 r-xp 00000000 08:01 11 /usr/lib/x86_64-linux-gnu/libmpi.so.40.30.4
7f01-7f02 r--p 00000000 08:01 11 /usr/lib/x86_64-linux-gnu/libmpi.so.40.30.4
7f02-7f03 r-xp 00000000 08:01 12 /usr/lib/x86_64-linux-gnu/libhdf5_openmpi.so.103.3.0
7f03-7f04 r-xp 00000000 08:01 13 /a folder/libvtkhdf5-9.7.so.1
7f04-7f05 rw-p 00000000 00:00 0
7f05-7f06 r-xp 00000000 08:01 14 /usr/lib/libmpi_cxx.so.40
7f06-7f07 r-xp 00000000 08:01 15 /usr/lib/libpetsc_real.so.3.18.5
"""


def test_loaded_libraries_are_found_in_the_memory_map():
    found = loaded(MAPS)
    assert [Path(p).name for p in found["MPI"]] == ["libmpi.so.40.30.4"]
    assert [Path(p).name for p in found["HDF5"]] == ["libhdf5_openmpi.so.103.3.0"]
    assert [Path(p).name for p in found["PETSc"]] == ["libpetsc_real.so.3.18.5"]
    assert levels(libraries([found])) == [OK, OK, OK]


def test_two_mpi_libraries_fail_also_on_two_ranks():
    other = {"MPI": ["/opt/mpich/libmpi.so.12"], "HDF5": [], "PETSc": []}
    found = list(libraries([loaded(MAPS), other]))
    assert levels(found) == [FAIL, OK, OK] and "/opt/mpich/libmpi.so.12" in found[0].text and found[0].advice
    assert levels(libraries([{"MPI": [], "HDF5": [], "PETSc": []}])) == [WARN, WARN, WARN]


def test_debian_s_two_kinds_of_hdf5_keep_apart_and_two_of_one_kind_do_not():
    for names, level in ((("_openmpi.so.103", "_serial.so.103"), OK), ((".so.103", ".so.200"), FAIL)):
        found = {
            "MPI": ["/a/libmpi.so.40"],
            "HDF5": [f"/a/libhdf5{name}" for name in names],
            "PETSc": ["/a/libpetsc.so"],
        }
        assert levels(libraries([found])) == [OK, level, OK]


def test_this_environment_has_all_packages():
    assert FAIL not in levels(packages()) and loaded()["MPI"]


@pytest.mark.parametrize(
    ("places", "level", "advice"),
    [
        ([Placement("a", 8, 1, 10**9)], OK, ""),
        (2 * [Placement("a", 8, None, 10**9)], WARN, "OMP_NUM_THREADS=1"),
        (2 * [Placement("a", 1, 1, 10**9)], WARN, "--bind-to none"),
    ],
)
def test_processors(places, level, advice):
    (found,) = processors(places, 1)
    assert found.level == level and advice in found.advice


def test_each_node_has_a_line():
    assert len(list(processors([Placement("a", 8, 1, 1), Placement("b", 8, 1, 1)], 1))) == 2


def test_memory_and_gpu_of_a_machine():
    assert free_memory("MemTotal: 9 kB\nMemAvailable:    5 kB\n") == 5120 and free_memory("") == 0
    assert FAIL not in levels(gpu([]))


def test_most_modes_of_a_truncation():
    assert [most_modes(t, 20) for t in (None, 0.95, 12, 50)] == [20, 20, 12, 20]


# Grid and mesh


def one_cell():
    points = np.array([[0.0, 0, 0], [6, 0, 0], [0, 6, 0], [0, 0, 6]])
    piece = Piece(0, slice(0, 4), slice(0, 1), "one")
    return Mesh(points, np.array([[0, 1, 2, 3]]), np.zeros(1, bool), (piece,), 1, "one")


def test_median_edge_of_a_tetrahedron():
    assert median_edge_length(one_cell()) == pytest.approx(0.5 * (6 + np.sqrt(72)))


@pytest.mark.parametrize(
    ("box", "spacing", "expected"),
    [
        ([[0, 0, 0], [6, 6, 6]], 6.0, [OK, OK]),
        ([[0, 0, 0], [60, 60, 60]], 20.0, [WARN, OK]),
        ([[0, 0, 0], [6, 6, 6]], 0.5, [WARN, OK]),
        ([[0, 0, 0], [3, 3, 3]], 3.0, [OK, WARN]),
    ],
)
def test_grid_beside_the_mesh(box, spacing, expected):
    assert levels(grid_on_mesh(make_grid(box, spacing=spacing), one_cell())) == expected


def test_a_grid_without_air_fails():
    empty = make_grid([[0, 0, 0], [6, 6, 6]], spacing=6.0).with_fluid(np.zeros(8, bool))
    assert levels(grid_on_mesh(empty, one_cell())) == [FAIL]


# Restarts of Fluidity's


@pytest.mark.parametrize(("kind", "pieces"), [("serial", 1), ("parallel", 2)])
def test_fluidity_s_checkpoint_comes_back(fluidity_data, tmp_path, kind, pieces):
    start = str(fluidity_data / kind / "mini_3_checkpoint.flml")
    values = settings(tmp_path, tmp_path / "run", model__start=start, model__processes=pieces)
    case = Case.model_validate(values)
    (found,) = round_trip(CaseFiles(case, tmp_path))
    assert found.level == OK and "to the last bit" in found.text
    assert levels(processes(CaseFiles(case, tmp_path))) == [OK]


# The command


def examine(file, *words, ranks=1):
    """(exit code, {name: [findings]}) of the doctor: as a person calls it on several ranks, or in this process."""
    words, said = ["--json", *map(str, words)], io.StringIO()
    if ranks == 1:
        with redirect_stdout(said):
            code = main([str(file), *words], COMM)
    else:
        ended = python(ranks, "-m", "plugin.check", file, *words)
        assert ended.stdout.startswith("["), ended.stdout + ended.stderr
        code = ended.returncode
        said.write(ended.stdout)
    found = {}
    for finding in json.loads(said.getvalue()):
        found.setdefault(finding["name"], []).append(SimpleNamespace(**finding))
    return code, found


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_sound_case_is_let_pass_and_left_alone(twin, tmp_path, ranks):
    file = write_settings(tmp_path / "case.yml", twin, tmp_path / "run", 2)
    before = files(twin) | files(tmp_path)
    code, found = examine(file, ranks=ranks)
    assert [f for some in found.values() for f in some if f.level == FAIL] == [] and code == 0
    assert {"launcher", "one time step", "restart round trip", "sensors", "memory", "disk", "one window"} <= set(found)
    assert "2 processes that find each other" in found["launcher"][0].text
    assert found["sensors"][0].text == "all 72 lie in the model's air"
    assert files(twin) | files(tmp_path) == before and not (tmp_path / "run").exists()


def test_what_an_ensemble_costs_is_said(twin, tmp_path):
    ensemble = {"members": 6, "at_once": 3}
    file = write_settings(tmp_path / "case.yml", twin, tmp_path / "run", ensemble=ensemble)
    code, found = examine(file)
    assert code == 1 and "3 models at once need as many ranks of the plugin, there are 1" in found["ensemble"][0].text
    assert "2 times: 6 members, 3 at once" in found["one window"][0].text


@pytest.mark.parametrize(
    ("start", "method", "level"), [("restart", "etkf", OK), ("modes", "etkf", WARN), ("restart", "hybrid", WARN)]
)
def test_few_earlier_states_are_enough_where_errors_are_the_members_own(twin, tmp_path, start, method, level):
    few = {"snapshots": [{"path": str(twin / "training/0"), "from": 24}]}
    ensemble = {"members": 4, "start": {"from": start}}
    gust = {"prior": {"uniform": [0, 1]}, "to": {"file": "parameters.json"}}
    changes = {"background": few, "ensemble": ensemble, "analysis": {"method": method}, "parameters": {"gust": gust}}
    case = read_case(write_settings(tmp_path / "case.yml", twin, tmp_path / "run", **changes))
    (found, _) = states(CaseFiles(case, tmp_path))
    assert found.level == level and ("for the variables' units alone" in found.text) == (level == OK)


def test_restart_of_a_checkpoint_comes_back(twin, tmp_path):
    (start,) = (twin / "truth").glob("*_checkpoint.flml")
    file = write_settings(tmp_path / "case.yml", twin, tmp_path / "run", model__start=str(start))
    code, found = examine(file, "--quick")
    assert found["restart round trip"][0].level == OK and "to the last bit" in found["restart round trip"][0].text
    # the readings are of the time before
    assert code == 1 and found["readings"][0].level == FAIL and "none is in a window" in found["readings"][0].text


def test_what_is_broken_is_named(twin, tmp_path):
    readings = write_readings(tmp_path / "readings.csv", [(WINDOW, 45.0, 22.0, 5.0, "Tracer", 1.0, 0.1)])
    program = tmp_path / "fails"
    program.write_text("#!/bin/sh\necho no licence\nexit 3\n")
    program.chmod(0o755)
    file = write_settings(
        tmp_path / "case.yml", twin, tmp_path / "run", 1, observations__file=str(readings), background__truncation=500,
        model__driver="fluidity", model__program=[str(program)],
        model__start=str(twin / "start-2/case.flml"), network={"file": str(tmp_path / "none.safetensors")},
        background__transform="decoded",
    )  # fmt: skip
    code, found = examine(file)
    assert code == 1
    failed = {name: some for name, of in found.items() if (some := [f.text for f in of if f.level == FAIL])}
    assert set(failed) == {"pieces of the mesh", "earlier states", "sensors", "network", "one time step"}
    assert (
        "no such file" in failed["network"][0]
        and "made for 2 processes, the model is to run on 1" in failed["pieces of the mesh"][0]
    )
    assert "500 are asked for" in failed["earlier states"][0]
    assert "no licence" in " ".join(f.text for f in found["model"])
    assert "see above" in found["one window"][0].text and found["one window"][0].level == WARN


@pytest.mark.parametrize("here", [True, False])
def test_a_module_of_the_case_that_the_model_does_not_find_is_told_with_what_to_do(twin, tmp_path, here):
    program = tmp_path / "model"
    lines = "ModuleNotFoundError: No module named 'winds'", "ModuleNotFoundError: No module named 'fluidity'"
    program.write_text("#!/bin/sh\n" + "".join(f'echo "{line}" >&2\n' for line in lines) + "exit 1\n")
    program.chmod(0o755)
    start = tmp_path / "start"
    shutil.copytree(twin / "start-1", start)
    if here:
        (start / "winds.py").write_text("speed = 1.0\n")
    file = write_settings(
        tmp_path / "case.yml", twin, tmp_path / "run", model__driver="fluidity", model__program=[str(program)],
        model__start=str(start / "case.flml"), model__environment={"PYTHONPATH": "/mine"},
    )  # fmt: skip
    code, reported = examine(file)
    (finding,) = reported["one time step"]
    assert code == 1 and finding.level == FAIL
    folder = str(start) if here else "FOLDER"
    assert f"model.environment: {{PYTHONPATH: '{folder}:/mine'}}" in finding.advice
    assert "lets it import winds" in finding.advice and ("FOLDER being the one" in finding.advice) != here
    # what it names is there
    assert not [path for path in re.findall(r"(?<!\S)/[^\s:;,']+", finding.text) if not Path(path).exists()], (
        finding.text
    )
    assert ".check-" not in finding.text and "the check's own and are gone" in finding.advice


def test_a_launcher_that_starts_single_jobs_fails(twin, tmp_path):
    alone = tmp_path / "alone"
    alone.write_text('#!/bin/bash\nshift 2\n"$@" & "$@"; wait\n')
    alone.chmod(0o755)
    for launcher, said in (([str(alone), "-n", "{n}"], "jobs of 1, 1"), (["/no/such/launcher", "{n}"], "cannot start")):
        changed = read_case(write_settings(tmp_path / "case.yml", twin, tmp_path / "run", 2, model__launcher=launcher))
        (found,) = findings("launcher", launched, changed, tmp_path)
        assert found.level == FAIL and said in found.text


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("mpirun has detected an attempt to run as root.", "export OMPI_ALLOW_RUN_AS_ROOT=1"),
        ("There are not enough slots available in the system", "mpirun --map-by :OVERSUBSCRIBE"),
    ],
)
def test_a_launcher_that_refuses_is_told_how_to_be_content(twin, tmp_path, words, advice):
    refusing = tmp_path / "launcher"
    refusing.write_text(f"#!/bin/sh\necho '{words}'\nexit 1\n")
    refusing.chmod(0o755)
    launcher = [str(refusing), "{n}"]
    changed = read_case(write_settings(tmp_path / "case.yml", twin, tmp_path / "run", 2, model__launcher=launcher))
    (finding,) = findings("launcher", launched, changed, tmp_path)
    assert finding.level == FAIL and words in finding.text and advice in finding.advice


def test_fix_writes_a_copy_that_passes(twin, tmp_path):
    start = tmp_path / "start"
    start.mkdir()
    for path in (twin / "start-1").iterdir():
        (start / path.name).write_bytes(path.read_bytes())
    tree = flml.read_options(start / "case.flml")
    flml.set_option(tree, "timestepping/final_timestep", 3)
    flml.write_options(tree, start / "case.flml")
    file = write_settings(tmp_path / "case.yml", twin, tmp_path / "run", model__start=str(start / "case.flml"))
    code, found = examine(file, "--quick", "--fix", start / "fixed.flml")
    assert code == 1 and any("--fix" in f.advice for f in found["model's options"])
    fixed = remarks(start / "fixed.flml", plan_of_cycle(read_case(file)))
    assert {remark.level for remark in fixed} == {OK}


def test_a_broken_case_file_is_a_line_and_the_machine_is_looked_at_all_the_same(tmp_path, capsys):
    file = tmp_path / "case.yml"
    file.write_text("modell: {}\n")
    assert main([str(file)], COMM) == 1
    said = capsys.readouterr()
    assert re.search(r"^FAIL  case file .*line", said.out, re.MULTILINE)
    assert "one MPI" in said.out and "in the way" in said.out and said.err == ""


def test_a_run_folder_that_cannot_be_written_is_a_line(tmp_path, capsys):
    file = write_settings(tmp_path / "case.yml", tmp_path, "/proc/run")
    assert main([str(file), "--quick"], COMM) == 1
    assert re.search(r"^FAIL  run folder .*/proc cannot be written", capsys.readouterr().out, re.MULTILINE)


def test_without_a_case_the_machine_is_looked_at(capsys):
    assert main(["--json"], COMM) == 0
    assert {"numpy", "one MPI", "processors", "GPU"} <= {
        finding["name"] for finding in json.loads(capsys.readouterr().out)
    }
