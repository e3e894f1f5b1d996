"""How OpenFOAM's driver fails: what a run left that cannot be gone on from, and programs that end, hang or are stopped.

Most runs here are of a shell script in the solver's place, whole and cut in two; it begins with what a good run leaves.
"""

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from openfoam import HOME, needs_openfoam, small_case
from places import ROOT

from coupling.openfoam.checkpoint import open_restart, write_restart
from coupling.openfoam.driver import OpenFoamModel
from coupling.simulation.launch import ModelError, clean_environment

COMM = MPI.COMM_SELF
PIECES = {1: (".",), 2: ("processor0", "processor1")}


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """{processes: start}, not to be changed."""
    needs_openfoam()
    return {n: open_restart(small_case(tmp_path_factory.mktemp("case") / "case", n)) for n in (1, 2)}


@pytest.fixture(scope="module", params=[1, 2], ids=["whole", "in two"])
def start(request, tmp_path_factory):
    """One start after the other; the whole one needs no OpenFOAM."""
    if request.param > 1:
        needs_openfoam()
    return open_restart(small_case(tmp_path_factory.mktemp("case") / "case", request.param))


def program(path, text):
    """A shell script that can be started."""
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return str(path)


def model_of(start, folder, script, **settings):
    """A driver whose solver is a script; of a case in pieces it is started once, by a launcher that does no more.

    In the script `every` runs a command in each piece, and $LAST is the last piece.
    """
    pieces = PIECES[len(start.pieces)]
    every = f'every() {{ for piece in {" ".join(pieces)}; do (cd $piece && "$@"); done; }}; LAST={pieces[-1]}'
    words = program(folder / "model", f"{every}\n{script}")
    launcher = settings.pop("launcher", ("env",))
    return OpenFoamModel((words,), len(pieces), launcher, **{"timeout": 30, **settings})


def failing(start, folder, script, until=3.0, **settings):
    """The message of a forecast that runs a script as its solver."""
    with pytest.raises(ModelError) as error:
        model_of(start, folder, script, **settings).run(start, until, folder / "run", COMM)
    return str(error.value)


# What a run left


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("rm -r $LAST/3", "wrote no time after 2 s"),
        ("every mv 3 2.75", "stopped at 2.75 s, 3 s was asked for"),
        ("every mv 3 3.25", "stopped at 3.25 s, 3 s was asked for"),
        ("every cp -r 3 1e2", "stopped at 100 s, 3 s was asked for"),
        ("every cp -r 3 3.0", "3 and 3.0 are one time"),
        ("every rm -r 3; every touch 3", "wrote no time after 2 s"),
        ("every rm 3/T", "wrote no T at 3 s, which its start has"),
        ("rm $LAST/3/phi", "cannot be used: .*3: lacks the flux phi, which its start has"),
        ("every find 3 -type f -delete", "has no field in cells"),
        ("truncate -s 2000 $LAST/3/U", "cannot be used: .*3/U.*is the file cut"),
        ("truncate -s 2000 $LAST/3/phi", "cannot be used: .*3/phi.*is the file cut"),
        (": > $LAST/3/U", "cannot be used: .*3/U|wrote no U at 3 s"),
        ("head -c 3000 /dev/zero > $LAST/3/U", "cannot be used: .*3/U|wrote no U at 3 s"),
        ("gzip $LAST/3/U; truncate -s 1000 $LAST/3/U.gz", "cannot be used: .*3/U.gz"),
        ("sed -i 's/volScalarField/volVectorField/' $LAST/3/T", "cannot be used: .*3/T: .*scalars, expected vectors"),
        ("sed -i 's/volScalarField/surfaceScalarField/' $LAST/3/T", "cannot be used|wrote no T"),
        ("sed -i '24d' $LAST/3/T", r"cannot be used: .*3/T: the list at byte .* says \d+ scalars and has \d+"),
        ("sed -i '24s/.*/1.0.0/' $LAST/3/T", "cannot be used: .*3/T: .* holds what is no number"),
        ("sed -i '24s/.*/nan/' $LAST/3/T", "1 values of T are not finite"),
        ("sed -i '24s/.*/-inf/' $LAST/3/p", "1 values of p are not finite"),
        ("sed -i '40s/.*/nan/' $LAST/3/phi", "cannot be used: .*3/phi: 1 values are not finite"),
        ("mkdir $LAST/3/polyMesh; touch $LAST/3/polyMesh/points", "meshes that move or change are not read"),
        ("rm $LAST/constant/polyMesh/owner", "cannot be used: .*has no file owner"),
        ("rm -r $LAST/constant/polyMesh", "has no constant/polyMesh"),
        ("mkdir -p processors2", "collated files are not read here"),
        ("rm -r system", "cannot be used: .*has no system/controlDict"),
    ],
)
def test_what_cannot_be_gone_on_from_is_the_models_failure(damage, said, start, tmp_path):
    message = failing(start, tmp_path, f"every cp -r 2 3\n{damage}")

    assert re.search(said, message), message


