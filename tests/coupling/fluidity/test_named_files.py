"""Files that the options name: in folders below, of several pieces, and those that are not fields or meshes."""

import filecmp
import shutil
import subprocess
import sys

import numpy as np
import pytest
from lxml import etree
from mpi4py import MPI
from places import ROOT

from coupling.common.files import FileError
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import (
    mesh_pieces,
    n_processes,
    open_restart,
    read_fields,
    restart_files,
    write_restart,
    wrong_processes,
)
from coupling.simulation.launch import clean_environment

COMM = MPI.COMM_SELF
OPTIONS = "tiny_3_checkpoint.flml"


@pytest.fixture
def case(fluidity_data, tmp_path):
    """Folder of a small serial checkpoint, to be changed."""
    shutil.copytree(fluidity_data / "tiny", tmp_path / "case")
    return tmp_path / "case"


def edit(case, change):
    """Change the options of a case by change(root)."""
    tree = flml.read_options(case / OPTIONS)
    change(tree.getroot())
    flml.write_options(tree, case / OPTIONS)
    return case / OPTIONS


def moved(case, folder):
    """The options of a case whose meshes and fields lie in a folder below."""
    (case / folder).mkdir(parents=True)
    for path in case.glob("tiny_*Mesh*"):
        path.rename(case / folder / path.name)

    def change(root):
        for element in root.iter("from_file"):
            element.set("file_name", f"{folder}/{element.get('file_name')}")

    return edit(case, change)


def names(restart):
    """All files that the options of a restart name, relative to its folder."""
    return {path.relative_to(restart.folder).as_posix() for path in restart_files(restart)}


