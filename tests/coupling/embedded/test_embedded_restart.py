"""Restarts: exact, strict about nodes, blind to NaN and stale halos, as Fluidity's are."""

import shutil

import numpy as np
import pytest
from embedded_case import change, edit_array, insert, model

from coupling.fluidity.halo import read_halo
from coupling.vtk.cells import arrays_of
from coupling.vtk.vtu import read_grid, write_grid

OPTIONS = "case_2_checkpoint.flml"


def values(path, name):
    return arrays_of(read_grid(path).GetPointData())[name].copy()


def pieces(folder, stem, n):
    return [folder / f"{stem}.vtu"] if n == 1 else [folder / stem / f"{stem}_{rank}.vtu" for rank in range(n)]


def one_step(folder):
    change(folder / OPTIONS, timestepping__finish_time="4.5")


@pytest.mark.parametrize("n", [1, 2])
def test_an_untouched_restart_repeats_the_run_bit_for_bit(runs, checkpoint, n):
    folder = checkpoint(n)
    assert model(folder, OPTIONS, n).returncode == 0
    for later, early in ((2, 0), (3, 1), (4, 2)):
        for whole, again in zip(
            pieces(runs(n), f"case_{later}", n), pieces(folder, f"case_checkpoint_{early}", n), strict=True
        ):
            for name, array in arrays_of(read_grid(whole).GetPointData()).items():
                assert np.array_equal(array, values(again, name)), (later, name)


@pytest.mark.parametrize("n", [1, 2])
def test_an_edited_field_comes_back_bit_for_bit(checkpoint, n):
    folder = checkpoint(n)
    one_step(folder)
    rng = np.random.default_rng(5)
    new = {}
    for piece in pieces(folder, "case_VelocityMesh_2_checkpoint", n):
        for name in ("Tracer", "Velocity"):
            edit_array(piece, name, lambda old: old + rng.normal(size=old.shape))
            new[piece.name, name] = values(piece, name)
    assert model(folder, OPTIONS, n).returncode == 0
    after = zip(
        pieces(folder, "case_VelocityMesh_2_checkpoint", n), pieces(folder, "case_checkpoint_0", n), strict=True
    )
    for piece, dumped in after:
        for name in ("Tracer", "Velocity"):
            assert np.array_equal(new[piece.name, name], values(dumped, name))


def test_an_edited_velocity_has_an_effect_and_fades(runs, checkpoint):
    folder = checkpoint(1)
    edit_array(folder / "case_VelocityMesh_2_checkpoint.vtu", "Velocity", lambda old: old + [1.0, 0.0, 0.0])
    assert model(folder, OPTIONS).returncode == 0
    for k in range(3):
        apart = values(folder / f"case_checkpoint_{k}.vtu", "Velocity") - values(
            runs(1) / f"case_{k + 2}.vtu", "Velocity"
        )
        np.testing.assert_allclose(apart, [[np.exp(-2 * k / 5), 0, 0]] * len(apart), atol=1e-9)
    tracer = values(folder / "case_checkpoint_2.vtu", "Tracer") - values(runs(1) / "case_4.vtu", "Tracer")
    assert np.abs(tracer).max() > 0.1


def test_a_restart_of_a_restart_continues(checkpoint):
    folder = checkpoint(1)
    assert model(folder, OPTIONS).returncode == 0
    last = folder / "case_checkpoint_2_checkpoint.flml"
    change(last, timestepping__finish_time="9.0")
    assert model(folder, last.name).returncode == 0
    assert values(folder / "case_checkpoint_checkpoint_1.vtu", "Time")[0] == 9.0


def move(path, node, by):
    """Move one node of a VTU along x [m]."""
    grid = read_grid(path)
    x, y, z = grid.GetPoints().GetPoint(node)
    grid.GetPoints().SetPoint(node, x + by, y, z)
    write_grid(grid, path)


@pytest.mark.parametrize("n", [1, 2])
def test_other_node_positions_end_it_with_16(checkpoint, n):
    folder = checkpoint(n)
    move(pieces(folder, "case_VelocityMesh_2_checkpoint", n)[-1], 7, 1e-5)
    done = model(folder, OPTIONS, n, ["-l"])
    assert done.returncode == 16
    assert "Node positions do not match" in (folder / f"fluidity.err-{n - 1}").read_text()


def test_positions_within_the_tolerance_are_accepted(checkpoint):
    folder = checkpoint(1)
    one_step(folder)
    move(folder / "case_VelocityMesh_2_checkpoint.vtu", 0, 1e-8)
    assert model(folder, OPTIONS).returncode == 0


def test_another_number_of_nodes_and_a_missing_array_end_it_with_16(runs, checkpoint, fluidity_data):
    folder = checkpoint(1)
    field = folder / "case_VelocityMesh_2_checkpoint.vtu"
    shutil.copyfile(fluidity_data / "serial" / "mini_VelocityMesh_3_checkpoint.vtu", field)
    done = model(folder, OPTIONS)
    assert done.returncode == 16 and "Node positions do not match" in done.stderr
    shutil.copyfile(folder / "case_SmokeMesh_2_checkpoint.vtu", field)
    done = model(folder, OPTIONS)
    assert done.returncode == 16 and "no point array 'Velocity'; it has ['Smoke']" in done.stderr


