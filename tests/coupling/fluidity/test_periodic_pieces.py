"""Periodic meshes in pieces: read, carried to a grid and written back as the whole mesh is, on one rank and on two."""

import numpy as np
import pytest
from fluidity_case import BOX, EIGHT, cut_periodic_case, periodic_case
from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.nodes import check_nodes
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply, sampling
from coupling.vtk.vtu import read_state

COMM = MPI.COMM_SELF
NAMES = ("Tracer", "Velocity")


@pytest.fixture(scope="module", params=[("triangles", 2), ("tetrahedra", 2), ("hexahedra", 2)], ids=lambda p: p[0])
def both(request, tmp_path_factory):
    """(the whole restart, that in pieces), not to be changed."""
    folder, (name, n) = tmp_path_factory.mktemp("periodic"), request.param
    options = cut_periodic_case(folder / "pieces", name, n)
    return open_restart(periodic_case(folder / "whole", name, EIGHT)), open_restart(options)


def wave(points):
    """Values that differ between the two places of a node at the seam."""
    return np.sin(3.0 * points[:, 0] + 1.0) + points[:, 1] * (points[:, 2] + 0.5)


def changed(restart, comm=COMM):
    """{name: Field} with other values, which depend on the places alone."""
    found = {}
    for name, field in read_fields(restart, comm, NAMES).fields.items():
        values = wave(field.mesh.points)
        found[name] = field.replaced(values if field.values.ndim == 1 else values[:, None] * [1.0, 2.0, 3.0])
    return found


def at_places(field):
    """{place: value}; the values of one place in several pieces must be the same bits."""
    found = {}
    for place, value in zip(field.mesh.points.round(9) + 0.0, field.values, strict=True):
        key = place.tobytes()
        assert np.array_equal(found.setdefault(key, value), value), (place, found[key], value)
    return found


def test_cells_lie_where_they_are_and_each_has_one_owner(both):
    whole, pieces = both
    check_nodes(pieces, COMM)
    mesh = read_fields(pieces, COMM, NAMES)["Tracer"].mesh
    size = np.ptp(BOX, axis=0)[: mesh.shape.dimension].prod()
    assert mesh.volumes[~mesh.ghost].sum() == pytest.approx(size, rel=1e-12)
    assert mesh.n_pieces > 1 and mesh.ghost.any()
    joined = read_state(pieces.fields["Tracer"].path, COMM, time=0.0)["Tracer"].mesh
    assert joined.volumes[~joined.ghost].sum() > 1.2 * size


def test_grid_sensors_and_nodes_are_those_of_the_whole_mesh(both):
    fields = [changed(restart)["Tracer"] for restart in both]
    rng, d = np.random.default_rng(2), fields[0].mesh.shape.dimension
    sensors = BOX[1] * rng.uniform(0.0, 1.0, (20, 3)) * [1.0, 1.0, float(d == 3)]
    found = []
    for field in fields:
        grid = make_grid(field.mesh.bounds(COMM), spacing=0.3)
        grid = grid.with_fluid(fluid_points(grid, field.mesh, COMM))
        carried = interpolation(field.mesh, "point", grid, COMM)
        on_grid = multiply(carried.to_grid, field.values)
        back = field.replaced(multiply(carried.to_mesh, on_grid))
        at_sensors = multiply(sampling(field.mesh, "point", sensors, COMM)[0], field.values)
        found.append((grid, on_grid, at_sensors, at_places(back)))
    (grid, *whole), (other, *pieces) = found
    assert np.array_equal(grid.fluid, other.fluid)
    for one, two in zip(whole[:2], pieces[:2], strict=True):
        np.testing.assert_allclose(two, one, rtol=0, atol=1e-12)
    assert whole[2].keys() == pieces[2].keys()
    for place, value in whole[2].items():
        assert pieces[2][place] == pytest.approx(value, abs=1e-12)


def test_an_untouched_field_comes_back_bit_for_bit(both, tmp_path):
    _, pieces = both
    written = write_restart(pieces, tmp_path / "new", COMM, read_fields(pieces, COMM).fields)
    for name in NAMES:
        old, new = (read_state(r.fields[name].path, COMM, time=0.0)[name].values for r in (pieces, written))
        np.testing.assert_array_equal(new, old)


def test_a_node_gets_the_mean_over_its_places_in_all_pieces(both, tmp_path):
    """The whole mesh's, to the bit, and in halos what their owners have."""
    found = []
    for restart, folder in zip(both, ("whole", "pieces"), strict=True):
        written = write_restart(restart, tmp_path / folder, COMM, changed(restart))
        check_nodes(written, COMM)
        found.append({name: at_places(read_fields(written, COMM, NAMES)[name]) for name in NAMES})
    for name in NAMES:
        whole, pieces = found[0][name], found[1][name]
        assert whole.keys() == pieces.keys()
        for place, value in whole.items():
            np.testing.assert_array_equal(pieces[place], value)


def test_two_ranks_of_ours_write_what_one_does(tmp_path, mpirun):
    options = cut_periodic_case(tmp_path / "case", "tetrahedra", 2)
    restart = open_restart(options)
    write_restart(restart, tmp_path / "by_1", COMM, changed(restart))
    mpirun(2, "tests/coupling/fluidity/parallel_periodic.py", options, tmp_path / "by_2", timeout=60)
    one = sorted(path for path in (tmp_path / "by_1").rglob("*") if path.is_file())
    assert len([path for path in one if path.suffix == ".vtu"]) == 2
    for path in one:
        assert (tmp_path / "by_2" / path.relative_to(tmp_path / "by_1")).read_bytes() == path.read_bytes(), path
