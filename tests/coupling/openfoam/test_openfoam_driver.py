"""The contract holds for the real OpenFOAM, on one and two processes, wind and tracer edited; and it tells errors."""

import shutil

import numpy as np
import pytest
from mpi4py import MPI
from openfoam import needs_openfoam, small_case

from coupling.contract import PROMISES, make_trial
from coupling.openfoam.checkpoint import open_restart, read_fields, write_restart
from coupling.openfoam.driver import OpenFoamModel
from coupling.openfoam.fields import AT_CELLS, ON_FACES, read_field
from coupling.openfoam.mesh import read_mesh
from coupling.simulation.launch import ModelError

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def starts(tmp_path_factory):
    """{processes: start}, not to be changed."""
    needs_openfoam()
    return {n: open_restart(small_case(tmp_path_factory.mktemp("case") / "case", n)) for n in (1, 2)}


@pytest.fixture(scope="module", params=[(1, "T"), (1, "U"), (2, "T"), (2, "U")], ids=lambda p: f"{p[1]} on {p[0]}")
def trial(request, starts, tmp_path_factory):
    processes, field = request.param
    model, folder = OpenFoamModel(processes=processes, timeout=120), tmp_path_factory.mktemp("trial")
    return make_trial(model, starts[processes], (3.0, 4.0), folder, COMM, field=field)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_openfoam_keeps_the_contract(promise, trial):
    promise(trial)


def test_the_users_controls_are_given_back(trial):
    own = (trial.start.case / "system/controlDict").read_bytes()
    left = (trial.first.folder / "system/controlDict").read_bytes()
    assert left.startswith(own) and b"writeFormat" not in left.removeprefix(own)


def changed(start, folder, *replacements, file="system/controlDict"):
    """A start like another, texts of a file replaced."""
    shutil.copytree(start.case, folder)
    path = folder / file
    text = path.read_text()
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return open_restart(folder)


def test_a_wind_that_is_changed_stays(starts, tmp_path):
    """With phi changed along, what a step leaves of a smooth swirl is most of it."""
    start = changed(starts[1], tmp_path / "case", ("deltaT          0.25", "deltaT          1e-6"))
    state = read_fields(start, COMM)
    wind, centres = state["U"], state["U"].mesh.centroids
    x, y, z = (centres - [60.0, 60.0, 45.0]).T
    bump = np.exp(-(x**2 + y**2) / 15.0**2 - (z / 8.0) ** 2)
    swirl = np.stack([-y / 15.0 * bump, x / 15.0 * bump, 0.0 * bump], axis=1)
    model = OpenFoamModel(timeout=60)
    until = start.time + 1e-6
    free = model.run(start, until, tmp_path / "free", COMM).state["U"].values
    ready = write_restart(start, tmp_path / "ready", COMM, {"U": wind.replaced(wind.values + swirl)})
    edited = model.run(ready, until, tmp_path / "edited", COMM).state["U"].values
    assert np.linalg.norm(edited - free - swirl) < 0.1 * np.linalg.norm(swirl)


def unordered(start):
    """Replacements that leave nothing of a controlDict's order of the tracer but scalarTransport."""
    text = (start.case / "system/controlDict").read_text()
    begin, end = text.index("    tracerWritten"), text.index("    sensors")
    first, second = text.index("    tracerRead"), text.index("    // ... carried")
    return (text[begin:end], ""), (text[first:second], "")


def test_a_tracer_that_would_be_a_step_late_is_put_in_order(starts, tmp_path):
    """Without readFields and writeObjects in the case, a forecast in two parts is still the one in one part."""
    late = changed(starts[1], tmp_path / "case", *unordered(starts[1]))
    model = OpenFoamModel(timeout=60)
    whole = model.run(late, 3.0, tmp_path / "whole", COMM)
    half = model.run(late, 2.5, tmp_path / "half", COMM)
    rest = model.run(half.restart, 3.0, tmp_path / "rest", COMM)
    right = model.run(starts[1], 3.0, tmp_path / "right", COMM)
    np.testing.assert_array_equal(rest.state["T"].values, whole.state["T"].values)
    np.testing.assert_array_equal(right.state["T"].values, whole.state["T"].values)


