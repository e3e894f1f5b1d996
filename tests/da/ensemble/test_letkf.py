"""The local filter beside a plain loop over rows, and beside the filter of the whole."""

from dataclasses import replace

import numpy as np
import pytest
from ensemble_problem import N, make_ensemble
from mpi4py import MPI

from da.ensemble.ensemble import anomalies_of, mean_of
from da.ensemble.etkf import etkf
from da.ensemble.letkf import letkf
from da.ensemble.reach import Reach
from da.observation.correlation import gaspari_cohn

COMM = MPI.COMM_SELF
BETWEEN = np.array([[1.0, 0.3], [0.0, 1.0]])


def reach_of(problem, horizontal=(12.0, 25.0), vertical=(6.0, np.inf), between=BETWEEN, rows=slice(None)):
    """Lengths and factors by variable; factors are those of the fields of the readings."""
    fields = (problem.readings.field == "Velocity.x").astype(int)
    return Reach(
        problem.position[rows], problem.variable[rows], np.array(horizontal), np.array(vertical),
        None if between is None else between[:, fields],
    )  # fmt: skip


def plain(problem, reach):
    """Hunt, Kostelich & Szunyogh 2007, steps 1 to 9, row by row."""
    members, readings = problem.state.shape[1], problem.readings
    posterior = np.empty_like(problem.state)
    for row, prior in enumerate(problem.state):
        of = reach.variable[row]
        apart = reach.position[row] - readings.place
        lengths = np.array([reach.horizontal[of], reach.horizontal[of], reach.vertical[of]])
        rho = gaspari_cohn(np.sqrt(np.sum((apart / lengths) ** 2, axis=1)))
        if reach.between is not None:
            rho = rho * reach.between[of]
        c = readings.anomalies.T * (rho / readings.error.std_local**2)
        values, vectors = np.linalg.eigh((members - 1) * np.eye(members) + c @ readings.anomalies)
        mean = vectors @ ((vectors.T @ (c @ readings.innovation)) / values)
        root = (vectors * np.sqrt((members - 1) / values)) @ vectors.T
        posterior[row] = prior.mean() + (prior - prior.mean()) @ (root + mean[:, None])
    return posterior


@pytest.mark.parametrize("n_readings", [1, 7, 40, N])
@pytest.mark.parametrize("members", [4, 12])
def test_all_rows_are_those_of_a_plain_loop(n_readings, members):
    """With 180 readings, outer products are made in two parts."""
    problem = make_ensemble(n_readings=n_readings, members=members)
    reach = reach_of(problem)
    found = letkf(problem.readings, reach, COMM).state(problem.state)
    np.testing.assert_allclose(found, plain(problem, reach), rtol=0, atol=1e-10)


@pytest.mark.parametrize(
    "horizontal, vertical, between",
    [
        ((12.0, 12.0), (6.0, 6.0), None),
        ((np.inf, np.inf), (3.0, 3.0), None),
        ((12.0, np.inf), (np.inf, 5.0), BETWEEN),
        ((0.1, 0.1), (0.1, 0.1), None),
    ],
)
def test_lengths_by_axis_and_by_variable(horizontal, vertical, between):
    problem = make_ensemble(n_readings=15)
    reach = reach_of(problem, horizontal, vertical, between)
    update = letkf(problem.readings, reach, COMM)
    np.testing.assert_allclose(update.state(problem.state), plain(problem, reach), rtol=0, atol=1e-10)


@pytest.mark.parametrize("scale", [1e-2, 1e-4, 1e-7])
def test_accurate_readings_keep_their_digits(scale):
    """Where products of matrices would lose them, singular values do not; the limit lies between these."""
    problem = make_ensemble(n_readings=5, std=scale)
    everywhere = reach_of(problem, (np.inf, np.inf), (np.inf, np.inf), None)
    found = letkf(problem.readings, everywhere, COMM).state(problem.state)
    np.testing.assert_allclose(found, etkf(problem.readings, COMM).state(problem.state), rtol=0, atol=1e-10)


