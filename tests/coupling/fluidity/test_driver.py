"""The forecast model's interface: the contract holds for every driver, in serial and on two ranks; and how it fails.

`fluidity` here is a program of that name on PATH that runs the embedded model; the last test takes the
real one where there is one.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from comparison import assert_same, at_corners
from lxml import etree
from mpi4py import MPI
from places import ROOT

from coupling.contract import PROMISES, make_trial
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.driver import FluidityModel, embedded_model
from coupling.simulation.launch import ModelError, clean_environment
from coupling.vtk.vtu import dump_time, read_state

COMM = MPI.COMM_SELF
MODELS = {"embedded": embedded_model, "fluidity": FluidityModel}
FLUIDITY = shutil.which("fluidity")
EMBEDDED = f"env PYTHONPATH={ROOT} OMP_NUM_THREADS=1 {sys.executable} -m coupling.embedded"


def program(path, text):
    """A shell script that can be started."""
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture(scope="module", autouse=True)
def stand_in(tmp_path_factory):
    """The program `fluidity` on PATH."""
    path = program(tmp_path_factory.mktemp("bin") / "fluidity", f'exec {EMBEDDED} "$@"')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(path.parent), prepend=os.pathsep)
        yield path


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """starts[n]: the options file of the small case, cut for n processes; not to be changed."""
    options = {}
    for n in (1, 2):
        folder = tmp_path_factory.mktemp("case") / f"for_{n}"
        shutil.copytree(ROOT / "tests/data/embedded", folder)
        options[n] = folder / "case.flml"
    words = [sys.executable, "-m", "coupling.embedded.decompose", "mesh.msh", "2"]
    subprocess.run(words, cwd=folder, env=clean_environment(folder, {"PYTHONPATH": str(ROOT)}), check=True)
    (folder / "mesh.msh").unlink()
    return options


class Driver:
    """One parameter of the suite: a driver on so many processes, its start, its trial and its forecast until 0.5 s."""

    def __init__(self, name, processes, start, folder):
        self.name, self.processes, self.start = name, processes, open_restart(start)
        self.model = MODELS[name](processes=processes, timeout=60)
        self.trial = make_trial(self.model, self.start, (0.5, 1.0), folder, COMM, field="Tracer")
        self.first = self.trial.first


@pytest.fixture(
    scope="module",
    params=[("embedded", 1), ("embedded", 2), ("fluidity", 1), ("fluidity", 2)],
    ids=lambda p: f"{p[0]} on {p[1]}",
)
def driver(request, starts, tmp_path_factory):
    name, processes = request.param
    return Driver(name, processes, starts[processes], tmp_path_factory.mktemp("trial"))


def changed(options, folder, edit):
    """A start like another, its options changed by edit(tree)."""
    shutil.copytree(options.parent, folder)
    tree = flml.read_options(options)
    edit(tree)
    flml.write_options(tree, folder / options.name)
    return open_restart(folder / options.name)


def dump(forecast_folder, number, name="case"):
    """State of a dump of one or several pieces."""
    (path,) = [*forecast_folder.glob(f"{name}_{number}.vtu"), *forecast_folder.glob(f"{name}_{number}.pvtu")]
    return read_state(path, COMM)


def refused(tree):
    """An option the model does not know."""
    etree.SubElement(tree.getroot(), "no_such_option")


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


# What holds for every driver


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_the_contract(promise, driver):
    promise(driver.trial)


def test_what_a_forecast_leaves(driver):
    first = driver.first
    assert first.state.time == 0.5 and set(first.state.fields) == {"Tracer", "Velocity", "Smoke"}
    assert np.ptp(first.state["Tracer"].values) > 0  # the source has begun to act
    assert first.restart.options == first.folder / "case_1_checkpoint.flml" and first.restart.name == "case_checkpoint"
    assert not (first.folder / "case_2.vtu").exists() and not (first.folder / "case_2.pvtu").exists()


def test_what_a_forecast_leaves_has_the_users_own_options(driver):
    own, left = (flml.read_options(options) for options in (driver.start.options, driver.first.restart.options))
    for path in ("timestepping/finish_time", "io/checkpointing", "io/dump_period", "io/disable_dump_at_end"):
        before, after = (tree.getroot().find(path) for tree in (own, left))
        texts = [None if e is None else [(x.tag, (x.text or "").strip()) for x in e.iter()] for e in (before, after)]
        assert texts[0] == texts[1], path
    assert flml.option(left, "timestepping/finish_time", float) == 8.0


def test_logs_are_kept(driver):
    folder = driver.first.folder
    for rank in range(driver.processes):
        assert "Finished at 0.5 s" in (folder / f"fluidity.log-{rank}").read_text()
        assert (folder / f"fluidity.err-{rank}").is_file()
    assert (folder / "launch.log").is_file()
    assert not (folder / f"fluidity.log-{driver.processes}").exists()


def test_from_inside_an_mpi_job_it_gives_the_same_bits(driver, mpirun, tmp_path):
    words = [driver.name, driver.processes, driver.start.options, 0.5, tmp_path / "run", tmp_path / "kept.npz"]
    mpirun(2, "tests/coupling/fluidity/parallel_driver.py", *words, timeout=60)
    results = np.load(tmp_path / "kept.npz")
    assert results["Time"].tolist() == [0.5, 0.5]
    for name, field in driver.first.state.fields.items():
        np.testing.assert_array_equal(results[name], field.values)
    assert_same(dump(tmp_path / "run", 1), driver.first.state, driver.first.state.fields)


def test_a_failure_is_told_with_code_log_and_its_last_lines(driver, tmp_path):
    start = changed(driver.start.options, tmp_path / "case", refused)
    with pytest.raises(ModelError) as error:
        driver.model.run(start, 0.5, tmp_path / "run", COMM)
    message = str(error.value)
    assert "exit code 16" in message and "no_such_option" in message
    assert str(tmp_path / "run/fluidity.err-") in message
    assert "no_such_option" in (tmp_path / "run/fluidity.err-0").read_text()


def test_values_that_are_not_finite_are_noticed_after_a_good_end(driver, tmp_path):
    def poison(tree):
        phase = tree.getroot().find("material_phase")
        for solver in phase.iterfind(".//solver"):
            solver.remove(solver.find("never_ignore_solver_failures"))
            etree.SubElement(solver, "ignore_all_solver_failures")
        phase.find("scalar_field[@name='Tracer']/prognostic/initial_condition/constant/real_value").text = "nan"

    start = changed(driver.start.options, tmp_path / "case", poison)
    with pytest.raises(ModelError, match="ended well but [1-9][0-9]* values of Tracer are not finite"):
        driver.model.run(start, 0.5, tmp_path / "run", COMM)
    assert np.isnan(dump(tmp_path / "run", 1)["Tracer"].values).any()


# What is in the driver alone: one or two kinds of model are enough


def test_every_rank_raises_the_models_error(starts, mpirun, tmp_path):
    start = changed(starts[2], tmp_path / "case", refused)
    words = ["fluidity", 2, start.options, 0.5, tmp_path / "run", tmp_path / "kept"]
    mpirun(3, "tests/coupling/fluidity/parallel_driver.py", *words, timeout=60)
    message = {(tmp_path / f"kept.error-{rank}").read_text() for rank in range(3)}
    assert len(message) == 1 and "exit code 16" in message.pop()


def test_a_time_that_steps_just_miss_costs_no_further_step(starts, tmp_path):
    """0.1 added eight times is 0.7999999999999999."""
    start = changed(starts[1], tmp_path / "case", lambda tree: flml.set_option(tree, "timestepping/timestep", 0.1))
    forecast = embedded_model(timeout=60).run(start, 0.8, tmp_path / "run", COMM)
    assert forecast.state.time == pytest.approx(0.8, abs=1e-12) and forecast.state.time < 0.8
    with pytest.raises(ModelError, match="which is at 0.8 s already"):
        embedded_model().run(forecast.restart, 0.8, tmp_path / "again", COMM)


def test_a_step_may_pass_the_time(starts, tmp_path):
    forecast = embedded_model(timeout=60).run(open_restart(starts[1]), 0.7, tmp_path / "run", COMM)
    assert forecast.state.time == 1.0


@pytest.mark.parametrize("finish", ["0.5", "1.5"])
def test_another_time_than_the_asked_one_is_a_failure(finish, starts, tmp_path):
    other = f"<finish_time><real_value rank='0'>{finish}</real_value></finish_time>"
    script = program(tmp_path / "model", f'sed -i "s#<finish_time>.*</finish_time>#{other}#" $2; exec {EMBEDDED} "$@"')
    with pytest.raises(ModelError, match=f"stopped at {finish} s, 1 s was asked for"):
        FluidityModel((str(script),), timeout=60).run(open_restart(starts[1]), 1.0, tmp_path / "run", COMM)


def by_hand(options, folder):
    """Times of the dumps of the embedded model, started without our driver."""
    environment = clean_environment(folder, {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})
    subprocess.run([sys.executable, "-m", "coupling.embedded", options], cwd=folder, env=environment, check=True)
    dumps = {int(path.stem.split("_")[-1]): dump_time(path) for path in folder.glob("case_checkpoint_*[0-9].vtu")}
    return [dumps[k] for k in sorted(dumps)]


def test_an_analysis_runs_on_by_hand_as_the_users_own_options_would(starts, tmp_path):
    def own(tree):
        flml.set_option(tree, "timestepping/finish_time", 3.0)
        flml.set_option(tree, "io/dump_period/constant", 0.5)
        flml.set_option(tree, "io/checkpointing/checkpoint_period_in_dumps", 2)
        flml.remove_option(tree, "io/checkpointing/checkpoint_at_end")
        flml.set_flag(tree, "io/checkpointing/checkpoint_at_start")
        flml.set_flag(tree, "io/disable_dump_at_end")

    first = embedded_model(timeout=60).run(changed(starts[1], tmp_path / "case", own), 0.5, tmp_path / "1", COMM)
    second = embedded_model(timeout=60).run(first.restart, 1.0, tmp_path / "2", COMM)
    analysis = write_restart(second.restart, tmp_path / "analysis", COMM, manifest=True)
    assert by_hand("restart.flml", analysis.folder) == pytest.approx([1.0, 1.5, 2.0, 2.5])  # none at the end
    checkpoints = sorted(path.name for path in analysis.folder.glob("*_checkpoint.flml"))
    assert checkpoints == [f"case_checkpoint_{k}_checkpoint.flml" for k in (0, 2)]


def test_an_analysis_beyond_the_users_own_end_runs_on_for_another_forecast(starts, tmp_path):
    """The own end lies before, or is the beginning, as in a checkpoint made at the end of a run."""

    def own(tree):
        flml.set_option(tree, "timestepping/finish_time", 0.0)
        flml.remove_option(tree, "io/checkpointing")

    start = changed(starts[1], tmp_path / "case", own)
    forecast = embedded_model(timeout=60).run(start, 1.0, tmp_path / "run", COMM)
    analysis = write_restart(forecast.restart, tmp_path / "analysis", COMM)
    assert by_hand("restart.flml", analysis.folder) == [1.0, 2.0]
    assert list(analysis.folder.glob("*_checkpoint.flml")) == []


def failing(script, starts, folder, processes=1, **settings):
    """The message of a forecast that runs a shell script as its model."""
    path = program(folder / "model", script)
    with pytest.raises(ModelError) as error:
        model = FluidityModel((str(path),), processes, **{"timeout": 30, **settings})
        model.run(open_restart(starts[processes]), 0.5, folder / "run", COMM)
    return str(error.value)


def test_an_error_shows_the_last_fifteen_lines(starts, tmp_path):
    message = failing("seq -f 'line %g' 40 > fluidity.err-0; echo unimportant; exit 7", starts, tmp_path)
    assert "ended with exit code 7" in message and f"end of {tmp_path}/run/fluidity.err-0" in message
    assert [line.strip() for line in message.splitlines()[2:]] == [f"line {k}" for k in range(26, 41)]


def test_the_rank_that_tells_an_error_is_shown(starts, tmp_path):
    script = "echo WARNING: slow > fluidity.err-0; echo '*** ERROR *** broken' > fluidity.err-1; exit 16"
    message = failing(script, starts, tmp_path)
    assert "fluidity.err-1" in message and "broken" in message and "slow" not in message


def test_a_good_end_without_a_dump_is_a_failure(starts, tmp_path):
    message = failing("echo nothing to do", starts, tmp_path)
    assert "wrote no dump case_*.vtu or .pvtu" in message and "launch.log" in message and "nothing to do" in message


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("rm case_1_checkpoint.flml", "wrote no case_1_checkpoint.flml beside case_1.vtu"),
        ("rm case_1.vtu", "wrote no case_0_checkpoint.flml beside case_0.vtu"),
        ("rm case_SmokeMesh_1_checkpoint.vtu", "names case_SmokeMesh_1_checkpoint.vtu, which is not in"),
        ("truncate -s 2000 case_1.vtu", "cannot be used: .*case_1.vtu"),
        ("truncate -s 2000 case_VelocityMesh_1_checkpoint.vtu", "cannot be used: .*case_VelocityMesh_1_checkpoint.vtu"),
    ],
)
def test_files_that_are_missing_or_broken_are_the_models_failure(damage, message, starts, driver_files, tmp_path):
    script = program(tmp_path / "model", f"cp {driver_files}/case_* .; {damage}")
    with pytest.raises(ModelError, match=message):
        FluidityModel((str(script),), timeout=30).run(open_restart(starts[1]), 0.5, tmp_path / "run", COMM)


@pytest.fixture(scope="module")
def driver_files(starts, tmp_path_factory):
    """Folder of a good serial forecast until 0.5 s."""
    folder = tmp_path_factory.mktemp("good") / "run"
    return embedded_model(timeout=60).run(open_restart(starts[1]), 0.5, folder, COMM).folder


def test_a_signal_is_told(starts, tmp_path):
    assert "ended with signal 11 (SIGSEGV)" in failing("kill -SEGV $$", starts, tmp_path)


def test_a_signal_under_a_launcher_is_told(starts, tmp_path):
    message = failing("kill -KILL $$", starts, tmp_path, 2)
    assert "exit code 137, as after signal 9 (SIGKILL)" in message and "launch.log" in message


USUAL = """Traceback (most recent call last):
  File "<string>", line 1, in <module>