@pytest.mark.parametrize("ordered", [True, False])
def test_backward_differences_go_on_as_they_were(ordered, starts, tmp_path):
    """The step before is written and read of wind, flux and tracer, whether or not the case orders its tracer."""
    start = changed(starts[1], tmp_path / "scheme", ("default Euler", "default backward"), file="system/fvSchemes")
    start = changed(start, tmp_path / "case", *(() if ordered else unordered(start)))
    model = OpenFoamModel(timeout=60)
    whole = model.run(start, 3.0, tmp_path / "whole", COMM)
    half = model.run(start, 2.5, tmp_path / "half", COMM)
    rest = model.run(half.restart, 3.0, tmp_path / "rest", COMM)
    for name in ("U", "T", "p"):
        np.testing.assert_array_equal(rest.state[name].values, whole.state[name].values)
    state = half.state
    changes = {name: state[name].replaced(state[name].values + 0.25) for name in ("U", "T")}
    ready = write_restart(half.restart, tmp_path / "ready", COMM, changes)
    for name in ("U", "T"):
        n = state[name].mesh.n_cells
        old, new = (read_field(r.case / f"2.5/{name}_0", AT_CELLS).internal(n) for r in (half.restart, ready))
        np.testing.assert_allclose(new, old + 0.25, rtol=1e-12)


def test_two_ranks_of_ours_write_what_one_does_and_seams_agree(starts, mpirun, tmp_path):
    script = "tests/coupling/openfoam/parallel_foam.py"
    for n in (1, 2, 3):
        mpirun(n, script, starts[2].case, tmp_path / f"by_{n}", timeout=60)
    one = tmp_path / "by_1"
    for path in sorted(path for path in one.rglob("*") if path.is_file()):
        for n in (2, 3):
            assert (tmp_path / f"by_{n}" / path.relative_to(one)).read_bytes() == path.read_bytes(), path
    meshes = [read_mesh(one / f"processor{k}/constant/polyMesh") for k in (0, 1)]
    seams = [next(patch for patch in mesh.patches if patch.is_seam) for mesh in meshes]
    flux = [read_field(one / f"processor{k}/2/phi", ON_FACES).patch_values(seams[k]) for k in (0, 1)]
    np.testing.assert_array_equal(flux[0], -flux[1])
    for name in ("U", "T"):
        files = [read_field(one / f"processor{k}/2/{name}", AT_CELLS) for k in (0, 1)]
        for here, there in ((0, 1), (1, 0)):
            cells = files[there].internal(meshes[there].n_cells)[meshes[there].part.owner[seams[there].faces]]
            np.testing.assert_array_equal(files[here].patch_values(seams[here]), cells)


def test_an_end_between_steps_is_the_step_that_reaches_it(starts, tmp_path):
    forecast = OpenFoamModel(timeout=60).run(starts[1], 2.6, tmp_path / "run", COMM)
    assert forecast.state.time == 2.75


def failing(start, folder, until=3.0, **settings):
    """The message of a run that fails."""
    with pytest.raises(ModelError) as error:
        OpenFoamModel(**{"timeout": 60, **settings}).run(start, until, folder, COMM)
    return str(error.value)


def test_openfoams_own_error_is_told(starts, tmp_path):
    start = changed(starts[1], tmp_path / "case", ("default Euler", "default NoSuch"), file="system/fvSchemes")
    message = failing(start, tmp_path / "run")
    assert "exit code 1" in message and "FOAM FATAL" in message and "NoSuch" in message
    assert str(tmp_path / "run/launch.log") in message


def test_a_field_that_is_lost_on_the_way_is_noticed(starts, tmp_path):
    """An unknown library is a warning of OpenFOAM's, and its tracer is simply not there."""
    start = changed(
        starts[1], tmp_path / "case", ("    tracerRead\n    {", "    tracerRead\n    {\n        enabled false;")
    )
    start = changed(start, tmp_path / "other", ("    tracer\n    {", "    tracer\n    {\n        enabled false;"))
    assert "wrote no T at 3 s" in failing(start, tmp_path / "run")