@pytest.mark.parametrize("n_readings", [3, 40])
def test_without_taper_it_is_the_filter_of_the_whole(n_readings):
    problem = make_ensemble(n_readings=n_readings)
    whole = etkf(problem.readings, COMM)
    for length in (np.inf, 1e9):
        local = letkf(problem.readings, reach_of(problem, (length, length), (length, length), None), COMM)
        np.testing.assert_allclose(local.state(problem.state), whole.state(problem.state), rtol=0, atol=1e-10)
        np.testing.assert_array_equal(
            local.parameters(problem.ensemble.parameters), whole.parameters(problem.ensemble.parameters)
        )


def test_rows_out_of_reach_keep_their_bits():
    problem = make_ensemble(n_readings=2)
    reach = reach_of(problem, (8.0, 8.0), (8.0, 8.0), None)
    update = letkf(problem.readings, reach, COMM)
    apart = np.linalg.norm(problem.position[:, None] - problem.readings.place, axis=2)
    far = np.all(apart >= 16.0, axis=1)
    found = update.state(problem.state)
    np.testing.assert_array_equal(found[far], problem.state[far])
    assert np.all(np.any(found[~far] != problem.state[~far], axis=1))
    said = update.summary()
    assert said["rows"] == N and said["rows_reached"] == np.count_nonzero(~far)
    assert said["readings_in_reach"] == pytest.approx(np.mean(np.count_nonzero(apart[~far] < 16.0, axis=1)))


def test_readings_of_a_field_that_shares_nothing_leave_the_others():
    problem = make_ensemble(n_readings=12)
    reach = reach_of(problem, (1e3, 1e3), (1e3, 1e3), np.eye(2))
    tracer = problem.readings.field == "Tracer"
    update = letkf(problem.readings, replace(reach, between=np.where(tracer, reach.between, 0.0)), COMM)
    found = update.state(problem.state)
    np.testing.assert_array_equal(found[problem.variable == 1], problem.state[problem.variable == 1])
    assert np.all(found[problem.variable == 0] != problem.state[problem.variable == 0])


def test_earlier_rows_of_the_window_get_the_same_weights():
    """A smoother: rows that are a linear function of others stay it."""
    problem = make_ensemble()
    update = letkf(problem.readings, reach_of(problem), COMM)
    earlier = update.state(2.0 * problem.state + 1.0)
    np.testing.assert_allclose(earlier, 2.0 * update.state(problem.state) + 1.0, rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="rows that the local analysis was made for"):
        update.state(problem.state[:-1])


def test_spread_falls_where_readings_are_and_means_move_there():
    problem = make_ensemble(n_readings=1)
    found = letkf(problem.readings, reach_of(problem, between=None), COMM).state(problem.state)
    row = int(np.argmax(problem.operator[0]))
    ratio = np.std(anomalies_of(found), axis=1) / np.std(problem.state, axis=1)
    assert np.argmin(ratio) == row and np.all(ratio < 1.0 + 1e-12)
    assert (mean_of(found) - mean_of(problem.state))[row] * problem.readings.innovation[0] > 0.0


def test_correlated_errors_are_refused():
    problem = make_ensemble(correlated=True)
    with pytest.raises(ValueError, match="Take etkf or 4denvar, or independent errors"):
        letkf(problem.readings, reach_of(problem), COMM)


def test_a_reach_that_cannot_be():
    problem = make_ensemble()
    reach = reach_of(problem)
    with pytest.raises(ValueError, match="factors of 6 readings, expected 7"):
        letkf(problem.readings, replace(reach, between=reach.between[:, :-1]), COMM)
    for changes, message in [
        ({"position": problem.position[:-1]}, "positions of shape"),
        ({"vertical": np.ones(3)}, "vertical lengths"),
        ({"variable": problem.variable + 1}, "a row is of variable 2, expected 0 to 1"),
        ({"horizontal": np.array([1.0, 0.0])}, "not positive"),
        ({"between": np.ones(7)}, r"expected \(2, M\)"),
        ({"between": np.full((2, 7), 1.1)}, r"not in \[0, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            replace(reach, **changes)
