"""Whole runs: files under Fluidity's names, the same answers on any number of ranks, Fluidity's way to fail."""

import re
from dataclasses import replace

import numpy as np
import pytest
from embedded_case import change, fresh, insert, model
from mpi4py import MPI
from mpi_words import without_mpi_notes
from scipy.spatial import cKDTree

from coupling.fluidity.halo import read_halo
from coupling.fluidity.msh import read_msh, write_msh
from coupling.vtk.cells import arrays_of, geometry
from coupling.vtk.vtu import read_grid, read_state
from coupling.vtk.xml import parse_xml


def names(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def arrays(path):
    return {name: values.copy() for name, values in arrays_of(read_grid(path).GetPointData()).items()}


def test_a_serial_run_leaves_the_files_that_fluidity_leaves(runs):
    checkpoint = "case_{0}_checkpoint.flml case_CoordinateMesh_{0}_checkpoint.msh case_VelocityMesh_{0}_checkpoint.vtu"
    expected = {f"case_{k}.vtu" for k in range(5)} | {"case.flml", "mesh.msh"}
    for k in (2, 4):
        expected |= {*checkpoint.format(k).split(), f"case_SmokeMesh_{k}_checkpoint.vtu"}
    assert names(runs(1)) == expected


def test_a_parallel_run_leaves_the_files_that_fluidity_leaves(runs):
    expected = {"case.flml"} | {f"mesh_{r}.{s}" for r in (0, 1) for s in ("msh", "halo")}
    sets = [f"case_{k}" for k in range(5)]
    for k in (2, 4):
        expected |= {f"case_{k}_checkpoint.flml"}
        expected |= {f"case_CoordinateMesh_{k}_checkpoint_{r}.{s}" for r in (0, 1) for s in ("msh", "halo")}
        sets += [f"case_VelocityMesh_{k}_checkpoint", f"case_SmokeMesh_{k}_checkpoint"]
    for stem in sets:
        expected |= {f"{stem}.pvtu", *(f"{stem}/{stem}_{r}.vtu" for r in (0, 1))}
    assert names(runs(2)) == expected


def test_dumps_hold_the_fields_and_their_time(runs):
    for k in range(5):
        dumped = arrays(runs(1) / f"case_{k}.vtu")
        assert list(dumped) == ["Tracer", "TracerSource", "Smoke", "Time", "Velocity", "TracerDiffusivity"]
        assert all(values.dtype == np.float64 for values in dumped.values())
        assert set(dumped["Time"]) == {2.0 * k}
        assert dumped["TracerDiffusivity"][0].tolist() == [0.8, 0, 0, 0, 0.8, 0, 0, 0, 0.8]
    head = (runs(1) / "case_4.vtu").read_bytes()[:400].decode()
    assert 'compressor="vtkZLibDataCompressor"' in head and 'Scalars="Tracer" Vectors="Velocity"' in head


def test_checkpoints_hold_no_time_and_start_from_their_own_files(runs):
    options = parse_xml(runs(1) / "case_2_checkpoint.flml").getroot()
    assert options.findtext("simulation_name/string_value") == "case_checkpoint"
    assert options.findtext("timestepping/current_time/real_value") == "4"
    assert options.find("geometry/mesh/from_file").get("file_name") == "case_CoordinateMesh_2_checkpoint"
    sources = [f.get("file_name") for f in options.findall("material_phase/*/prognostic/initial_condition/from_file")]
    velocity, smoke = "case_VelocityMesh_2_checkpoint.vtu", "case_SmokeMesh_2_checkpoint.vtu"
    assert sources == [velocity, velocity, smoke]
    assert sorted(arrays(runs(1) / velocity)) == ["Tracer", "Velocity"]
    assert list(arrays(runs(1) / smoke)) == ["Smoke"]
    parallel = parse_xml(runs(2) / "case_2_checkpoint.flml").getroot()
    assert parallel.find(".//initial_condition/from_file").get("file_name") == "case_VelocityMesh_2_checkpoint.pvtu"


def test_a_parallel_checkpoint_keeps_nodes_cells_and_halos(runs):
    for rank in (0, 1):
        piece = runs(2) / "case_VelocityMesh_2_checkpoint" / f"case_VelocityMesh_2_checkpoint_{rank}.vtu"
        points, cells, ghost, _ = geometry(read_grid(piece), piece)
        base = f"case_CoordinateMesh_2_checkpoint_{rank}"
        mesh, first = read_msh(runs(2) / f"{base}.msh"), read_msh(runs(2) / f"mesh_{rank}.msh")
        assert np.array_equal(points, mesh.points) and np.array_equal(points, first.points)
        assert np.array_equal(cells, mesh.cells) and ghost.any() and not ghost.all()
        assert (runs(2) / f"{base}.halo").read_bytes() == (runs(2) / f"mesh_{rank}.halo").read_bytes()


def test_pvtu_files_are_laid_out_as_fluiditys(runs, fluidity_data):
    ours = parse_xml(runs(2) / "case_VelocityMesh_2_checkpoint.pvtu").getroot()
    theirs = parse_xml(fluidity_data / "parallel" / "mini_VelocityMesh_3_checkpoint.pvtu").getroot()

    def layout(root):
        elements = [(e.tag, sorted(e.attrib.items())) for e in root.iter("*")]
        return re.sub(r"(mini|case)_VelocityMesh_(2|3)", "N_M_k", str(elements))

    assert layout(ours) == layout(theirs)


@pytest.mark.parametrize("n", [2, 3])
def test_answers_do_not_depend_on_the_number_of_ranks(runs, n):
    for k in (1, 4):
        one = read_state(runs(1) / f"case_{k}.vtu", MPI.COMM_SELF)
        several = read_state(runs(n) / f"case_{k}.pvtu", MPI.COMM_SELF)
        assert several.time == one.time and list(several.fields) == list(one.fields)
        mesh = several["Tracer"].mesh
        assert (~mesh.ghost).sum() == one["Tracer"].mesh.n_cells
        _, place = cKDTree(one["Tracer"].mesh.points).query(mesh.points)
        for name, field in several.fields.items():
            size = np.abs(one[name].values).max()
            assert np.abs(field.values - one[name].values[place]).max() < 1e-9 * size, name


@pytest.mark.parametrize("n", [1, 2])
def test_the_same_run_gives_the_same_bytes(runs, tmp_path, n):
    folder = fresh(tmp_path / "again", n)
    assert model(folder, "case.flml", n).returncode == 0
    pieces = ["case_4.vtu"] if n == 1 else [f"case_4/case_4_{rank}.vtu" for rank in range(n)]
    for piece in pieces:
        for name, values in arrays(folder / piece).items():
            assert np.array_equal(values, arrays(runs(n) / piece)[name])


def test_the_velocity_relaxes_to_the_wind_with_its_time_scale(case):
    change(case / "case.flml", timestepping__finish_time="3.0", io__dump_period__constant="1.0")
    text = (case / "case.flml").read_text()
    # a steady wind
    for python in re.findall(r"<python><string_value.*?</python>", text, re.S)[:2]:
        text = text.replace(python, '<constant><real_value rank="0">2.0</real_value></constant>', 1)
    (case / "case.flml").write_text(text)
    assert model(case, "case.flml").returncode == 0
    velocity = [arrays(case / f"case_{k}.vtu")["Velocity"] for k in range(4)]
    moving = np.abs(velocity[1]) > 1e-3
    for k in (2, 3):
        grown = (velocity[k] / np.where(moving, velocity[1], 1))[moving]
        np.testing.assert_allclose(grown, (1 - np.exp(-k / 5)) / (1 - np.exp(-1 / 5)), rtol=1e-8)


def test_dumps_follow_the_period_that_the_steps_allow(case):
    change(
        case / "case.flml", timestepping__timestep="0.7", timestepping__finish_time="3", io__dump_period__constant="1"
    )
    assert model(case, "case.flml").returncode == 0
    times = [arrays(case / f"case_{k}.vtu")["Time"][0] for k in range(4)]
    np.testing.assert_allclose(times, [0, 1.4, 2.1, 3.5], rtol=1e-14)
    assert not (case / "case_4.vtu").exists() and (case / "case_3_checkpoint.flml").exists()


def test_dumps_at_start_and_end_can_be_left_out(case):
    insert(case / "case.flml", "io", "<disable_dump_at_start/>")
    insert(case / "case.flml", "io", "<disable_dump_at_end/>")
    change(case / "case.flml", timestepping__finish_time="4.5")
    assert model(case, "case.flml").returncode == 0
    assert {n for n in names(case) if n.endswith(".vtu") and "check" not in n} == {"case_0.vtu", "case_1.vtu"}
    assert arrays(case / "case_0.vtu")["Time"][0] == 2.0


def test_a_checkpoint_at_the_start_repeats_the_start(case):
    insert(case / "case.flml", "io/checkpointing", "<checkpoint_at_start/>")
    change(case / "case.flml", timestepping__finish_time="0.5")
    assert model(case, "case.flml").returncode == 0
    assert model(case, "case_0_checkpoint.flml").returncode == 0
    for k in (0, 1):
        for name, values in arrays(case / f"case_{k}.vtu").items():
            assert np.array_equal(values, arrays(case / f"case_checkpoint_{k}.vtu")[name])


def test_python_may_import_modules_beside_the_options(case):
    (case / "forcing.py").write_text("def strength(t):\n    return 2.0\n")
    text = (
        (case / "case.flml")
        .read_text()
        .replace("    r2 = ", "    from forcing import strength\n    r2 = strength(t)*", 1)
    )
    (case / "case.flml").write_text(text)
    change(case / "case.flml", timestepping__finish_time="0.5")
    assert model(case, "case.flml").returncode == 0


def test_with_l_it_logs_to_files_of_each_rank(tmp_path):
    folder = fresh(tmp_path / "logs", 2)
    change(folder / "case.flml", timestepping__finish_time="1.0")
    done = model(folder, "case.flml", 2, ["-l"])
    assert (done.returncode, done.stdout, without_mpi_notes(done.stderr)) == (0, "", "")
    for rank in (0, 1):
        assert "Finished at 1.0 s" in (folder / f"fluidity.log-{rank}").read_text()
        assert (folder / f"fluidity.err-{rank}").read_text() == ""


def test_it_runs_where_pwd_says_not_where_it_was_started(case, tmp_path):
    change(case / "case.flml", timestepping__finish_time="0.5")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert model(elsewhere, "case.flml", pwd=case).returncode == 0
    assert (case / "case_1.vtu").exists() and not list(elsewhere.iterdir())
    assert model(case, "case.flml", pwd=tmp_path / "nowhere").returncode == 255


@pytest.mark.parametrize("n", [1, 2])
def test_an_unknown_option_ends_it_with_16(tmp_path, n):
    folder = fresh(tmp_path / "bad", n)
    insert(folder / "case.flml", "material_phase", "<equation_of_state/>")
    done = model(folder, "case.flml", n, ["-l"])
    assert done.returncode == 16
    assert "/material_phase::Air/equation_of_state" in (folder / "fluidity.err-0").read_text()
    assert not list(folder.glob("*.vtu"))


def test_python_that_fails_during_the_run_ends_it_with_16(case):
    text = (case / "case.flml").read_text().replace("r2 = ", "r2 = 1/(t &lt; 1) + ", 1)
    (case / "case.flml").write_text(text)
    done = model(case, "case.flml")
    assert done.returncode == 16 and "scalar_field::Source" in done.stderr and "ZeroDivisionError" in done.stderr


def test_a_mesh_cut_for_another_number_of_processes_is_refused(tmp_path):
    folder = fresh(tmp_path / "cut", 3)
    for n in (1, 2):
        done = model(folder, "case.flml", n)
        assert done.returncode == 16 and "cut for" in done.stderr and "3" in done.stderr
    assert read_halo(folder / "mesh_0.halo").n_processes == 3


def test_a_surface_that_the_mesh_lacks_is_refused(case):
    change(case / "case.flml", **{"material_phase__scalar_field__prognostic__boundary_conditions__surface_ids": "9"})
    done = model(case, "case.flml")
    assert done.returncode == 16 and "case.flml" in done.stderr and "surfaces [9]" in done.stderr


def test_halos_that_are_too_thin_are_refused(tmp_path):
    folder = fresh(tmp_path / "thin", 2)
    for rank in (0, 1):
        mesh, halo = read_msh(folder / f"mesh_{rank}.msh"), read_halo(folder / f"mesh_{rank}.halo")
        # leave out a cell of the outer layer, but none of the nodes
        outer = (mesh.cells >= halo.n_private).all(axis=1)
        spare = (np.bincount(mesh.cells.ravel())[mesh.cells] > 1).all(axis=1)
        others = np.arange(len(mesh.cells)) != np.argmax(outer & spare)
        write_msh(replace(mesh, cells=mesh.cells[others], cell_ids=mesh.cell_ids[others]), folder / f"mesh_{rank}.msh")
    done = model(folder, "case.flml", 2)
    assert done.returncode == 16 and "too few cells" in done.stderr


def test_halos_of_another_mesh_are_refused(tmp_path):
    folder = fresh(tmp_path / "other", 2)
    mesh = read_msh(folder / "mesh_1.msh")
    write_msh(replace(mesh, points=mesh.points + [1.0, 0, 0]), folder / "mesh_1.msh")
    done = model(folder, "case.flml", 2)
    assert done.returncode == 16 and "halo nodes lie elsewhere" in done.stderr


def test_calm_air_needs_no_wind(case):
    text = (case / "case.flml").read_text()
    text = re.sub(
        r'<boundary_conditions name="inflow">\s*<surface_ids>.*?</boundary_conditions>', "", text, count=1, flags=re.S
    )
    (case / "case.flml").write_text(text)
    change(case / "case.flml", timestepping__finish_time="2.0")
    assert model(case, "case.flml").returncode == 0
    assert not arrays(case / "case_1.vtu")["Velocity"].any() and arrays(case / "case_1.vtu")["Tracer"].max() > 0
