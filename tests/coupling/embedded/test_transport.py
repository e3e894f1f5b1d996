"""Transport: constants, bounds and mass are conserved; solutions converge as the mesh is refined."""

import numpy as np
import pytest
from box_mesh import box_space

from coupling.embedded.fem import advection
from coupling.embedded.transport import limited, make_transport, outflow, upwinded
from coupling.embedded.wind import Walls, make_wind


def blob(points, centre, width):
    return np.exp(-((points - centre) ** 2).sum(axis=1) / (2 * width**2))


@pytest.fixture(scope="module")
def blowing(street):
    """(space, wind) of the small case."""
    mesh, space = street
    speed = np.log(1 + mesh.points[:, 2] / 0.5)
    wind = make_wind(space, mesh.facets, mesh.facet_ids, Walls((4, 5), {4: (2,), 5: (0, 1, 2)}))
    return space, wind.project(np.column_stack([speed, 0.4 * speed, 0 * speed]))[0]


def march(space, velocity, tracer, steps, dt, diffusivity=0.0, source=None, held=None, value=0.0):
    held = np.zeros(space.n_nodes, bool) if held is None else held
    source = np.zeros(space.n_nodes) if source is None else source
    transport = make_transport(space, diffusivity, held)
    carrying = advection(space, velocity)
    for _ in range(steps):
        tracer, reason = transport.step(tracer, carrying, source, np.full(space.n_nodes, value), dt)
        assert reason > 0
        yield tracer


def test_a_constant_stays_constant_in_any_wind(street):
    _, space = street
    velocity = 3 * np.random.default_rng(0).normal(size=(space.n_nodes, 3))
    for tracer in march(space, velocity, np.full(space.n_nodes, 7.0), 5, 0.5, 0.3):
        np.testing.assert_allclose(tracer, 7.0, rtol=1e-11)


def test_no_value_leaves_the_range_it_had(blowing):
    space, velocity = blowing
    rough = (np.random.default_rng(1).uniform(size=space.n_nodes) > 0.8).astype(float)
    low, high = 0.0, 1.0
    for tracer in march(space, velocity, rough, 20, 1.0, 0.2):
        assert tracer.min() >= low - 1e-11 and tracer.max() <= high + 1e-11
        low, high = max(low, tracer.min()), min(high, tracer.max())


def test_a_point_source_makes_no_negative_concentrations(blowing):
    space, velocity = blowing
    source = np.zeros(space.n_nodes)
    source[np.argmin(((space.points - [25, 40, 3]) ** 2).sum(axis=1))] = 1.0
    for tracer in march(space, velocity, np.zeros(space.n_nodes), 20, 1.0, 0.0, source=source):
        assert tracer.min() > -1e-12 * tracer.max()


def test_mass_changes_by_the_source_and_what_flows_out(blowing):
    space, velocity = blowing
    source = blob(space.points, [25, 40, 5], 8.0)
    transport = make_transport(space, 0.4, np.zeros(space.n_nodes, bool))
    carrying = advection(space, velocity)
    tracer = blob(space.points, [80, 60, 10], 12.0)
    for _ in range(10):
        before = tracer
        tracer, _ = transport.step(before, carrying, source, 0 * before, 0.5)
        operator, _ = upwinded(space, carrying + transport.diffusing)
        monotone, _ = transport._monotone(operator, before, source, 0 * before, 0.5)
        # the corrective fluxes cancel in pairs, so the outflow is that of the monotone step
        leaving = outflow(space, velocity, monotone).sum()
        change = space.total(tracer) - space.total(before)
        assert change == pytest.approx(0.5 * (space.total(source) - leaving), rel=1e-9)


def test_only_open_boundaries_let_mass_out(street, blowing):
    mesh, _ = street
    space, velocity = blowing
    rates = outflow(space, velocity, np.ones(space.n_nodes))
    closed = np.ones(space.n_nodes, bool)
    closed[mesh.facets[np.isin(mesh.facet_ids, (1, 2, 3))]] = False
    assert np.abs(rates[closed]).max() < 1e-9 * np.abs(rates).max()
    # what comes in at the front goes out elsewhere
    assert abs(rates.sum()) < 1e-9 * np.abs(rates).sum()


def test_diffusion_keeps_mass(street):
    _, space = street
    tracer = blob(space.points, [60, 40, 10], 12.0)
    total = space.total(tracer)
    for later in march(space, np.zeros((space.n_nodes, 3)), tracer, 5, 1.0, 5.0):
        assert space.total(later) == pytest.approx(total, rel=1e-10)