def test_a_run_in_more_pieces_than_its_start_is_refused(start, tmp_path):
    """As where the solver was started by a launcher that says another number."""
    n = len(start.pieces)
    made = "mkdir processor0; cp -r constant 3 processor0" if n == 1 else "cp -r processor1 processor2"
    message = failing(start, tmp_path, f"every cp -r 2 3\n{made}")
    assert f"left a case in {3 if n == 2 else 1} processor folders, its start is in " in message
    assert message.split("its start is in ")[1].startswith("one piece" if n == 1 else "2 processor folders")


def test_a_field_of_one_processor_alone_is_named(starts, tmp_path):
    message = failing(starts[2], tmp_path, "every cp -r 2 3; rm processor1/3/T")
    assert "cannot be used" in message and f"{tmp_path}/run/processor1/3: lacks the field T" in message


def test_times_of_an_earlier_run_are_not_taken_for_this_ones(start, tmp_path):
    """They stay where they are: a run's folder has the one time that it starts from."""
    full = write_restart(start, tmp_path / "full", COMM)
    for piece in full.pieces:
        for name in ("1", "3", "4"):
            shutil.copytree(piece / "2", piece / name)
    again = open_restart(full.case, "2")
    assert "wrote no time after 2 s" in failing(again, tmp_path, "echo nothing to do")


def test_a_folder_that_is_there_already_is_left_as_it_is(start, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/mine").write_text("mine")
    with pytest.raises(FileExistsError, match="run"):
        model_of(start, tmp_path, "every cp -r 2 3").run(start, 3.0, tmp_path / "run", COMM)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


def test_a_failed_run_leaves_the_users_controls_and_its_log(start, tmp_path):
    failing(start, tmp_path, "echo something; exit 3")
    own = (start.case / "system/controlDict").read_bytes()
    left = (tmp_path / "run/system/controlDict").read_bytes()
    assert left.startswith(own) and b"writeFormat" not in left.removeprefix(own)
    assert "something" in (tmp_path / "run/launch.log").read_text()


# How a program ends


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("exit 7", "ended with exit code 7"),
        ("kill -SEGV $$", r"ended with signal 11 \(SIGSEGV\)"),
        ("kill -KILL $$", r"ended with signal 9 \(SIGKILL\)"),
        ("exit 136", r"exit code 136, as after signal 8 \(SIGFPE\)"),
        ("every cp -r 2 3; exit 1", "ended with exit code 1"),  # what it wrote is no proof of success
    ],
)
def test_another_exit_than_a_good_one_is_told(script, said, start, tmp_path):

    assert re.search(said, failing(start, tmp_path, script))


def test_a_signal_under_a_launcher_is_told(starts, tmp_path):
    message = failing(starts[2], tmp_path, "kill -KILL $$", launcher=("mpirun", "-n", "{n}"))
    assert "exit code 137, as after signal 9 (SIGKILL)" in message and "launch.log" in message


def test_an_error_shows_the_last_fifteen_lines(start, tmp_path):
    message = failing(start, tmp_path, "seq -f 'line %g' 40; exit 7")
    assert f"end of {tmp_path}/run/launch.log" in message
    assert [line.strip() for line in message.splitlines()[2:]] == [f"line {k}" for k in range(26, 41)]


@pytest.mark.parametrize("rank", ["", "[1] "])
def test_openfoams_own_error_is_shown_from_its_beginning(rank, start, tmp_path):
    """And not what other ranks and the launcher print after it."""
    script = f"""
seq -f 'Time = %g' 100
echo '{rank}--> FOAM FATAL ERROR: '
echo '{rank}Unknown ddt scheme NoSuch'
seq -f 'after %g' 100
exit 1"""
    message = failing(start, tmp_path, script)
    lines = [line.strip() for line in message.splitlines()]
    assert f"{rank}--> FOAM FATAL ERROR:" in lines and f"{rank}Unknown ddt scheme NoSuch" in lines
    assert "Time = 100" not in lines and "after 13" in lines and "after 14" not in lines


