"""What the embedded model's tests share: its small case and its runs."""

import shutil

import pytest
from embedded_case import DATA, fresh, model
from mpi4py import MPI

from coupling.embedded.fem import make_space
from coupling.fluidity.halo import serial_halo
from coupling.fluidity.msh import read_msh


@pytest.fixture
def case(tmp_path):
    """Folder with the small case: case.flml and mesh.msh."""
    return fresh(tmp_path / "case")


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """runs(n): folder of the small case after an undisturbed run on n ranks; not to be changed."""
    done = {}

    def run(n):
        if n not in done:
            folder = fresh(tmp_path_factory.mktemp("run") / f"on_{n}", n)
            result = model(folder, "case.flml", n)
            assert result.returncode == 0, result.stderr
            done[n] = folder
        return done[n]

    return run


@pytest.fixture
def checkpoint(runs, tmp_path):
    """checkpoint(n): a folder with the files of that run's checkpoint 2, to restart from case_2_checkpoint.flml."""

    def copy(n):
        folder = tmp_path / f"restart_{n}"
        shutil.copytree(runs(n), folder, ignore=lambda _, names: [f for f in names if "2_checkpoint" not in f])
        return folder

    return copy


@pytest.fixture(scope="session")
def street():
    """(GmshMesh, Space) of the small case."""
    mesh = read_msh(DATA / "mesh.msh")
    return mesh, make_space(mesh.points, mesh.cells, serial_halo(len(mesh.points)), MPI.COMM_SELF)