def test_an_even_source_in_calm_air_fills_evenly(street):
    _, space = street
    still, even = np.zeros((space.n_nodes, 3)), np.full(space.n_nodes, 0.25)
    for step, tracer in enumerate(march(space, still, np.zeros(space.n_nodes), 4, 2.0, 1.0, source=even), 1):
        np.testing.assert_allclose(tracer, 0.5 * step, rtol=1e-11)


def test_diffusion_approaches_its_exact_solution_at_second_order():
    errors = []
    for n in (8, 16):
        space, *_ = box_space((n, 2, 2), (1.0, 2.0 / n, 2.0 / n))
        exact, dt, steps = np.cos(np.pi * space.points[:, 0]), 0.4 / n**2, n**2 // 4
        *_, tracer = march(space, np.zeros((space.n_nodes, 3)), exact, steps, dt, 1.0)
        errors.append(np.abs(tracer - exact * np.exp(-(np.pi**2) * steps * dt)).max())
    assert np.log2(errors[0] / errors[1]) > 1.7, errors


def test_steady_diffusion_between_two_fixed_values_is_linear():
    space, facets, ids = box_space((6, 3, 3), (6.0, 3.0, 3.0))
    held = np.zeros(space.n_nodes, bool)
    held[facets[np.isin(ids, (1, 2))]] = True
    transport = make_transport(space, 1.0, held)
    tracer = space.points[:, 0].copy()
    for _ in range(3):
        tracer, _ = transport.step(
            tracer, np.zeros(space.pattern.nnz), np.zeros(space.n_nodes), space.points[:, 0], 1.0
        )
    np.testing.assert_allclose(tracer, space.points[:, 0], atol=1e-9)


def carried(n, corrected):
    """L1 error of a bump that a uniform wind has carried across a box of n cells, with or without correction."""
    space, *_ = box_space((n, 2, 2), (1.0, 2.0 / n, 2.0 / n))
    velocity = np.tile([1.0, 0.0, 0.0], (space.n_nodes, 1))

    def shape(t):
        return np.exp(-(((space.points[:, 0] - 0.3 - t) / 0.1) ** 2))

    tracer, dt = shape(0), 2 / n**2
    transport = make_transport(space, 0.0, np.zeros(space.n_nodes, bool))
    carrying = advection(space, velocity)
    for _ in range(n**2 // 5):
        if corrected:
            tracer, _ = transport.step(tracer, carrying, 0 * tracer, 0 * tracer, dt)
        else:
            operator, _ = upwinded(space, carrying)
            tracer, _ = transport._monotone(operator, tracer, 0 * tracer, 0 * tracer, dt)
    return space.total(np.abs(tracer - shape(0.4))) / space.total(np.ones(space.n_nodes))


def test_advection_converges_faster_than_upwinding():
    errors = [carried(n, True) for n in (20, 40)]
    assert np.log2(errors[0] / errors[1]) > 1.3, errors
    assert errors[1] < 0.4 * carried(40, False)


def test_the_upwinded_operator_is_monotone_and_least(blowing):
    space, velocity = blowing
    entries = advection(space, velocity)
    operator, artificial = upwinded(space, entries)
    off = space.rows != space.pattern.indices
    assert operator[off].min() >= 0 and artificial.min() >= 0
    assert np.array_equal(artificial, artificial[space.transposed])
    needed = (operator[off] == 0) | (operator[space.transposed][off] == 0) | (artificial[off] == 0)
    assert needed.all()
    assert np.abs(np.bincount(space.rows, operator)).max() < 1e-12 * np.abs(operator).max()


def test_the_limiter_moves_mass_but_makes_none(street):
    _, space = street
    rng = np.random.default_rng(4)
    low = rng.uniform(size=space.n_nodes)
    amounts = rng.normal(size=space.pattern.nnz) * space.pattern.data
    amounts = amounts - amounts[space.transposed]
    moved = limited(space, low, amounts, np.zeros(space.n_nodes, bool))
    assert abs(moved.sum()) < 1e-12 * np.abs(moved).sum()
    new = low + moved / space.mass
    starts = space.pattern.indptr[:-1]
    neighbours = low[space.pattern.indices]
    assert (new <= np.maximum.reduceat(neighbours, starts) + 1e-13).all()
    assert (new >= np.minimum.reduceat(neighbours, starts) - 1e-13).all()