def test_a_number_that_is_not_finite_is_told_in_words(start, tmp_path):
    message = failing(start, tmp_path, "echo '#1  Foam::sigFpe::sigHandler(int)'; kill -FPE $$")
    assert "signal 8 (SIGFPE)" in message and "has the run become unstable (time step, maxCo)?" in message


def test_an_endless_line_with_control_characters_fills_no_screen(start, tmp_path):
    script = r"printf '\033[2J\033]0;title\007'; head -c 20000000 /dev/zero | tr '\0' x; exit 7"
    message = failing(start, tmp_path, script)
    assert "exit code 7" in message and len(message) < 10_000 and "\x1b" not in message


def test_a_solver_that_removes_its_folder_has_failed(start, tmp_path):
    assert "removed the folder that it ran in" in failing(start, tmp_path, 'rm -rf "$PWD"')


def test_a_program_that_is_not_there_is_named(start, tmp_path):
    n = len(start.pieces)
    for k, settings in enumerate(({"program": ("no-such-foam",)}, {"launcher": ("no-such-launcher", "{n}")})):
        if n == 1 and k == 1:
            continue  # the launcher is not asked
        with pytest.raises(ModelError, match=f"{'no-such-foam' if k == 0 else 'no-such-launcher'}"):
            OpenFoamModel(processes=n, timeout=30, **settings).run(start, 3.0, tmp_path / f"run-{k}", COMM)


# How long it takes


def gone(pid, patience=5.0):
    """True once a process has ended."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


STUBBORN = "trap '' TERM; sleep 77 & echo $! > pid-$!; echo $BASHPID > pid-$BASHPID; wait"


def test_a_time_out_leaves_no_process(starts, tmp_path):
    message = failing(starts[2], tmp_path, STUBBORN, launcher=("mpirun", "-n", "{n}"), timeout=1.0)
    assert "was stopped after 1 s, its time-out" in message
    pids = [int(path.read_text()) for path in (tmp_path / "run").glob("pid-*")]
    assert len(pids) == 4 and [pid for pid in pids if not gone(pid)] == []


def test_one_that_hangs_is_stopped_and_one_whose_log_grows_is_not(starts, tmp_path):
    for name in ("hangs", "grows"):
        (tmp_path / name).mkdir()
    assert "written nothing for 0.5 s" in failing(starts[1], tmp_path / "hangs", "echo begun; sleep 60", silence=0.5)
    script = "for k in {1..12}; do echo $k; sleep 0.1; done; exit 7"
    assert "exit code 7" in failing(starts[1], tmp_path / "grows", script, silence=0.5)


def test_the_solver_ends_with_us(start, tmp_path):
    """Schedulers, and mpirun after Ctrl-C, end us by SIGTERM."""
    model = model_of(start, tmp_path, "echo $$ > pid.new; mv pid.new pid; exec sleep 77")
    code = f"""