ModuleNotFoundError: No module named 'fluidity'
"""


@pytest.mark.parametrize("usual", [USUAL, "ImportError: No module named fluidity.state_types\n", USUAL + USUAL])
def test_what_every_run_writes_does_not_hide_what_matters(usual, starts, tmp_path):
    script = f"cat > fluidity.err-0 <<'E'\n{usual}E\n{{}}\n"
    killed = script.format("echo 'solving for Velocity' > fluidity.log-0; kill -KILL $$")
    (tmp_path / "killed").mkdir()
    message = failing(killed, starts, tmp_path / "killed")
    assert "ended with signal 9 (SIGKILL)" in message and "solving for Velocity" in message
    assert "No module named" not in message
    (tmp_path / "other").mkdir()
    other = script.format("echo \"ModuleNotFoundError: No module named 'mine'\" >> fluidity.err-0; exit 1")
    assert failing(other, starts, tmp_path / "other").endswith("    ModuleNotFoundError: No module named 'mine'")


STUBBORN = "trap '' TERM; sleep 77 & echo $! > pid-$!; echo $BASHPID > pid-$BASHPID; wait"


@pytest.mark.parametrize(
    ("script", "processes", "launcher"),
    [
        (f"({STUBBORN}) & wait", 1, ()),  # what was started ends before its child, which does not hear
        (STUBBORN, 2, ("mpirun", "-n", "{n}")),
        # a launcher that ends, and leaves what it started in a process group of its own
        (STUBBORN, 2, ("bash", "-c", 'set -m; "$@" & wait', "launcher")),
    ],
    ids=["child", "mpirun", "other group"],
)
def test_a_time_out_leaves_no_process(script, processes, launcher, starts, tmp_path):
    message = failing(script, starts, tmp_path, processes, launcher=launcher, timeout=1.0)
    assert "was stopped after" in message and "its time-out" in message
    pids = [int(path.read_text()) for path in (tmp_path / "run").glob("pid-*")]
    assert len(pids) == (4 if "mpirun" in launcher else 2)
    assert [pid for pid in pids if not gone(pid)] == []


def test_the_model_ends_with_us(starts, tmp_path):
    """Schedulers, and mpirun after Ctrl-C, end us by SIGTERM."""
    model = program(tmp_path / "model", "echo $$ > pid.new; mv pid.new pid; exec sleep 77")
    code = f"""
