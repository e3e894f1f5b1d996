"""Members analysed through a network: the ETKF's analysis by one of its own range, and in place of one that fails."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from assimilation import make_readings
from latent_background import factors, latent_background, latent_of
from mpi4py import MPI

from coupling.geometry.mesh import State
from da.ensemble.ensemble import mean_of
from da.ensemble.etkf import etkf
from models.decoder import DecoderError
from plugin.case.observations import QualitySection
from plugin.ensemble.latent import network_update, observed_changes
from plugin.ensemble.readings import analysed_readings, compare
from plugin.ensemble.states import AtReadings
from plugin.state.transfer import values_at
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF
MEMBERS = 6


@pytest.fixture(scope="module")
def given():
    """A network, members in its range on grid and mesh, and the first of them as a state."""
    background, state = latent_background(COMM)
    transfer, latent = background.transfer, latent_of(background, COMM)
    z = 10.0 * np.random.default_rng(4).normal(size=(factors(background).shape[1], MEMBERS))
    changes = background.transform.scale[:, None] * (factors(background) @ z)
    column = transfer.to_grid(state)
    return SimpleNamespace(
        background=background, transfer=transfer, latent=latent, state=state, column=column, changes=changes,
        members=column[:, None] + changes,
    )  # fmt: skip


def on_mesh(state, change, transfer):
    dx = transfer.to_mesh(state, change)
    return State(state.time, {name: state[name].replaced(state[name].values + dx.get(name, 0.0)) for name in dx})


def compared(given, speeds=False, **quality):
    readings = make_readings(given.background, given.state, speeds)
    states = [on_mesh(given.state, change, given.transfer) for change in given.changes.T]
    at = [values_at(of, given.transfer, readings.position, readings.variable) for of in states]
    settings = ObservationSettings(quality=QualitySection(**quality))
    values, inside = np.column_stack([value for value, _ in at]), at[0][1]
    grid = given.transfer.grid
    found = compare(readings, AtReadings(values, inside, np.ones(12, bool)), given.state.time, settings, grid)
    analysed = [v.name for v in given.transfer.variables]
    return found, settings, analysed_readings(found, settings, grid, analysed)


def observe_of(given, found, settings):
    return observed_changes(given.state, given.column, given.members, found, settings, given.transfer)


@pytest.mark.parametrize("quality", [{}, {"thinning": {"cell": 100.0}}])
def test_changes_are_observed_as_the_mesh_gets_them(given, quality):
    found, settings, readings = compared(given, **quality)
    observe = observe_of(given, found, settings)
    assert len(readings) == (11 if not quality else len(readings)) and len(readings) >= 2
    # a member's anomaly at the readings is H of its anomaly on the grid
    for member in range(MEMBERS):
        change = given.members[:, member] - mean_of(given.members)
        np.testing.assert_allclose(observe(change), readings.anomalies[:, member], rtol=0, atol=1e-10)


def test_a_speed_is_observed_about_the_mean(given):
    found, settings, _ = compared(given, speeds=True)
    observe = observe_of(given, found, settings)
    used = found.readings.select(found.used)
    mean = on_mesh(given.state, mean_of(given.changes), given.transfer)
    change = given.changes[:, 0]
    moved = on_mesh(given.state, mean_of(given.changes) + change, given.transfer)
    expected = [values_at(of, given.transfer, used.position, used.variable)[0] for of in (moved, mean)]
    np.testing.assert_allclose(observe(change), expected[0] - expected[1], rtol=0, atol=1e-10)


def test_a_network_of_the_members_range_gives_the_etkf(given):
    found, settings, readings = compared(given)
    limits = replace(given.latent.limits, distance=100.0)
    update = network_update(replace(given.latent, limits=limits), readings, observe_of(given, found, settings))
    posterior = update.state(given.members)
    expected = etkf(readings, COMM).state(given.members)
    np.testing.assert_allclose(posterior, expected, rtol=0, atol=1e-8 * np.abs(given.changes).max())
    figures = update.summary()
    assert figures["decoded"] == MEMBERS and figures["method"] == "latent" and "reason" not in figures
    parameters = np.random.default_rng(5).normal(size=(2, MEMBERS))
    np.testing.assert_array_equal(update.parameters(parameters), etkf(readings, COMM).parameters(parameters))


def test_members_that_the_network_does_not_know_get_the_etkfs_analysis(given):
    found, settings, readings = compared(given)
    strange = given.members + np.random.default_rng(6).normal(size=given.members.shape)
    update = network_update(given.latent, readings, observe_of(given, found, settings))
    np.testing.assert_array_equal(update.state(strange), etkf(readings, COMM).state(strange))
    assert update.summary()["decoded"] == 0 and "round trip error" in update.summary()["reason"]


def test_a_network_that_fails_gives_way(given):
    class Failing:
        comm, scale = COMM, given.latent.decoder.scale

        def encode(self, states):
            raise DecoderError("out of memory")

    found, settings, readings = compared(given)
    latent = replace(given.latent, decoder=Failing())
    update = network_update(latent, readings, observe_of(given, found, settings))
    np.testing.assert_array_equal(update.state(given.members), etkf(readings, COMM).state(given.members))
    assert update.summary()["decoded"] == 0 and update.summary()["reason"] == "out of memory"
