"""OpenFOAM's files: lists read in each form, replaced with all other bytes left alone; what cannot be read is told."""

import gzip
import shutil

import numpy as np
import pytest
from mpi4py import MPI
from openfoam import CASE, small_case

from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError
from coupling.openfoam.checkpoint import open_restart, read_fields, restart_files, write_restart
from coupling.openfoam.controls import controls_of
from coupling.openfoam.fields import AT_CELLS, ON_FACES, read_field
from coupling.openfoam.mesh import read_mesh
from coupling.openfoam.numbers import number_at, series_at, set_numbers
from coupling.openfoam.series import open_series
from coupling.openfoam.simulation import OPENFOAM
from coupling.simulation.parameters import Numbers, Series
from coupling.simulation.simulation import carries

COMM = MPI.COMM_SELF
N = 1169


@pytest.mark.parametrize("name", ["U", "T"])
def test_ascii_and_binary_have_the_same_bits(name):
    ascii, binary = (read_field(CASE / folder / name, AT_CELLS) for folder in ("2", "binary"))
    np.testing.assert_array_equal(ascii.internal(N), binary.internal(N))


@pytest.mark.parametrize("folder", ["2", "binary"])
def test_a_changed_field_differs_in_its_list_alone(folder, tmp_path):
    file = read_field(CASE / folder / "U", AT_CELLS)
    values = file.internal(N) * 1.5
    (tmp_path / "U").write_bytes(file.replaced(values, {}))
    again = read_field(tmp_path / "U", AT_CELLS)
    np.testing.assert_array_equal(again.internal(N), values)
    assert (
        again.replaced(file.internal(N), {}).split(b"boundaryField")[-1]
        == file.dictionary.data.split(b"boundaryField")[-1]
    )
    assert again.dictionary.data.split(b"internalField")[0] == file.dictionary.data.split(b"internalField")[0]


def test_packed_files_and_uniform_lists(tmp_path):
    case = small_case(tmp_path / "case")
    for path in [case / "2/T", *(case / "constant/polyMesh").iterdir()]:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    start = open_restart(case)
    tracer = read_fields(start, COMM, ["T"])["T"]
    written = write_restart(start, tmp_path / "new", COMM, {"T": tracer.replaced(tracer.values + 1.0)})
    np.testing.assert_array_equal(read_fields(written, COMM, ["T"])["T"].values, tracer.values + 1.0)
    assert (tmp_path / "new/2/T.gz").is_file() and not (tmp_path / "new/2/T").exists()
    cold = read_fields(open_restart(case, "0"), COMM)
    assert not cold["T"].values.any() and np.ptp(cold["U"].values, axis=0).tolist() == [0, 0, 0]


def test_a_restart_lists_and_copies_its_files(tmp_path):
    start = open_restart(small_case(tmp_path / "case"))
    new = write_restart(start, tmp_path / "new", COMM, manifest=True)
    for path in restart_files(start):
        copy = (new.case / path.relative_to(start.case)).read_bytes()
        assert copy == path.read_bytes() or path.name == "controlDict"
    assert new.time == 2.0 and new.timestep == 0.25 and set(new.fields) == {"T", "U", "nut", "p"}
    assert [path.name for path in new.case.iterdir() if path.is_dir() and path.name[0].isdigit()] == ["2"]


def test_times_are_a_series(tmp_path):
    with open_series(small_case(tmp_path / "case"), COMM) as series:
        assert series.times.tolist() == [0.0, 2.0] and "U" in series.field_names
        assert series.read(-1, ["T"]).time == 2.0
        with pytest.raises(IndexError, match="no step 2"):
            series.read(2)


def test_what_openfoam_would_forget_is_refused(tmp_path):
    start = open_restart(small_case(tmp_path / "case"))
    state = read_fields(start, COMM)
    with pytest.raises(MeshError, match="only p would change.*analyse U or a tracer along with it"):
        write_restart(start, tmp_path / "new", COMM, {"p": state["p"]})
    broken = state["T"].values.copy()
    broken[3] = np.nan
    with pytest.raises(MeshError, match="1 values are not finite"):
        write_restart(start, tmp_path / "new", COMM, {"T": state["T"].replaced(broken)})
    assert not (tmp_path / "new").exists()


def test_the_flux_of_a_uniform_change_is_that_of_each_face(tmp_path):
    """Of δU the same in all cells, δphi is S · δU on inner faces, and at walls nothing."""
    start = open_restart(small_case(tmp_path / "case"))
    wind, added = read_fields(start, COMM, ["U"])["U"], np.array([0.3, -0.2, 0.1])
    new = write_restart(start, tmp_path / "new", COMM, {"U": wind.replaced(wind.values + added)})
    mesh = read_mesh(start.case / "constant/polyMesh")
    before, after = (read_field(case / "2/phi", ON_FACES) for case in (start.case, new.case))
    area = wind.mesh.face_area_vectors
    change = after.internal(mesh.n_inner) - before.internal(mesh.n_inner)
    np.testing.assert_allclose(change, area[: mesh.n_inner] @ added, atol=1e-9)
    for patch in mesh.patches:
        if patch.name.startswith("b") or patch.name in ("ground", "inflow"):
            np.testing.assert_array_equal(after.patch_values(patch), before.patch_values(patch))


