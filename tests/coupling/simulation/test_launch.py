"""Starting programs: environment, time-outs, exit codes, waiting ranks."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mpi4py import MPI
from places import ROOT

from coupling.simulation.launch import ModelError, clean_environment, launch

COMM = MPI.COMM_SELF


def test_environment_is_free_of_the_job_that_we_are(monkeypatch, tmp_path):
    for name in ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_SIZE", "OMPI_MCA_orte_ess_num_procs"):
        monkeypatch.setenv(name, "1")
    wishes = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # Open MPI 4
    }
    for name, value in wishes.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PRTE_MCA_rmaps_default_mapping_policy", "ppr:1:node")
    monkeypatch.setenv("PATH", os.pathsep.join([os.path.join(sys.prefix, "bin"), "/usr/bin"]))
    environment = clean_environment(tmp_path, {"PYTHONPATH": "here"})
    assert not [n for n in environment if n.startswith(("PMI", "OMPI_COMM", "OMPI_MCA_orte"))]
    assert {name: environment.get(name) for name in wishes} == wishes
    assert environment["PRTE_MCA_rmaps_default_mapping_policy"] == ":oversubscribe"  # the same to Open MPI 5
    monkeypatch.delenv("OMPI_MCA_rmaps_base_oversubscribe")
    assert "PRTE_MCA_rmaps_default_mapping_policy" not in clean_environment(tmp_path)
    assert environment["PWD"] == str(tmp_path) and environment["PYTHONPATH"] == "here"
    assert environment["PATH"] == "/usr/bin"


def test_it_runs_in_the_folder_and_keeps_what_is_printed(tmp_path):
    code = "import os, sys; print(os.getcwd(), os.environ['PWD']); sys.exit(3)"
    ended = launch([sys.executable, "-c", code], tmp_path, COMM)
    assert (ended.code, ended.stopped) == (3, None)
    assert (tmp_path / "launch.log").read_text() == f"{tmp_path} {tmp_path}\n"


def test_time_out_kills_the_program_and_its_children(tmp_path):
    code = (
        "import subprocess, sys, time;"
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "open('child', 'w').write(str(p.pid)); time.sleep(60)"
    )
    began = time.monotonic()
    ended = launch([sys.executable, "-c", code], tmp_path, COMM, timeout=1.0)
    assert ended.stopped == "after 1 s, its time-out" and time.monotonic() - began < 10
    assert gone(int((tmp_path / "child").read_text()))


def test_one_that_writes_nothing_for_a_time_is_stopped(tmp_path):
    code = "import time\nfor k in range(4): print(k, flush=True); time.sleep(0.4)\ntime.sleep(60)"
    began = time.monotonic()
    ended = launch([sys.executable, "-c", code], tmp_path, COMM, silence=1.0)
    assert ended.stopped == "as it had written nothing for 1 s" and 2.0 < time.monotonic() - began < 15
    assert (tmp_path / "launch.log").read_text() == "0\n1\n2\n3\n"


def test_one_that_keeps_writing_is_not_stopped(tmp_path):
    code = "import time\nfor k in range(4): open('dump', 'a').write('x'); time.sleep(0.3)"
    ended = launch([sys.executable, "-c", code], tmp_path, COMM, silence=1.0)
    assert (ended.code, ended.stopped) == (0, None)


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGPIPE])
def test_a_signal_that_ended_it_is_reported(tmp_path, how):
    number = int(how)
    code = (
        f"import os, signal; {number} == 9 or signal.signal({number}, signal.SIG_DFL); os.kill(os.getpid(), {number})"
    )
    assert launch([sys.executable, "-c", code], tmp_path, COMM).code == -how


# Python that starts a child with a session of its own, in the way that daemons do, and writes its number to `child`
DAEMON = """
import os, subprocess, sys, time
from pathlib import Path
code = "import os, time; open('new', 'w').write(str(os.getpid())); os.rename('new', 'child'); time.sleep(600)"
if os.fork() == 0:
    os.setsid()
    os.execv(sys.executable, [sys.executable, "-c", {ignoring!r} + code])
