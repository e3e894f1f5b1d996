"""The promises of `da.ensemble.ensemble.EnsembleUpdate`, for every analysis of an ensemble there is."""

import json
from dataclasses import replace

import numpy as np
import pytest
from ensemble_problem import make_ensemble
from every_ensemble import METHODS
from mpi4py import MPI
from ranks import assert_same_on_ranks

from da.ensemble.ensemble import anomalies_of, mean_of
from da.observation.diagonal_error import diagonal_error

COMM = MPI.COMM_SELF


@pytest.fixture(params=METHODS)
def method(request):
    return METHODS[request.param]


def analysed(method, problem, readings=None):
    update = method(problem, problem.readings if readings is None else readings, COMM)
    return update.state(problem.state), update.parameters(problem.ensemble.parameters)


def close(found, expected, atol=1e-9):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=atol)


def test_without_readings_no_bit_changes(method):
    problem = make_ensemble(n_readings=0)
    state, parameters = analysed(method, problem)
    np.testing.assert_array_equal(state, problem.state)
    np.testing.assert_array_equal(parameters, problem.ensemble.parameters)


def test_an_exact_reading_at_a_node_gives_its_value(method):
    problem = make_ensemble(n_readings=1)
    exact = replace(problem.readings, error=diagonal_error(np.array([1e-6]), slice(0, 1)))
    state, _ = analysed(method, problem, exact)
    row = int(np.argmax(problem.operator[0]))
    value = mean_of(problem.state)[row] + problem.readings.innovation[0]
    np.testing.assert_allclose(mean_of(state)[row], value, rtol=0, atol=1e-6)
    assert np.std(state[row]) < 1e-5


def test_readings_without_worth_change_nothing(method):
    problem = make_ensemble()
    useless = replace(problem.readings, error=diagonal_error(np.full(len(problem.readings), 1e9), slice(0, 7)))
    close(analysed(method, problem, useless), (problem.state, problem.ensemble.parameters), 1e-12)


def test_units_do_not_matter(method):
    """A field in other units, members and readings alike, is analysed alike."""
    problem, unit = make_ensemble(), np.array([1e3, 1e-2])
    read = unit[(problem.readings.field == "Velocity.x").astype(int)]
    readings = replace(
        problem.readings,
        innovation=problem.readings.innovation * read,
        anomalies=problem.readings.anomalies * read[:, None],
        error=diagonal_error(problem.readings.error.std_local * read, slice(0, 7)),
    )
    rows = unit[problem.variable][:, None]
    other = replace(problem, state=problem.state * rows, ensemble=replace(problem.ensemble, state=problem.state * rows))
    state, parameters = analysed(method, other, readings)
    close((state / rows, parameters), analysed(method, problem))


def test_the_order_of_readings_does_not_matter(method):
    problem = make_ensemble(n_readings=12)
    of = np.random.default_rng(5).permutation(12)
    readings = problem.readings
    shuffled = replace(
        readings,
        innovation=readings.innovation[of],
        anomalies=readings.anomalies[of],
        error=diagonal_error(readings.error.std_local[of], slice(0, 12)),
        place=readings.place[of],
        field=readings.field[of],
    )
    close(analysed(method, problem, shuffled), analysed(method, problem))


def rotation(n, seed=6):
    """An orthogonal (n, n) matrix that keeps the vector of ones."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(np.column_stack([np.ones(n), rng.normal(size=(n, n - 1))]))
    turned, _ = np.linalg.qr(rng.normal(size=(n - 1, n - 1)))
    inner = np.eye(n)
    inner[1:, 1:] = turned
    return basis @ inner @ basis.T


def test_rotated_members_have_the_same_analysis_rotated(method):
    """The covariance is what counts, not the members that it is made of; so the order of members does not either."""
    problem = make_ensemble()
    for turn in (rotation(8), np.eye(8)[np.random.default_rng(7).permutation(8)]):
        readings = replace(problem.readings, anomalies=problem.readings.anomalies @ turn)
        ensemble = replace(
            problem.ensemble, state=problem.state @ turn, parameters=problem.ensemble.parameters @ turn
        )  # fmt: skip
        found = analysed(method, replace(problem, state=problem.state @ turn, ensemble=ensemble), readings)
        close(found, [values @ turn for values in analysed(method, problem)])


def test_the_mean_does_not_depend_on_what_members_are_moved_by(method):
    problem = make_ensemble()
    moved = replace(problem, state=problem.state + 7.0, ensemble=replace(problem.ensemble, state=problem.state + 7.0))
    state, parameters = analysed(method, moved)
    close((state - 7.0, parameters), analysed(method, problem))


def test_the_analysis_is_nearer_to_the_readings_and_surer_of_them(method):
    """The residual's norm and the spread at the readings fall."""
    problem = make_ensemble(n_readings=12)
    state, _ = analysed(method, problem)
    std = problem.readings.error.std_local
    before = problem.readings.innovation
    after = before - problem.operator @ (mean_of(state) - mean_of(problem.state))
    assert np.linalg.norm(after / std) < np.linalg.norm(before / std)
    spread = np.std(anomalies_of(problem.operator @ state), axis=1)
    assert np.all(spread < np.std(problem.readings.anomalies, axis=1))


def test_the_caller_keeps_the_prior(method):
    problem = make_ensemble()
    kept = problem.state.copy(), problem.ensemble.parameters.copy()
    analysed(method, problem)
    np.testing.assert_array_equal(problem.state, kept[0])
    np.testing.assert_array_equal(problem.ensemble.parameters, kept[1])


def test_summaries_are_plain(method):
    for n in (0, 7):
        problem = make_ensemble(n_readings=n)
        figures = method(problem, problem.readings, COMM).summary()
        assert json.loads(json.dumps(figures, allow_nan=False)) == figures
        assert figures["readings"] == n and figures["members"] == 8


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    assert_same_on_ranks(mpirun, tmp_path, "tests/da/ensemble/parallel_ensemble.py")
