"""The model's program, and the launcher that is to start it from within our own job."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from coupling.fluidity.checkpoint import n_processes
from coupling.simulation.launch import ModelError, clean_environment, launch, package_environment
from plugin.check.case.files import ALONE
from plugin.check.finding import FAIL, OK, Finding
from plugin.run.drivers import forecast_model

_LIMIT = 60.0  # s
_LOG = "launcher.log"
# a file and not a line of output, of which launchers may lose some under load
_PROBE = """
import os, socket
from mpi4py import MPI
with open(f"probe-{socket.gethostname()}-{os.getpid()}", "w") as file:
    file.write(str(MPI.COMM_WORLD.size))
"""


def program(case):
    """Findings about the model's program: whether it is there, and its version."""
    if case.model.driver == "embedded":
        yield Finding(OK, "model", "the embedded one, which comes with this package")
        return
    if ":" in case.model.driver:
        forecast_model(case.model)
        yield Finding(OK, "model", f"a driver of your own, {case.model.driver}")
        return
    words = case.model.program
    path = clean_environment(os.getcwd(), case.model.environment).get("PATH", os.defpath)
    found = shutil.which(words[0], path=path)
    if found is None:
        advice = (
            "install it, add its folder to PATH, or name it in model.program; a folder of our own .venv is not searched"
        )
        yield Finding(FAIL, "model", f"{words[0]!r} is not on the PATH that the model gets", advice)
        return
    yield Finding(OK, "model", f"{found}{_version(words, case.model.environment)}")


def _version(words, environment):
    """What `fluidity -V` says in its first lines; nothing where it says nothing."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            launch([*words, "-V"], folder, ALONE, _LIMIT, environment)
        except ModelError as error:
            return f"; {error}"
        said = (Path(folder) / "launch.log").read_text(errors="replace")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return f"; {', '.join(lines[:2])}" if lines else ""


def launcher(case, scratch):
    """Findings about the launcher: a small MPI program is started through it, in a folder, as the model will be."""
    n, name = case.model.processes, "launcher"
    if n == 1:
        words, told = [], "not needed, the model has one process"
    else:
        words = [word.replace("{n}", str(n)) for word in case.model.launcher]
        told = f"{' '.join(words)} starts {n} processes that find each other"
    environment = {**package_environment(), **case.model.environment}
    ended = launch([*words, sys.executable, "-c", _PROBE], scratch, ALONE, _LIMIT, environment, _LOG)
    said = (scratch / _LOG).read_text(errors="replace")
    last = " | ".join(said.strip().splitlines()[-3:])
    seen = [path.read_text() for path in scratch.glob("probe-*")]
    if ended.stopped:
        yield Finding(FAIL, name, f"{' '.join(words)}: stopped {ended.stopped}; {last}", _ADVICE)
    elif ended.code != 0:
        yield Finding(FAIL, name, f"{' '.join(words)}: exit code {ended.code}; {last}", _ADVICE)
    elif seen != [str(n)] * n:
        told = f"{' '.join(words)}: expected {n} processes of one job, found jobs of {', '.join(seen) or 'none'}"
        yield Finding(FAIL, name, told, "take the launcher of the MPI that mpi4py was built on")
    else:
        yield Finding(OK, name, f"{told}; {ended.seconds:.1f} s")


_ADVICE = (
    'try model.launcher: [mpirun, --oversubscribe, -n, "{n}"], under Slurm [srun, --exact, --overlap, -n, "{n}"];\n'
    "as root export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"
)


def processes(subject):
    """Findings about the number of pieces the model's mesh is cut into."""
    found, asked = n_processes(subject.restart), subject.case.model.processes
    if found != asked:
        advice = f"cut the mesh for {asked} (fldecomp, flredecomp, coupling.embedded.decompose), or set model.processes"
        yield Finding(FAIL, "pieces of the mesh", f"{found}, and the model is to run on {asked} processes", advice)
    else:
        yield Finding(OK, "pieces of the mesh", f"{found}, one for each process of the model")
