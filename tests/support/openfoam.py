"""Whether OpenFOAM is here, and its small case."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from places import ROOT

CASE = ROOT / "tests/data/openfoam/small"
HOME = "/usr/share/openfoam"


def needs_openfoam():
    """Skip a test where OpenFOAM is not installed; in CI that is a failure."""
    if shutil.which("pimpleFoam") and shutil.which("decomposePar"):
        return
    if os.environ.get("CI"):
        pytest.fail("OpenFOAM is not installed: in CI its tests must run (`apt-get install openfoam`)")
    pytest.skip("OpenFOAM is not installed (`apt-get install openfoam`)")


def small_case(folder: Path, processes: int = 1) -> Path:
    """A copy of the small case at its time 2, cut where it is for several processes."""
    shutil.copytree(CASE, folder, ignore=shutil.ignore_patterns("binary"))
    if processes > 1:
        environment = {"WM_PROJECT_DIR": HOME, **os.environ}
        with open(folder / "log.decomposePar", "w") as log:
            subprocess.run(["decomposePar"], cwd=folder, env=environment, check=True, stdout=log)
    return folder