from mpi4py import MPI
from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import FluidityModel
FluidityModel(({str(model)!r},)).run(open_restart({str(starts[1])!r}), 0.5, "run", MPI.COMM_SELF)
"""
    environment = clean_environment(tmp_path, {"PYTHONPATH": str(ROOT)})
    with subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, env=environment) as us:
        end = time.monotonic() + 30
        while not (tmp_path / "run/pid").is_file() and us.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        us.terminate()
        assert us.wait(30) == -signal.SIGTERM
    assert gone(int((tmp_path / "run/pid").read_text()))


def test_a_program_that_is_not_there_is_named(starts, tmp_path):
    for n in (1, 2):
        with pytest.raises(ModelError, match="no-such-fluidity"):
            model = FluidityModel(("no-such-fluidity",), n, timeout=30)
            model.run(open_restart(starts[n]), 0.5, tmp_path / f"on_{n}", COMM)


def test_the_launcher_gets_the_number_and_starts_parallel_models_only(starts, tmp_path):
    script = program(tmp_path / "launcher", f'echo "$@" > {tmp_path}/words; shift; exec mpirun -n 2 "$@"')
    model = FluidityModel(processes=2, launcher=(str(script), "--tasks={n}"), timeout=60)
    assert model.run(open_restart(starts[2]), 0.5, tmp_path / "run", COMM).state.time == 0.5
    assert (tmp_path / "words").read_text() == "--tasks=2 fluidity -l restart.flml\n"
    serial = FluidityModel(launcher=("no-such-launcher",), timeout=60)
    assert serial.run(open_restart(starts[1]), 0.5, tmp_path / "serial", COMM).state.time == 0.5


def test_more_processes_than_cores_can_be_allowed(mpirun, tmp_path):
    """As the Makefile does; our own job's variables of that kind are taken away."""
    script = program(tmp_path / "model", "env > env-$OMPI_COMM_WORLD_RANK")
    n = os.cpu_count() + 1
    environment = {
        "OMPI_MCA_rmaps_base_oversubscribe": "1",  # Open MPI 4
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",  # Open MPI 5
    }
    code = f"""
from mpi4py import MPI
from coupling.simulation.launch import launch
ended = launch(["mpirun", "-n", "{n}", {str(script)!r}], {str(tmp_path)!r}, MPI.COMM_WORLD, 30)
assert ended.code == 0, open({str(tmp_path / "launch.log")!r}).read()
"""
    (tmp_path / "job.py").write_text(code)
    mpirun(2, tmp_path / "job.py", env=environment, timeout=60)
    assert len(list(tmp_path.glob("env-*"))) == n