while not Path("child").exists():
    time.sleep(0.01)
{then}
"""
IGNORING = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "


@pytest.mark.parametrize("ignoring", ["", IGNORING], ids=["ends when asked", "must be killed"])
@pytest.mark.parametrize("code", [0, 3])
def test_what_a_program_leaves_behind_ends_with_it(tmp_path, code, ignoring):
    ended = launch([sys.executable, "-c", DAEMON.format(ignoring=ignoring, then=f"sys.exit({code})")], tmp_path, COMM)
    assert (ended.code, ended.stopped) == (code, None) and ended.seconds < 15
    assert gone(int((tmp_path / "child").read_text()))


def test_time_out_kills_a_child_with_a_session_of_its_own(tmp_path):
    code = DAEMON.format(ignoring=IGNORING, then="time.sleep(600)")
    ended = launch([sys.executable, "-c", code], tmp_path, COMM, timeout=2.0)
    assert ended.stopped == "after 2 s, its time-out" and ended.seconds < 15
    assert gone(int((tmp_path / "child").read_text()))


def test_children_of_children_are_ended_however_many_there_are(tmp_path):
    code = """
import os, sys, time
for level in range(5):
    if os.fork() == 0:
        if level % 2:
            os.setsid()
        open(f"pid-{os.getpid()}", "w").close()
    elif level == 0:
        time.sleep(1.0)
        sys.exit(0)
time.sleep(600)
"""
    assert launch([sys.executable, "-c", code], tmp_path, COMM).code == 0
    started = [int(path.name.removeprefix("pid-")) for path in tmp_path.glob("pid-*")]
    assert len(started) == 16 and all(gone(pid) for pid in started)  # four levels of the first child


def test_the_program_ends_when_its_guard_is_killed(tmp_path):
    code = (
        "import os, signal, time; open('program', 'w').write(str(os.getpid()));"
        "os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"
    )
    assert launch([sys.executable, "-c", code], tmp_path, COMM).code == -signal.SIGKILL
    assert gone(int((tmp_path / "program").read_text()))


def test_a_program_that_removes_its_folder_has_failed(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    with pytest.raises(ModelError, match="removed the folder that it ran in, .*/run"):
        launch([sys.executable, "-c", "import os, shutil; shutil.rmtree(os.getcwd())"], folder, COMM, silence=60)


def test_it_ends_when_we_are_killed_and_so_does_all_it_started(tmp_path):
    code = f"""
from mpi4py import MPI
from coupling.simulation.launch import launch
words = "sleep 77 & echo $! > child; echo $$ > parent.new; mv parent.new parent; wait"
launch(["sh", "-c", words], {str(tmp_path)!r}, MPI.COMM_SELF)
"""
    environment = clean_environment(tmp_path, {"PYTHONPATH": str(ROOT)})
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as us:
        end = time.monotonic() + 30
        while not (tmp_path / "parent").is_file() and time.monotonic() < end:
            time.sleep(0.02)
        us.kill()
    for name in ("parent", "child"):
        assert gone(int((tmp_path / name).read_text())), name


def gone(pid):
    """True once a process has ended."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_a_program_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ModelError, match="cannot start 'no-such-program'.*on PATH"):
        launch(["no-such-program"], tmp_path, COMM)


def test_an_mpi_program_starts_from_inside_an_mpi_job_and_others_sleep(mpirun, tmp_path):
    done = mpirun(2, "tests/coupling/simulation/parallel_launch.py", tmp_path)
    assert "nested ranks [0, 1] of 2" in done.stdout
    waited = float(done.stdout.split("waiting rank used")[1].split()[0])
    assert waited < 0.3  # of two seconds: asleep, not spinning