from mpi4py import MPI
from coupling.openfoam.checkpoint import open_restart
from coupling.openfoam.driver import OpenFoamModel
model = OpenFoamModel({model.program!r}, {model.processes}, {model.launcher!r})
model.run(open_restart({str(start.case)!r}), 3.0, "run", MPI.COMM_SELF)
"""
    environment = clean_environment(tmp_path, {"PYTHONPATH": str(ROOT)})
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as us:
        end = time.monotonic() + 30
        while not (tmp_path / "run/pid").is_file() and us.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        us.terminate()
        assert us.wait(30) == -signal.SIGTERM
    assert gone(int((tmp_path / "run/pid").read_text()))


# A disk that is full: a limit of a file's size does to a write what a full disk does


def test_a_disk_that_is_full_leaves_no_half_of_a_case(start, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            model_of(start, tmp_path, "every cp -r 2 3").run(start, 3.0, tmp_path / "run", COMM)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]


def test_a_disk_that_is_full_while_openfoam_writes_is_noticed(starts, tmp_path):
    script = f"export WM_PROJECT_DIR={HOME}; trap '' XFSZ; ulimit -f 20; exec pimpleFoam"
    message = failing(starts[1], tmp_path, script, until=2.5, timeout=60)
    assert "exit code 1" in message and "FOAM FATAL IO ERROR" in message and "2.5/U" in message


# What fits no run


def test_a_start_that_does_not_fit_is_refused_before_anything_runs(start, tmp_path):
    n = len(start.pieces)
    other, advice = (2, "have decomposePar cut it") if n == 1 else (1, "remove its processor folders")
    for processes, until, said in ((other, 3.0, advice), (n, 2.0, "at 2 s already"), (n, 1.0, "at 2 s already")):
        with pytest.raises(ModelError, match=said):
            OpenFoamModel(processes=processes).run(start, until, tmp_path / "run", COMM)
    assert list(tmp_path.iterdir()) == []


def test_the_launcher_gets_the_number_and_starts_parallel_solvers_only(starts, tmp_path):
    launcher = program(tmp_path / "launcher", f'echo "$@" > {tmp_path}/words; exec mpirun -n 2 "${{@:2}}"')
    model = OpenFoamModel(processes=2, launcher=(launcher, "--tasks={n}"), timeout=60)
    assert model.run(starts[2], 2.25, tmp_path / "run", COMM).state.time == 2.25
    assert (tmp_path / "words").read_text() == "--tasks=2 pimpleFoam -parallel\n"
    serial = OpenFoamModel(launcher=("no-such-launcher",), timeout=60)
    assert serial.run(starts[1], 2.25, tmp_path / "serial", COMM).state.time == 2.25


# On several ranks of ours, and by hand


def test_every_rank_gives_the_same_bits_or_raises_the_same_error(start, mpirun, tmp_path):
    needs_openfoam()
    n = len(start.pieces)
    alone = OpenFoamModel(processes=n, timeout=60).run(start, 2.5, tmp_path / "alone", COMM)
    broken = program(tmp_path / "broken", "echo '--> FOAM FATAL ERROR: no licence'; exit 1")
    mpirun(2, "tests/coupling/openfoam/parallel_foam_driver.py", start.case, n, broken, tmp_path, timeout=60)
    kept = np.load(f"{tmp_path}/kept.npz")
    assert kept["Time"].tolist() == 2 * [2.5]
    for name, field in alone.state.fields.items():
        np.testing.assert_array_equal(kept[name], field.values)
    told = {(tmp_path / f"error-{rank}").read_text() for rank in range(2)}
    assert len(told) == 1 and "no licence" in told.pop()


def test_steps_that_just_miss_a_time_cost_no_further_step(starts, tmp_path):
    """0.1 added eight times to 2 is 2.8000000000000007."""
    changed = write_restart(starts[1], tmp_path / "case", COMM)
    path = changed.case / "system/controlDict"
    path.write_text(path.read_text().replace("deltaT          0.25", "deltaT          0.1"))
    start = open_restart(changed.case)
    forecast = OpenFoamModel(timeout=60).run(start, 2.8, tmp_path / "run", COMM)
    assert forecast.state.time == pytest.approx(2.8, abs=1e-9)
    with pytest.raises(ModelError, match=r"which is at 2\.8 s already"):
        OpenFoamModel().run(forecast.restart, 2.8, tmp_path / "again", COMM)


def test_an_analysis_runs_on_by_hand_as_the_users_own_controls_would(starts, tmp_path):
    """Within the user's own end to that; beyond it for as long as the last forecast."""
    for end, times in (("3.5", ["2.5", "3", "3.5"]), ("2", ["2.5", "3"])):
        folder = tmp_path / end
        path = shutil.copytree(starts[1].case, folder / "case") / "system/controlDict"
        path.write_text(path.read_text() + f"endTime {end}; writeControl runTime; writeInterval 0.5;\n")
        forecast = OpenFoamModel(timeout=60).run(open_restart(folder / "case"), 2.5, folder / "run", COMM)
        analysis = write_restart(forecast.restart, folder / "analysis", COMM, {"T": forecast.state["T"]})
        subprocess.run(
            ["pimpleFoam"], cwd=analysis.case, env={**os.environ, "WM_PROJECT_DIR": HOME}, check=True,
            stdout=subprocess.DEVNULL,
        )  # fmt: skip
        found = sorted(path.name for path in analysis.case.iterdir() if path.name[0].isdigit())
        assert found == times
