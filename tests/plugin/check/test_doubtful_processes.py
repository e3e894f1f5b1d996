"""Meshes that Fluidity itself does not run on several processes: the check and the cycle's start say so."""

import pytest
from cycle_case import settings, write_readings
from fluidity_case import cut_periodic_case, from_file, from_mesh, periodic_case, sides, write_options
from mpi4py import MPI

from coupling.embedded.decompose import decompose, partition
from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.halo import write_halo
from coupling.fluidity.msh import write_msh
from coupling.fluidity.simulation import FLUIDITY
from plugin.case.configuration import Case
from plugin.check.case.files import CaseFiles
from plugin.check.case.model import processes
from plugin.check.finding import OK, WARN
from plugin.window.refusals import checked_start

COMM = MPI.COMM_SELF


def cold_start(folder, name, n, extruded=False):
    """Options without fields, and a mesh that is whole (n = 1) or cut; the options."""
    folder.mkdir(parents=True)
    mesh = sides("triangles" if extruded else name)
    if n == 1:
        write_msh(mesh, folder / "mesh.msh")
    else:
        for piece, halo in decompose(mesh, partition(mesh.points, n)):
            write_msh(piece, folder / f"mesh_{halo.process}.msh")
            write_halo(halo, folder / f"mesh_{halo.process}.halo")
    meshes = from_file("CoordinateMesh")
    if extruded:
        meshes = from_file("FlatMesh") + from_mesh("CoordinateMesh", "FlatMesh", "<extrude/>")
    return write_options(folder / "case.flml", meshes, {"Air": ""}, mesh.shape.dimension)


def case_of(start, folder, n):
    """A cycle on a start."""
    readings = write_readings(folder / "readings.csv", [(8.0, 1.0, 1.0, 0.5, "Tracer", 1.0, 0.1)])
    words = {"model__start": str(start), "model__processes": n, "observations__file": str(readings)}
    return Case.model_validate(settings(folder, folder / "run", model__driver="fluidity", **words))


@pytest.mark.parametrize("name", ["quadrilaterals", "hexahedra"])
def test_quads_and_hexes_on_two_processes_are_told_with_the_way_out(name, tmp_path):
    start = cold_start(tmp_path / "case", name, 2)
    case, said = case_of(start, tmp_path, 2), []
    (found,) = processes(CaseFiles(case, tmp_path))
    assert found.level == WARN and found.text.startswith(f"{tmp_path}/case/mesh_0.msh: has {name}")
    assert "crashed (signal 11)" in found.text and "on 2" in found.text and "model.processes: 1" in found.advice
    checked_start(case, COMM, said.append)
    assert said == [f"{found.text}; {found.advice}"]  # the cycle begins all the same


@pytest.mark.parametrize(("name", "n"), [("quadrilaterals", 1), ("hexahedra", 1), ("triangles", 2), ("tetrahedra", 2)])
def test_nothing_is_said_of_what_fluidity_runs(name, n, tmp_path):
    start, said = cold_start(tmp_path / "case", name, n), []
    case = case_of(start, tmp_path, n)
    assert [found.level for found in processes(CaseFiles(case, tmp_path))] == [OK]
    checked_start(case, COMM, said.append)
    assert said == []


def test_a_periodic_mesh_on_two_processes_is_told_with_the_way_out(tmp_path):
    options = cut_periodic_case(tmp_path / "case")
    (found,) = processes(CaseFiles(case_of(options, tmp_path, 2), tmp_path))
    assert found.level == WARN and f"{options}: PeriodicMesh is made periodic when the model starts" in found.text
    assert "periodise and flredecomp" in found.text and "model.processes: 1" in found.advice
    whole = open_restart(periodic_case(tmp_path / "whole"))
    assert FLUIDITY.doubtful_processes(whole, 1) is None


def test_an_extruded_mesh_on_two_processes_is_told_with_the_way_out(tmp_path):
    start = cold_start(tmp_path / "case", "tetrahedra", 2, extruded=True)
    (found,) = processes(CaseFiles(case_of(start, tmp_path, 2), tmp_path))
    assert found.level == WARN and f"{start}: CoordinateMesh is extruded" in found.text
    assert "Please reconfigure with Zoltan" in found.text and "model.processes: 1" in found.advice
    assert FLUIDITY.doubtful_processes(open_restart(start), 1) is None