def present(restart):
    """All files in a restart's folder."""
    return {p.relative_to(restart.folder).as_posix() for p in restart.folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("folder", ["chk", "a/b c", "./chk/", "deep//down"])
def test_meshes_and_fields_in_folders_below(folder, case, tmp_path):
    flat = read_fields(open_restart(case / OPTIONS), COMM)
    restart = open_restart(moved(case, folder))
    state = read_fields(restart, COMM)
    changes = {"Tracer": state["Tracer"].replaced(state["Tracer"].values + 1)}
    written = write_restart(restart, tmp_path / "new", COMM, changes, manifest=True)
    assert names(written) | {"manifest.json"} == present(written)
    assert names(written) == {
        "restart.flml",
        "restart_CoordinateMesh.msh",
        "restart_PressureMesh.vtu",
        "restart_VelocityMesh.vtu",
    }
    np.testing.assert_array_equal(read_fields(written, COMM)["Tracer"].values, flat["Tracer"].values + 1)
    assert filecmp.cmp(restart.fields["Pressure"].path, written.fields["Pressure"].path, shallow=False)


def test_pieces_in_a_folder_below(fluidity_data, tmp_path):
    folder = tmp_path / "case/chk"
    shutil.copytree(fluidity_data / "parallel", folder)
    tree = flml.read_options(folder / "mini_3_checkpoint.flml")
    for element in tree.getroot().iter("from_file"):
        element.set("file_name", f"chk/{element.get('file_name')}")
    flml.write_options(tree, tmp_path / "case/mini.flml")
    restart = open_restart(tmp_path / "case/mini.flml")
    state = read_fields(restart, COMM, ["Tracer"])
    written = write_restart(restart, tmp_path / "new", COMM, state.fields)
    assert names(written) == present(written) and n_processes(written) == 2
    np.testing.assert_array_equal(read_fields(written, COMM)["Tracer"].values, state["Tracer"].values)


def test_a_mesh_in_a_folder_below_of_a_cold_start(case, tmp_path):
    def change(root):
        for condition in root.iter("initial_condition"):
            condition[:] = [etree.fromstring("<constant><real_value rank='0'>0</real_value></constant>")]

    edit(case, change)
    restart = open_restart(moved(case, "src"))
    written = write_restart(restart, tmp_path / "new", COMM)
    assert present(written) == {"restart.flml", "restart_CoordinateMesh.msh"}


OTHERS = """<others>
<bottom_depth><from_map file_name="data/depth.grd"/></bottom_depth>
<static_detector><from_checkpoint_file file_name="data/points"/></static_detector>
<wind><input_file file_name="./forcing//wind.nc"/></wind>
<prescribed><value><from_file file_name="old/Source.pvtu"/></value></prescribed>
<prescribed><value><from_file file_name="tiny_VelocityMesh_3_checkpoint.vtu"/></value></prescribed>
<prescribed><value><from_file file_name="restart_PressureMesh.vtu"/></value></prescribed>
<made_by_the_model file_name="not/there.yet"/>
</others>"""


def test_what_else_is_named_keeps_its_name(case, fluidity_data, tmp_path):
    """Depths, detectors, forcing, prescribed fields; also one that starts from a prognostic field's file."""
    for name in ("data/depth.grd", "data/points.groups", "data/points.positions.dat", "forcing/wind.nc"):
        (case / name).parent.mkdir(exist_ok=True)
        (case / name).write_text(name)
    (case / "data/points2").write_text("of something else")
    (case / "restart_PressureMesh.vtu").write_text("a source")
    (case / "old").mkdir()
    (case / "old/Source.pvtu").write_text((fluidity_data / "parallel/mini_3.pvtu").read_text())
    shutil.copytree(fluidity_data / "parallel/mini_3", case / "old/mini_3")
    options = edit(case, lambda root: root.append(etree.fromstring(OTHERS)))
    restart = open_restart(options)
    tracer = read_fields(restart, COMM, ["Tracer"])["Tracer"]
    written = write_restart(restart, tmp_path / "new", COMM, {"Tracer": tracer.replaced(tracer.values + 1)})
    again = write_restart(written, tmp_path / "again", COMM)
    others = {
        "data/depth.grd",
        "data/points.groups",
        "data/points.positions.dat",
        "forcing/wind.nc",
        "old/Source.pvtu",
        "old/mini_3/mini_3_0.vtu",
        "old/mini_3/mini_3_1.vtu",
        "tiny_VelocityMesh_3_checkpoint.vtu",
        "restart_PressureMesh.vtu",
    }
    for new in (written, again):
        assert all(filecmp.cmp(case / name, new.folder / name, shallow=False) for name in others)
        assert names(new) == present(new) and names(new) > others
        element = flml.read_options(new.options).getroot().find("others")
        assert [e.get("file_name") for e in element.iter(etree.Element) if e.get("file_name")] == [
            e.get("file_name") for e in etree.fromstring(OTHERS).iter() if e.get("file_name")
        ]
        assert new.fields["Pressure"].path.name == "restart_PressureMesh_2.vtu"
        np.testing.assert_array_equal(read_fields(new, COMM)["Tracer"].values, tracer.values + 1)


@pytest.mark.parametrize("name", ["../depth.grd", "/etc/hostname", "data/../../depth.grd", "linked/depth.grd"])
@pytest.mark.parametrize("kind", ["from_map", "mesh", "field"])
def test_a_name_that_leads_out_is_refused(name, kind, case, tmp_path):
    (tmp_path / "depth.grd").write_text("outside")
    (case / "data").mkdir()
    (case / "linked").symlink_to(tmp_path)

    def change(root):
        if kind == "from_map":
            etree.SubElement(root, kind, file_name=name)
        elif kind == "mesh":
            root.find("geometry/mesh/from_file").set("file_name", name)
        else:
            root.find("material_phase//from_file").set("file_name", name + ".vtu")

    with pytest.raises(FileError, match="outside its own folder; put a copy of it beside the options"):
        open_restart(edit(case, change))


def as_mesh(case, name):
    """The options of a case whose mesh has this name."""
    shutil.move(case / "tiny_CoordinateMesh_3_checkpoint.msh", case / f"{name}.msh")
    return edit(case, lambda root: root.find("geometry/mesh/from_file").set("file_name", name))


@pytest.mark.parametrize("sibling", ["box_2.msh", "box_0.msh", "box_1.msh"])
def test_a_mesh_with_a_numbered_name_is_no_piece(sibling, case, tmp_path):
    options = as_mesh(case, "box")
    (case / sibling).write_bytes((case / "box.msh").read_bytes())
    restart = open_restart(options)
    assert n_processes(restart) == 1 and mesh_pieces(restart) == [case / "box.msh"]
    assert (case / sibling) not in restart_files(restart)
    assert present(write_restart(restart, tmp_path / "new", COMM)) >= {"restart_CoordinateMesh.msh"}


def test_a_name_may_hold_signs_of_patterns(case):
    restart = open_restart(as_mesh(case, "box[1]*"))
    assert mesh_pieces(restart) == [case / "box[1]*.msh"]


def cut(case, mesh, n):
    """Cut a mesh of a case into n pieces."""
    words = [sys.executable, "-m", "coupling.embedded.decompose", mesh, str(n)]
    subprocess.run(words, cwd=case, env=clean_environment(case, {"PYTHONPATH": str(ROOT)}), check=True)


@pytest.fixture
def cold(tmp_path):
    """Folder of the embedded model's case, to be changed."""
    shutil.copytree(ROOT / "tests/data/embedded", tmp_path / "cold")
    return tmp_path / "cold"


def test_old_pieces_beside_a_new_cut_are_left_alone(cold):
    cut(cold, "mesh.msh", 4)
    cut(cold, "mesh.msh", 2)
    restart = open_restart(cold / "case.flml")
    assert n_processes(restart) == 2 and cold / "mesh_3.msh" not in restart_files(restart)
    assert wrong_processes(restart, 2) is None
    assert wrong_processes(restart, 1) is None  # the whole mesh is there, too
    assert "made for 1 or 2 processes, the model is to run on 4" in wrong_processes(restart, 4)


def test_pieces_of_two_cuts_are_refused(cold):
    cut(cold, "mesh.msh", 2)
    old = (cold / "mesh_1.halo").read_bytes()
    cut(cold, "mesh.msh", 3)
    (cold / "mesh_1.halo").write_bytes(old)
    with pytest.raises(FileError, match="mesh_1.halo: is of process 1 of 2, expected process 1 of 3 by mesh_0.halo"):
        open_restart(cold / "case.flml")


def test_more_pieces_than_files_are_refused_at_once(cold):
    cut(cold, "mesh.msh", 2)
    halo = cold / "mesh_0.halo"
    halo.write_text(halo.read_text().replace('nprocs="2"', 'nprocs="100000000"'))
    with pytest.raises(FileError, match="mesh_0.halo: says that its mesh is in 100,000,000 pieces, of which most are"):
        open_restart(cold / "case.flml")


def test_a_missing_piece_is_named(cold):
    cut(cold, "mesh.msh", 2)
    (cold / "mesh_1.msh").unlink()
    with pytest.raises(FileError, match="names mesh_1.msh, which is not in"):
        open_restart(cold / "case.flml")
    (cold / "mesh.msh").unlink()
    (cold / "mesh_0.halo").unlink()
    with pytest.raises(FileError, match="names mesh_0.halo, which is not in"):
        open_restart(cold / "case.flml")


def test_a_serial_checkpoint_beside_a_cut_mesh_runs_in_serial_only(fluidity_data, tmp_path):
    """fldecomp cuts a mesh; the fields of the checkpoint stay in one piece."""
    case = tmp_path / "case"
    shutil.copytree(fluidity_data / "serial", case)
    cut(case, "mini_CoordinateMesh_3_checkpoint.msh", 2)
    restart = open_restart(case / "mini_3_checkpoint.flml")
    assert n_processes(restart) == 1 and wrong_processes(restart, 1) is None
    assert mesh_pieces(restart) == [case / "mini_CoordinateMesh_3_checkpoint.msh"]
    message = wrong_processes(restart, 2)
    assert "made for 1 process, the model is to run on 2" in message and "flredecomp" in message
    assert "cut a mesh, but not the fields" in message
    (case / "mini_CoordinateMesh_3_checkpoint.msh").unlink()
    with pytest.raises(FileError, match="mini_CoordinateMesh_3_checkpoint in 2, .*.vtu in 1"):
        n_processes(open_restart(case / "mini_3_checkpoint.flml"))