def test_a_start_that_does_not_fit_is_refused_before_anything_runs(starts, tmp_path):
    with pytest.raises(ModelError, match="made for 2 processes, the model is to run on 1"):
        embedded_model().run(open_restart(starts[2]), 0.5, tmp_path / "run", COMM)
    with pytest.raises(ModelError, match="until 0 s .* which is at 0 s already"):
        embedded_model().run(open_restart(starts[1]), 0.0, tmp_path / "run", COMM)
    assert list(tmp_path.iterdir()) == []


# The real program


@pytest.mark.parametrize("n", [1, 2])
def test_fluidity_goes_on_from_an_edited_restart(n, starts, fluidity_data, tmp_path):
    """The real one if it is on PATH, on checkpoints it wrote; else the stand-in on the small case."""
    if FLUIDITY:
        start = open_restart(fluidity_data / ("serial" if n == 1 else "parallel") / "mini_3_checkpoint.flml")
        model = FluidityModel((FLUIDITY,), n, timeout=120)
    else:
        model = FluidityModel(processes=n, timeout=120)
        start = model.run(open_restart(starts[n]), 0.5, tmp_path / "first", COMM).restart
    until = start.time + start.timestep
    tracer = read_fields(start, COMM, ["Tracer"])["Tracer"]
    x = tracer.mesh.points[:, 0]  # not at the inflow, where the model puts its boundary values into dump 0
    tracer = tracer.replaced(tracer.values + np.where(x > 0.2 * x.max(), 0.5 * np.exp(-((x / x.max()) ** 2)), 0.0))
    restart = write_restart(start, tmp_path / "analysis", COMM, {"Tracer": tracer})
    forecast = model.run(restart, until, tmp_path / "run", COMM)
    name, number = start.name.removesuffix("_checkpoint"), forecast.restart.options.name.split("_")[-2]
    np.testing.assert_array_equal(at_corners(dump(forecast.folder, 0, name)["Tracer"]), at_corners(tracer))
    assert forecast.state.time == until and forecast.restart.name == start.name
    assert_same(forecast.state, dump(forecast.folder, number, name), set(start.fields) & {"Tracer", "Velocity"})
