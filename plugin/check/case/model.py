"""The model's program, and the launcher that starts it from within our own job."""

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from coupling.common.files import FileError
from coupling.common.text import end_of_file, last_lines
from coupling.simulation.endings import launcher_advice
from coupling.simulation.launch import ModelError, clean_environment, launch, launcher_words, package_environment
from plugin.case.configuration import CycleCase, ModelSection
from plugin.check.case.files import ALONE, CaseFiles
from plugin.check.finding import FAIL, OK, Finding, Unavailable
from plugin.run.drivers import forecast_model, simulation_of

_LIMIT = 60.0  # s
_LOG = "launcher.log"
# a file instead of output, of which launchers may lose lines under load
_PROBE = """
import os, socket
from mpi4py import MPI
with open(f"probe-{socket.gethostname()}-{os.getpid()}", "w") as file:
    file.write(str(MPI.COMM_WORLD.size))
"""


def program(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the model's program: whether it exists, and its version."""
    case = files.case
    if case.model.driver == "embedded":
        yield Finding(OK, "model", "the embedded one of this package")
        return
    if case.model.learned is not None:
        forecast_model(case.model)
        yield Finding(OK, "model", f"learned, {case.model.learned.dynamics}")
        return
    if ":" in case.model.driver:
        forecast_model(case.model)
        yield Finding(OK, "model", f"your own driver, {case.model.driver}")
        return
    words = case.model.program or list(files.simulation.program(files.restart))
    path = clean_environment(os.getcwd(), case.model.environment).get("PATH", os.defpath)
    executable = shutil.which(words[0], path=path)
    if executable is None:
        advice = "install it, add its folder to PATH, or name it in model.program; our own .venv is not searched"
        yield Finding(FAIL, "model", f"{words[0]!r} is not on the PATH that the model gets", advice)
        return
    yield Finding(OK, "model", f"{executable}{_version(words, case.model)}")


def _version(words: Sequence[str], settings: ModelSection) -> str:
    """The first lines that a program prints of its version, if any."""
    simulation = simulation_of(settings)
    if not (asking := simulation.version_words):
        return ""
    with tempfile.TemporaryDirectory() as folder:
        try:
            launch([*words, *asking], folder, ALONE, _LIMIT, simulation.environment(settings.environment))
        except ModelError as error:
            return f"; {error}"
        lines = [line.strip() for line in last_lines(Path(folder) / "launch.log", 100) if line.strip()]
        lines = [line for line in lines if re.match(simulation.version_lines, line)]
    return f"; {', '.join(lines[:2])}" if lines else ""


def launcher(case: CycleCase, scratch: Path) -> Iterator[Finding]:
    """Findings about the launcher: it starts a small MPI program, in a folder, as it will the model."""
    n, name = case.model.processes, "launcher"
    if n == 1:
        words, text = [], "not needed: the model has one process"
    else:
        words = launcher_words(case.model.launcher, n)
        text = f"{' '.join(words)} starts {n} processes that find each other"
    environment = {**package_environment(), **case.model.environment}
    ended = launch([*words, sys.executable, "-c", _PROBE], scratch, ALONE, _LIMIT, environment, _LOG)
    last = " | ".join(last_lines(scratch / _LOG, 3))
    advice = launcher_advice(end_of_file(scratch / _LOG)).replace("\n  ", "\n").strip() or _ADVICE
    sizes = [path.read_text() for path in scratch.glob("probe-*")]
    if ended.stopped:
        yield Finding(FAIL, name, f"{' '.join(words)}: stopped {ended.stopped}; {last}", advice)
    elif ended.code != 0:
        yield Finding(FAIL, name, f"{' '.join(words)}: exit code {ended.code}; {last}", advice)
    elif sizes != [str(n)] * n:
        text = f"{' '.join(words)}: expected {n} processes of one job, found jobs of {', '.join(sizes) or 'none'}"
        yield Finding(FAIL, name, text, "use the launcher of the MPI that mpi4py was built on")
    else:
        yield Finding(OK, name, f"{text}; {ended.seconds:.1f} s")


_ADVICE = (
    'try model.launcher: [mpirun, --oversubscribe, -n, "{n}"], under Slurm [srun, --mpi=pmix, --overlap, -n, "{n}"];\n'
    "as root export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
)


def processes(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the number of processes that the model can start on."""
    expected = files.case.model.processes
    if problem := files.simulation.wrong_processes(files.restart, expected):
        yield Finding(FAIL, "pieces of the mesh", problem)
    elif doubt := files.simulation.doubtful_processes(files.restart, expected):
        yield Finding(doubt.level, "pieces of the mesh", doubt.text, doubt.advice)
    else:
        yield Finding(OK, "pieces of the mesh", f"{expected}, one for each process of the model")


def nodes(files: CaseFiles) -> Iterator[Finding]:
    """Findings about the files of the model's start: whether they agree with each other."""
    restart, simulation = files.restart, files.simulation
    try:
        simulation.wrong_processes(restart, files.case.model.processes)
    except FileError:
        raise Unavailable("the pieces do not agree, see above") from None
    if restart.fields:
        simulation.check_start(restart, ALONE)
        yield Finding(OK, "nodes", "the fields' files and the mesh files belong together")