def test_nan_is_accepted_silently_and_the_failing_solver_still_dumps(checkpoint):
    folder = checkpoint(1)
    path = folder / "case_VelocityMesh_2_checkpoint.vtu"
    edit_array(path, "Tracer", lambda old: np.where(np.arange(len(old)) == 5, np.nan, old))
    done = model(folder, OPTIONS)
    assert done.returncode == 16
    assert "did not converge for matrix solve of: Tracer" in done.stderr and "Traceback" not in done.stderr
    assert np.isnan(values(folder / "case_checkpoint_0.vtu", "Tracer")).sum() == 1
    # it ends after the step that failed
    assert values(folder / "case_checkpoint_1.vtu", "Time")[0] == 4.5
    assert np.isnan(values(folder / "case_checkpoint_1.vtu", "Tracer")).any()
    assert (folder / "case_checkpoint_1_checkpoint.flml").is_file()
    assert not (folder / "case_checkpoint_2.vtu").exists()


def test_nan_in_the_velocity_fails_alike_on_two_ranks(checkpoint):
    folder = checkpoint(2)
    path = pieces(folder, "case_VelocityMesh_2_checkpoint", 2)[0]
    edit_array(path, "Velocity", lambda old: np.where(np.arange(len(old))[:, None] == 5, np.nan, old))
    done = model(folder, OPTIONS, 2)
    assert done.returncode == 16 and (folder / "case_checkpoint_1.pvtu").is_file()
    assert (folder / "case_checkpoint_1_checkpoint.flml").is_file()


def test_solver_failures_can_be_ignored_to_the_end(checkpoint):
    folder = checkpoint(1)
    insert(folder / OPTIONS, "material_phase/scalar_field/prognostic/solver", "<ignore_all_solver_failures/>")
    edit_array(folder / "case_VelocityMesh_2_checkpoint.vtu", "Tracer", lambda old: old * np.nan)
    assert model(folder, OPTIONS).returncode == 0
    assert np.isnan(values(folder / "case_checkpoint_2.vtu", "Tracer")).any()
    assert np.isfinite(values(folder / "case_checkpoint_2.vtu", "Smoke")).all()


def test_halos_are_not_refreshed_on_reading(checkpoint):
    """A bump in owned values alone gives another answer than the same bump in owned and halo values."""
    bumped = {}
    for where in ("owned", "both"):
        folder = checkpoint(2)
        one_step(folder)
        halos = [read_halo(folder / f"case_CoordinateMesh_2_checkpoint_{rank}.halo") for rank in (0, 1)]
        nodes = [halos[0].levels[1].send[1], halos[1].levels[1].receive[0]]
        files = pieces(folder, "case_VelocityMesh_2_checkpoint", 2)
        for path, node in list(zip(files, nodes, strict=True))[: 1 if where == "owned" else 2]:
            edit_array(path, "Tracer", lambda old, node=node: old + 0.5 * np.isin(np.arange(len(old)), node))
        assert model(folder, OPTIONS, 2).returncode == 0
        dumps = [[values(p, "Tracer") for p in pieces(folder, f"case_checkpoint_{k}", 2)] for k in (0, 1)]
        stale = dumps[0][1][nodes[1]] - dumps[0][0][nodes[0]]
        np.testing.assert_allclose(stale, -0.5 if where == "owned" else 0.0, atol=1e-13)
        assert np.array_equal(dumps[1][1][nodes[1]], dumps[1][0][nodes[0]])
        bumped[where] = [d[: h.n_private] for d, h in zip(dumps[1], halos, strict=True)]
        shutil.rmtree(folder)
    wrong = max(np.abs(a - b).max() for a, b in zip(bumped["owned"], bumped["both"], strict=True))
    assert wrong > 0.01


def test_a_stray_flat_file_wins(checkpoint):
    folder = checkpoint(2)
    one_step(folder)
    stem = "case_VelocityMesh_2_checkpoint"
    for rank, piece in enumerate(pieces(folder, stem, 2)):
        shutil.copyfile(piece, folder / f"{stem}_{rank}.vtu")
        edit_array(folder / f"{stem}_{rank}.vtu", "Tracer", lambda old: old + 3.0)
    assert model(folder, OPTIONS, 2).returncode == 0
    for piece, dumped in zip(pieces(folder, stem, 2), pieces(folder, "case_checkpoint_0", 2), strict=True):
        assert np.array_equal(values(dumped, "Tracer"), values(piece, "Tracer") + 3.0)


def test_a_serial_checkpoint_does_not_start_in_parallel_nor_the_other_way(checkpoint):
    for written, started in ((1, 2), (2, 1)):
        done = model(checkpoint(written), OPTIONS, started)
        assert done.returncode == 16, done.stderr


def test_the_time_in_the_options_is_rounded_as_fluiditys_is(case):
    change(
        case / "case.flml",
        timestepping__timestep="0.1",
        timestepping__finish_time="0.75",
        io__dump_period__constant="9",
    )
    assert model(case, "case.flml").returncode == 0
    dumped = values(case / "case_1.vtu", "Time")[0]
    assert dumped == 0.7999999999999999
    assert '<real_value rank="0">0.8</real_value>' in (case / "case_1_checkpoint.flml").read_text()
