"""What all tests share."""

import os
import subprocess
import sys

import pytest
from mpi_words import mpirun_words
from places import DATA, ROOT

# A process in which MPI has started passes variables on that end every mpirun within it. pytest may be one when it
# starts a worker of pytest-xdist, because the conftests of the folders that it was asked for import MPI.
_STARTED = ("PMIX_", "ORTE_", "OMPI_APP_", "OMPI_MCA_ess", "OMPI_MCA_orte", "OMPI_MCA_pmix")
if "PYTEST_XDIST_WORKER" in os.environ:
    for name in [name for name in os.environ if name.startswith(_STARTED)]:
        del os.environ[name]


@pytest.fixture
def fluidity_data():
    """Folder of the short Fluidity runs: serial, parallel (two ranks), adaptive."""
    return DATA


@pytest.fixture
def mpirun():
    """mpirun(n, script or "-m", module, …): run Python on n ranks; a failure on one ends them all and is shown."""

    def run(n, *words, check=True, timeout=300, cwd=ROOT, env=None):
        command = [*mpirun_words(n), sys.executable, "-m", "mpi4py", *map(str, words)]
        path = f"{ROOT}{os.pathsep}{ROOT / 'tests/support'}"
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, **(env or {})}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run
