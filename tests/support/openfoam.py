"""Whether OpenFOAM is here, and its small case."""

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest
from places import ROOT

CASE = ROOT / "tests/data/openfoam/small"
HOME = "/usr/share/openfoam"


def needs_openfoam():
    """Skip a test where OpenFOAM is not installed, which is a failure in CI, or where its package is broken."""
    if shutil.which("pimpleFoam") and shutil.which("decomposePar"):
        if _cannot_digest():
            pytest.skip("this OpenFOAM fails on any case with function objects, as Debian 13's package does")
        return
    if os.environ.get("CI"):
        pytest.fail("OpenFOAM is not installed: in CI its tests must run (`apt-get install openfoam`)")
    pytest.skip("OpenFOAM is not installed (`apt-get install openfoam`)")


@cache
def _cannot_digest() -> bool:
    """Whether OpenFOAM stops at the first dictionary that it makes a checksum of: built with GCC 14, v1912 does so."""
    with tempfile.TemporaryDirectory() as folder:
        case = small_case(Path(folder) / "case")
        environment = {"WM_PROJECT_DIR": HOME, **os.environ}
        ended = subprocess.run(["pimpleFoam"], cwd=case, env=environment, capture_output=True, text=True)
    return 'error in IOstream "sha1"' in ended.stderr


def small_case(folder: Path, processes: int = 1) -> Path:
    """A copy of the small case at its time 2, cut where it is for several processes."""
    shutil.copytree(CASE, folder, ignore=shutil.ignore_patterns("binary"))
    if processes > 1:
        environment = {"WM_PROJECT_DIR": HOME, **os.environ}
        with open(folder / "log.decomposePar", "w") as log:
            subprocess.run(["decomposePar"], cwd=folder, env=environment, check=True, stdout=log)
    return folder