def test_parameters_are_numbers_of_dictionaries(tmp_path):
    case = small_case(tmp_path / "case")
    source = "system/controlDict:functions/tracer/fvOptions/kerb/injectionRateSuSp/T[0]"
    assert number_at(case, "2", source) == 100.0 and number_at(case, "2", "constant/transportProperties:nu") == 0.01
    new = write_restart(
        open_restart(case),
        tmp_path / "new",
        COMM,
        numbers=Numbers({source: 130.0, "constant/transportProperties:nu": 0.02}),
    )
    assert number_at(new.case, "2", "constant/transportProperties:nu") == 0.02
    assert number_at(new.case, "2", source) == 130.0
    with pytest.raises(FileError, match="has no entry 'mu' .*did you mean 'nu'"):
        set_numbers(case, "2", {"constant/transportProperties:mu": 1.0})
    with pytest.raises(FileError, match=r"did you mean 'functions/tracer/fvOptions/kerb/injectionRateSuSp/T'"):
        number_at(case, "2", source.replace("kerb", "kreb"))
    with pytest.raises(FileError, match="has 2 numbers"):
        set_numbers(case, "2", {source.removesuffix("[0]"): 1.0})
    with pytest.raises(FileError, match="leads out of the case"):
        set_numbers(case, "2", {"../x:nu": 1.0})


def test_parameters_in_time_are_tables_of_dictionaries(tmp_path):
    case, nu = small_case(tmp_path / "case"), "constant/transportProperties:nu"
    assert series_at(case, "2", nu) is None
    table = Series((2.0, 3.5), (0.01, 1.0 / 3.0))
    new = write_restart(open_restart(case), tmp_path / "new", COMM, numbers=Numbers({nu: table}))
    assert "table ((2.0 0.01) (3.5 0.3333333333333333))" in (new.case / "constant/transportProperties").read_text()
    assert series_at(new.case, "2", nu) == table and carries(OPENFOAM, new, Numbers({nu: table}))
    assert not carries(OPENFOAM, new, Numbers({nu: Series((2.0, 3.5), (0.01, 0.3))}))
    path = new.case / "constant/transportProperties"  # as OpenFOAM writes it, with the number of rows
    path.write_text(path.read_text().replace("table (", "table \n\n2\n("))
    assert series_at(new.case, "2", nu) == table
    with pytest.raises(FileError, match=r"a table in time takes the place of the whole entry: leave \[0\] out"):
        series_at(case, "2", f"{nu}[0]")
    with pytest.raises(FileError, match="has no entry 'mu'"):
        series_at(case, "2", "constant/transportProperties:mu")
    with pytest.raises(FileError, match="is not finite"):
        set_numbers(case, "2", {nu: Series((0.0, np.inf), (1.0, 1.0))})


def _cut(name, size):
    def damage(case):
        path = case / name
        path.write_bytes(path.read_bytes()[:size])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut("2/T", 3000), "2/T.*is the file cut"),
        (_cut("constant/polyMesh/points", 3000), "points.*is the file cut"),
        (lambda case: (case / "constant/polyMesh/owner").unlink(), "has no file owner"),
        (lambda case: (case / "system/controlDict").unlink(), "no system/controlDict"),
        (lambda case: shutil.rmtree(case / "constant/polyMesh"), "make the mesh first"),
        (lambda case: [shutil.rmtree(case / time) for time in ("0", "2")], "has no time folder"),
        (lambda case: (case / "2.0").mkdir(), "are one time"),
        (lambda case: (case / "processors2").mkdir(), "collated files"),
        (lambda case: (case / "processor1").mkdir(), r"processor folders \[1\], expected 0"),
    ],
)
def test_what_is_broken_is_named(damage, message, tmp_path):
    case = small_case(tmp_path / "case")
    damage(case)
    with pytest.raises(FileError, match=message):
        read_fields(open_restart(case), COMM)


def test_macros_are_refused_and_not_guessed(tmp_path):
    case = small_case(tmp_path / "case")
    path = case / "system/controlDict"
    path.write_text(path.read_text().replace("deltaT          0.25", "dt 0.25; deltaT $dt"))
    with pytest.raises(FileError, match=r"deltaT is '\$dt', expected a plain number"):
        open_restart(case)


def test_ends_and_intervals_divide_a_run(tmp_path):
    controls = controls_of(small_case(tmp_path / "case"))  # writes each 2 s, steps of 0.25 s
    for until, end, interval in ((6.0, 6.0, 2.0), (5.0, 5.0, 1.5), (2.1, 2.25, 0.25), (3.75, 3.75, 1.75)):
        plan = controls.plan(2.0, until, 0.25)
        assert (plan.end, plan.interval) == (end, interval)
