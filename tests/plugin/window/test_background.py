"""Background errors from dumps: which states are taken, and what becomes of them."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from places import ROOT
from rich.console import Console

from coupling.archive.series import reopened
from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError, State
from coupling.vtk.dumps import write_dump
from coupling.vtk.vtu import read_state
from plugin.archive import pack
from plugin.case.configuration import ConfigurationError, read_case
from plugin.case.sections import SeriesSection
from plugin.window.background.of_case import background, chosen_steps, steps_of_entry
from plugin.window.background.snapshots import open_snapshots

COMM = MPI.COMM_SELF
TIMES = np.array([0.0, 1.0, 2.5, 4.0, 5.0])


@pytest.fixture(scope="module")
def dumps(tmp_path_factory):
    """Folder of six states on the mesh of a parallel Fluidity run, all different."""
    folder, rng = tmp_path_factory.mktemp("dumps") / "earlier", np.random.default_rng(3)
    folder.mkdir()
    first = read_state(ROOT / "tests/data/fluidity/parallel/mini_2.pvtu", COMM, ["Tracer", "Velocity"])
    for k in range(6):
        a, b = rng.standard_normal(2)
        x = first["Tracer"].mesh.points / 100.0
        fields = {
            "Tracer": first["Tracer"].replaced(a * (1.0 + x[:, 0]) + b * np.sin(x[:, 1])),
            "Velocity": first["Velocity"].replaced(10.0 * (a - b) * x + k),
        }
        write_dump(State(float(k), fields), folder / f"earlier_{k}", COMM)
    return folder


def case(tmp_path, dumps, grid="{shape: [6, 5, 4]}", variables="[Velocity.y, Tracer]", snapshots=None, **settings):
    """A case whose background is of these dumps."""
    told = "".join(f"  {name}: {value}\n" for name, value in settings.items())
    (tmp_path / "case.yml").write_text(
        "model: {driver: embedded, start: none.flml}\n"
        "cycle: {window: 4, windows: 1}\n"
        f"grid: {grid}\n"
        f"variables: {variables}\n"
        f"background:\n  snapshots: [{snapshots or f'{{path: {dumps}}}'}]\n{told}"
        "observations: {file: none.csv}\n"
    )
    return read_case(tmp_path / "case.yml")


def chosen(**settings):
    return chosen_steps(SeriesSection(path="earlier", **settings), TIMES).tolist()


def test_states_are_chosen_by_time_and_number():
    assert chosen() == [0, 1, 2, 3, 4]
    assert chosen(**{"from": 1}) == [1, 2, 3, 4] and chosen(until=4) == [0, 1, 2, 3]
    assert chosen(**{"from": 0.5, "until": 4.5, "every": 2}) == [1, 3]


@pytest.mark.parametrize("times", [TIMES, []])
def test_no_state_left_is_told_with_the_times_there_are(times):
    span = "from 0 to 5 s" if len(times) else "none"
    with pytest.raises(ConfigurationError, match=f"earlier: no state between 6 and inf s; it has {span}"):
        chosen_steps(SeriesSection(path="earlier", **{"from": 6}), times)


class Times:
    """A series as far as choosing states goes."""

    def __init__(self, *times):
        self.times = np.array(times)


def test_from_until_and_every_count_over_the_whole_entry():
    several = [Times(0.0, 1.0, 2.0), Times(3.0, 4.0, 5.0), Times(), Times(6.0, 7.0)]

    def times_of(**settings):
        plan = steps_of_entry(SeriesSection(path="earlier-*", **settings), several)
        return [float(series.times[step]) for series, step in plan]

    assert times_of() == [0, 1, 2, 3, 4, 5, 6, 7]
    assert times_of(every=2) == [0, 2, 4, 6] and times_of(every=5) == [0, 5]
    # an archive outside the times leaves the others
    assert times_of(**{"from": 2, "until": 6, "every": 3}) == [2, 5] and times_of(**{"from": 7}) == [7]
    with pytest.raises(ConfigurationError, match=r"earlier-\*: no state between 8 and inf s; it has from 0 to 7 s"):
        times_of(**{"from": 8})


def on_grid(found, dumps, steps):
    """(n, steps) states on the grid, read by themselves."""
    states = [read_state(dumps / f"earlier_{k}.pvtu", COMM) for k in steps]
    return np.stack([found.transfer.to_grid(state) for state in states], axis=1)


@pytest.mark.parametrize("scaling", ["variable", "point"])
def test_reduced_modes_are_the_scaled_anomalies(tmp_path, dumps, scaling):
    found = background(case(tmp_path, dumps, transform="reduced", scaling=scaling), COMM)
    assert [v.name for v in found.transfer.variables] == ["Velocity.y", "Tracer"]
    states = on_grid(found, dumps, range(6))
    anomalies = (states - states.mean(axis=1, keepdims=True)) / np.sqrt(5)
    increments = np.stack([found.transform.apply(w) for w in np.eye(6)], axis=1)
    np.testing.assert_allclose(increments, anomalies, atol=1e-12 * np.abs(anomalies).max())
    solid = np.repeat(~found.transfer.grid.fluid_points, 2)
    assert solid.any() and not increments[solid].any() and anomalies[~solid].any(axis=1).all()


def test_all_modes_have_the_snapshots_covariance(tmp_path, dumps):
    found = background(case(tmp_path, dumps, truncation=3), COMM)
    reduced = background(case(tmp_path, dumps, transform="reduced"), COMM)
    assert found.modes.n_modes == 3 and found.modes.n_samples == 6
    root, whole = (np.stack([b.transform.apply(w) for w in np.eye(b.modes.n_modes)], axis=1) for b in (found, reduced))
    # a and b, and the step number in the wind: three directions
    np.testing.assert_allclose(root @ root.T, whole @ whole.T, atol=1e-9 * np.abs(whole).max() ** 2)


@pytest.mark.parametrize("space", ["{shape: [6, 5, 4]}", "{space: mesh}"])
def test_one_block_of_all_points_is_tsvd(tmp_path, dumps, space):
    of = "{size: 1000.0, overlap: false}"
    local = background(case(tmp_path, dumps, space, transform="local", truncation=3, local=of), COMM)
    whole = background(case(tmp_path, dumps, space, truncation=3), COMM)
    some = slice(None, None, 1 if space == "{shape: [6, 5, 4]}" else 61)
    roots = [np.stack([b.transform.apply(w)[some] for w in np.eye(b.modes.n_modes)], axis=1) for b in (local, whole)]
    covariance = roots[1] @ roots[1].T
    assert local.modes.name == "local" and local.modes.n_modes == 3
    np.testing.assert_allclose(roots[0] @ roots[0].T, covariance, atol=1e-9 * np.abs(covariance).max())


def test_blocks_of_points_or_metres_and_their_lengths(tmp_path, dumps):
    made = []
    for of in ("{points: [3, 5, 4]}", "{size: 75.0}", "{points: [3, 5, 4], horizontal: 20.0}"):
        made.append(background(case(tmp_path, dumps, transform="local", truncation=6, local=of), COMM))
    assert all(b.modes.vectors.any() for b in made)
    # 6 points along x in two blocks, whose centres are farther apart than two lengths
    near, far = (made[k].modes.vectors @ made[k].modes.vectors.T for k in (0, 2))
    n = len(far) // 6
    assert np.abs(far[:n, -n:]).max() < 1e-10 * np.abs(far).max() < np.abs(near[:n, -n:]).max()


def test_a_file_of_modes_knows_its_blocks(tmp_path, dumps):
    words = {"transform": "local", "truncation": 4, "modes": tmp_path / "modes.h5"}
    first = background(case(tmp_path, dumps, **words, local="{size: 75.0}"), COMM)
    again = background(case(tmp_path, dumps, **words, local="{size: 75.0}"), COMM)
    np.testing.assert_array_equal(first.modes.vectors, again.modes.vectors)
    with pytest.raises(ConfigurationError, match="blocks"):
        background(case(tmp_path, dumps, **words, local="{size: 60.0}"), COMM)


@pytest.mark.parametrize(
    "words, sentence",
    [
        ({"transform": "local", "truncation": 4}, "transform: local needs the section local"),
        ({"local": "{size: 9.0}"}, "only it has one"),
        ({"transform": "local", "local": "{size: 9.0}"}, "transform: local needs a truncation"),
        (
            {"transform": "local", "truncation": 4, "local": "{size: 9.0, points: [2, 2, 2]}"},
            "give either size or points",
        ),
        ({"transform": "local", "truncation": 4, "local": "{points: [2, 0, 2]}"}, "expected one or more"),
    ],
)
def test_blocks_that_cannot_be(tmp_path, dumps, words, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        case(tmp_path, dumps, **words)


def test_blocks_of_points_need_a_grid(tmp_path, dumps):
    with pytest.raises(ConfigurationError, match="background: local.points goes with a grid"):
        background(
            case(tmp_path, dumps, "{space: mesh}", transform="local", truncation=3, local="{points: [3, 3, 3]}"), COMM
        )


def test_inflation_and_bias_are_factors(tmp_path, dumps):
    plain = background(case(tmp_path, dumps, truncation=2), COMM).transform.apply(np.ones(2))
    inflated = background(case(tmp_path, dumps, truncation=2, inflation=1.5), COMM).transform.apply(np.ones(2))
    biased = background(case(tmp_path, dumps, truncation=2, unbiased="false"), COMM).transform.apply(np.ones(2))
    assert plain.any()
    np.testing.assert_allclose(inflated, 1.5 * plain, rtol=1e-12)
    np.testing.assert_allclose(biased, np.sqrt(5) * plain, rtol=1e-9, atol=1e-9 * np.abs(plain).max())


def test_several_entries_follow_one_another(tmp_path, dumps):
    shutil.copytree(dumps, tmp_path / "other")
    snapshots = f"{{path: {dumps}, until: 2}}, {{path: {tmp_path}/other, from: 3, every: 2}}"
    told = []
    found = background(case(tmp_path, dumps, snapshots=snapshots, transform="reduced"), COMM, said=told.append)
    assert found.modes.n_samples == 5 and told[-1] == "  5 of 5 states on the grid"
    states = on_grid(found, dumps, [0, 1, 2, 3, 5])
    np.testing.assert_allclose(
        found.modes.mean * found.transform.scale, np.where(found.transform.scale, states.mean(axis=1), 0)
    )


def test_the_grid_is_as_the_case_wants_it(tmp_path, dumps):
    grid = background(case(tmp_path, dumps), COMM).transfer.grid
    mesh = read_state(dumps / "earlier_0.pvtu", COMM, ["Tracer"])["Tracer"].mesh
    low, high = mesh.bounds(COMM)
    assert grid.shape == (6, 5, 4)
    np.testing.assert_allclose([grid.origin, grid.coordinates(grid.n_points - 1)], [low, high])
    told = "{spacing: [20, 20, 10], box: [[100, 50, 0], [200, 130, 40]]}"
    grid = background(case(tmp_path, dumps, told), COMM).transfer.grid
    assert (grid.shape, grid.origin, grid.spacing) == ((6, 5, 5), (100.0, 50.0, 0.0), (20.0, 20.0, 10.0))


def test_what_was_found_is_kept_for_the_next_time(tmp_path, dumps):
    first = background(case(tmp_path, dumps, truncation=2), COMM, tmp_path / "cache")
    kept = {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()}
    again = background(case(tmp_path, dumps, truncation=2), COMM, tmp_path / "cache")
    assert kept and {path: path.read_bytes() for path in (tmp_path / "cache").iterdir()} == kept
    np.testing.assert_array_equal(again.modes.vectors, first.modes.vectors)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"truncation": 9}, r"background: truncation τ = 9, expected 1 to 3"),
        ({"snapshots": "{path: DUMPS, from: 5}"}, r"background: .*two or more"),
        ({"snapshots": "{path: DUMPS, from: 7}"}, r"earlier: no state between 7 and inf s; it has from 0 to 5 s"),
    ],
)
def test_states_that_give_no_such_modes_are_bad_input(tmp_path, dumps, settings, told):
    settings = {name: str(value).replace("DUMPS", str(dumps)) for name, value in settings.items()}
    with pytest.raises(ConfigurationError, match=told):
        background(case(tmp_path, dumps, **settings), COMM)


def test_a_variable_that_does_not_vary_is_named(tmp_path, dumps):
    for k in (0, 1):
        state = read_state(dumps / f"earlier_{k}.pvtu", COMM)
        still = state["Tracer"].replaced(np.ones(len(state["Tracer"].values)))
        (tmp_path / "still").mkdir(exist_ok=True)
        write_dump(State(state.time, {"Velocity": state["Velocity"], "Tracer": still}), tmp_path / f"still/s_{k}", COMM)
    with pytest.raises(ConfigurationError, match="background: variable 'Tracer' does not vary"):
        background(case(tmp_path, tmp_path / "still"), COMM)


def packed(folder, dumps, name, fields, chosen=None):
    """Some fields of the dumps as an archive."""
    folder.mkdir(exist_ok=True)
    pack(folder / f"{name}.vtkhdf", [str(dumps)], COMM, Console(quiet=True), fields, chosen)


def test_archives_split_by_variable_are_joined(tmp_path, dumps):
    packed(tmp_path / "whole", dumps, "all", None)
    for name in ("Tracer", "Velocity"):
        for number, part in enumerate((slice(0, 4), slice(4, 6))):
            packed(tmp_path / "apart", dumps, f"{name}_{number}", [name], lambda times, part=part: np.arange(6)[part])
    made = {
        name: background(case(tmp_path, dumps, snapshots=f"{{path: {tmp_path}/{name}/*.vtkhdf, every: 2}}"), COMM)
        for name in ("whole", "apart")
    }
    np.testing.assert_array_equal(made["apart"].modes.vectors, made["whole"].modes.vectors)
    assert made["apart"].modes.n_samples == 3
    settings = SeriesSection(path=tmp_path / "apart/*.vtkhdf")
    (series,) = open_snapshots(settings, COMM)
    again = reopened(series, COMM)
    for one in (series, again):
        state = one.read(5)
        assert (one.field_names, len(one), state.time) == (("Tracer", "Velocity"), 6, 5.0)
        assert state["Tracer"].mesh is state["Velocity"].mesh
        np.testing.assert_array_equal(
            state["Velocity"].values, read_state(dumps / "earlier_5.pvtu", COMM, ["Velocity"])["Velocity"].values
        )
        with pytest.raises(FileError, match=r"no array 'Pressure'; they have \['Tracer', 'Velocity'\]"):
            one.read(0, ["Pressure"])
        one.close()


def test_archives_with_all_variables_follow_each_other(tmp_path, dumps):
    packed(tmp_path / "runs", dumps, "a", None, lambda times: [0, 1, 2])
    packed(tmp_path / "runs", dumps, "b", ["Tracer"], lambda times: [3, 4, 5])
    made = background(
        case(tmp_path, dumps, variables="[Tracer]", snapshots=f"{{path: {tmp_path}/runs/*.vtkhdf}}"), COMM
    )
    assert made.modes.n_samples == 6


def test_split_archives_that_differ_are_refused(tmp_path, dumps):
    packed(tmp_path / "times", dumps, "a", ["Tracer"])
    packed(tmp_path / "times", dumps, "b", ["Velocity"], lambda times: [0, 1, 2, 4, 5])
    with pytest.raises(FileError, match=r"a\.vtkhdf: has a state at 3 s, .*b\.vtkhdf has none; .*\(Tracer; Velocity\)"):
        open_snapshots(SeriesSection(path=tmp_path / "times/*.vtkhdf"), COMM)
    other = tmp_path / "other"
    other.mkdir()
    for k in range(6):
        state = read_state(dumps / f"earlier_{k}.pvtu", COMM, ["Velocity"])
        mesh = state["Velocity"].mesh
        points = mesh.points + 1.0
        pieces = tuple(replace(piece, fingerprint=f"moved {piece.fingerprint}") for piece in mesh.pieces)
        moved = replace(mesh, points=points, pieces=pieces)
        write_dump(State(float(k), {"Velocity": replace(state["Velocity"], mesh=moved)}), other / f"other_{k}", COMM)
    packed(tmp_path / "meshes", dumps, "a", ["Tracer"])
    packed(tmp_path / "meshes", other, "b", ["Velocity"])
    (series,) = open_snapshots(SeriesSection(path=tmp_path / "meshes/*.vtkhdf"), COMM)
    with pytest.raises(MeshError, match=r"b\.vtkhdf: its mesh at 0 s, with Velocity, is another than that of .*a\."):
        series.read(0)
