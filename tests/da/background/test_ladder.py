"""Tapers of several weighted lengths, and weights by left-out readings, against dense references."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from ranks import assert_same_on_ranks
from small_problem import N, dense, make_problem, places, relative_difference

from da.analysis import analyse
from da.background.localisation import Ladder, Taper, localised_transform
from da.diagnostics.left_out import left_out_innovation
from da.diagnostics.length_weights import LengthRule, left_out_losses
from da.observation.correlation import gaspari_cohn

COMM = MPI.COMM_SELF
LENGTHS = np.array([np.inf, 3.0, 1.0])
WEIGHTS = np.array([[0.2, 0.0], [0.3, 0.5], [0.4, 0.4]])
RULE = LengthRule(LENGTHS, 0.5, 2.0, 0.2)


def taper(between=1.0, weights=WEIGHTS):
    position, variable = places(np.arange(N))
    without, factors = np.full(2, np.inf), np.array([[1.0, between], [between, 1.0]])
    return Taper(position, variable, without, without, factors, 0, Ladder(LENGTHS, 0.5, weights))


def written_out(of):
    """T of all pairs, one length after another."""
    apart = (of.position[:, None] - of.position[None]) / [1.0, 1.0, 0.5]
    distance, roots = np.linalg.norm(apart, axis=2), np.sqrt(of.ladder.weights[:, of.variable])
    lengths = zip(roots, LENGTHS, strict=True)
    return sum(root[:, None] * root[None] * gaspari_cohn(distance / length) for root, length in lengths)


def test_the_taper_is_the_weighted_sum_and_a_covariance():
    of = taper()
    between, factor = of.factors(of)
    assert np.all(between == 1.0)
    np.testing.assert_allclose(factor, written_out(of), atol=1e-6)
    np.testing.assert_allclose(np.diag(factor), WEIGHTS.sum(axis=0)[of.variable], rtol=1e-12)
    assert np.linalg.eigvalsh(factor)[0] > -1e-5
    assert of.falls_with_distance and of.rows(slice(3)).ladder is of.ladder


def test_one_length_is_the_taper_of_that_length():
    plain = replace(taper(), ladder=None, horizontal=np.full(2, 3.0), vertical=np.full(2, 1.5))
    alone = taper(weights=np.array([[0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]))
    np.testing.assert_allclose(alone.factors(alone)[1], plain.factors(plain)[1], atol=1e-6)


@pytest.mark.parametrize("between", [1.0, 0.3, 0.0])
def test_the_analysis_is_that_of_the_dense_covariance(between):
    problem, of = make_problem(COMM, "tsvd", 12), taper(between)
    u, h = dense(problem)
    factor, distance = of.factors(of)
    b = factor * distance * (u @ u.T)
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + np.diag(problem.std**2))
    found = analyse(localised_transform(problem.transform, of, problem.operator), *problem.arguments[1:], COMM)
    assert relative_difference(found.increment, gain @ problem.innovation) < 1e-10


def test_hardly_any_weight_leaves_the_forecast():
    problem = make_problem(COMM, "tsvd", 12)
    whole, hardly = (
        analyse(localised_transform(problem.transform, of, problem.operator), *problem.arguments[1:], COMM).increment
        for of in (taper(), taper(weights=1e-6 * WEIGHTS))
    )
    assert 0.0 < np.abs(hardly).max() < 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_on_several_ranks(tmp_path, mpirun, ranks):
    program = Path(__file__).with_name("parallel_ladder.py")
    assert len(assert_same_on_ranks(mpirun, tmp_path, program, ranks=(1, ranks))) == 2


def readings(m=9, seed=1):
    rng = np.random.default_rng(seed)
    position = rng.uniform(0.0, 5.0, (m, 3))
    position[1] = position[0] + 0.1  # a neighbour
    return rng.normal(size=(m, 5)), position, rng.normal(size=m), 0.2 + 0.1 * rng.random(m)


def test_losses_are_those_of_analyses_made_without_the_readings():
    hu, position, d, error = readings()
    expected = []
    variance = (hu**2).sum(axis=1) + error**2
    apart = np.linalg.norm(position[:, None] - position[None], axis=2)
    distance = np.linalg.norm((position[:, None] - position[None]) / [1.0, 1.0, 0.5], axis=2)
    for length in LENGTHS:
        c = gaspari_cohn(distance / length) * (hu @ hu.T)
        missed = []
        for i in range(len(d)):
            others = np.flatnonzero(apart[i] > RULE.near)
            d_others = c[np.ix_(others, others)] + np.diag(error[others] ** 2)
            missed.append(d[i] - c[i, others] @ np.linalg.solve(d_others, d[others]))
        expected.append(np.sum(np.array(missed) ** 2 / variance))
    expected.append(np.sum(d**2 / variance))
    np.testing.assert_allclose(left_out_losses(hu, position, d, error, RULE), expected, rtol=1e-9)


def test_a_neighbour_left_out_with_a_reading_says_nothing_of_it():
    hu, _, d, error = readings()
    inverse = np.linalg.inv(hu @ hu.T + np.diag(error**2))
    alone = left_out_innovation(inverse, d, [np.array([i]) for i in range(len(d))])
    together = left_out_innovation(inverse, d, [np.array([0, 1]), *(np.array([i]) for i in range(1, len(d)))])
    assert together[0] != pytest.approx(alone[0]) and together[1:].tolist() == alone[1:].tolist()


def test_losses_choose_the_length_that_the_errors_have():
    rng, rule = np.random.default_rng(4), LengthRule(np.array([np.inf, 8.0, 2.0, 0.5]), 1.0, 5.0, 0.0)
    position = np.column_stack([rng.uniform(0.0, 20.0, 60), np.zeros((60, 2))])
    apart = np.abs(position[:, None, 0] - position[None, :, 0])
    losses, modes = None, rng.normal(size=(60, 400)) / 20.0 + 1.0  # the sample's covariances reach everywhere
    for _ in range(6):
        root = np.linalg.cholesky(gaspari_cohn(apart / 2.0) * (modes @ modes.T) + 1e-9 * np.eye(60))
        d = root @ rng.normal(size=60) + 0.1 * rng.normal(size=60)
        losses = rule.joined(losses, left_out_losses(modes, position, d, np.full(60, 0.1), rule))
    weights = rule.weights(losses)
    assert np.argmin(losses) == 2 and np.argmax(weights) == 2 and weights[1:3].sum() > 0.9
    nothing = None
    for _ in range(6):
        d = np.where(np.argsort(np.argsort(position[:, 0])) % 2, 20.0, -20.0)  # what no neighbour foresees
        nothing = rule.joined(nothing, left_out_losses(modes, position, d, np.full(60, 0.1), rule))
    assert np.argmin(nothing) >= 3 and rule.weights(nothing)[:2].sum() < 0.1


def test_losses_fade_and_weights_sum_to_one_with_that_of_no_increment():
    before, now = np.array([4.0, 2.0, 6.0, 8.0]), np.array([1.0, 3.0, 0.0, 2.0])
    assert RULE.joined(before, now).tolist() == [3.0, 4.0, 3.0, 6.0]
    assert RULE.joined(None, now) is now
    raw = np.exp(-0.25 * now)
    np.testing.assert_allclose(RULE.weights(now), raw[:-1] / raw.sum(), rtol=1e-12)
    assert RULE.weights(None).tolist() == [0.25, 0.25, 0.25]
    assert 0.0 < RULE.weights(np.array([1e6, 1e6, 1e6, 0.0])).sum() < 1e-5


def test_half_distance():
    alone = Ladder(np.array([np.inf, 3.0]), 0.5, np.array([[0.0, 0.7], [0.8, 0.1]]))
    assert gaspari_cohn(np.array(alone.half_distance(0) / 3.0)) == pytest.approx(0.5, abs=1e-3)
    assert alone.half_distance(1) == np.inf


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected a row for 3 lengths"):
        Ladder(LENGTHS, 0.5, np.zeros((2, 2)))
    with pytest.raises(ValueError, match="length is not positive"):
        Ladder(np.array([0.0]), 0.5, np.zeros((1, 2)))
    with pytest.raises(ValueError, match="sum is above one"):
        Ladder(LENGTHS, 0.5, np.full((3, 2), 0.5))
    with pytest.raises(ValueError, match="for 1 variables, expected 2"):
        taper(weights=np.zeros((3, 1)))
