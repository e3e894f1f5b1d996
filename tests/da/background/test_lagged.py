"""Analyses with readings of before against the dense covariance of a state with the states before it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from ranks import assert_same_on_ranks
from small_problem import N_SAMPLES, N, dense, make_problem, places, relative_difference

from da.analysis import analyse, prepare
from da.background.lag_pairs import lag_pairs, time_taper
from da.background.lagged import lagged_transform
from da.background.localisation import Taper, localised_transform
from da.diagnostics.influence import influence
from da.diagnostics.posterior import posterior
from da.observation.correlation import gaspari_cohn

COMM = MPI.COMM_SELF
TIMES, RUN = np.tile(np.arange(N_SAMPLES / 2), 2), np.repeat([0, 1], N_SAMPLES // 2)
LAGS, SCALE = (1.0, 3.0), 4.0
PAIRS = lag_pairs(TIMES, LAGS, RUN)
LAG = np.arange(40) % 3  # of the readings: now, 1 s and 3 s before


def taper(between=1.0, untapered=0):
    position, variable = places(np.arange(N))
    factors, none = np.array([[1.0, between], [between, 1.0]]), np.full(2, np.inf)
    return Taper(position, variable, np.full(2, 2.0), none, factors, untapered)


def dense_reference(problem, of, lag, scale=SCALE, pairs=PAIRS):
    """(C_xy, C_yy) from the snapshots themselves: leading modes and the rest, each at its time."""
    u, h = dense(problem)
    modes, leading = problem.transform.modes, u.shape[1] if of is None else of.untapered
    w = np.eye(N_SAMPLES) if modes.coefficients is None else modes.coefficients
    parts = [u[:, :leading] @ w[:, :leading].T, u[:, leading:] @ w[:, leading:].T]  # (N, S), the state in each snapshot
    position, variable = places(np.arange(N))
    distance, between = 1.0, 1.0
    if of is not None:
        distance = gaspari_cohn(np.abs(position[:, None, 0] - position[None, :, 0]) / of.horizontal[0])
        between = of.between[variable[:, None], variable[None]]
    factor, in_time = (N_SAMPLES - 1) / (pairs.n_pairs - 1), time_taper(pairs.lags, scale)

    def covariance(j, k):
        kept, rest = (part[:, pairs.numbers[j]] @ part[:, pairs.numbers[k]].T for part in parts)
        return factor * in_time[j, k] * between * (kept + distance * rest)

    numbers = range(len(in_time))
    blocks = {(j, k): covariance(j, k) for j in numbers for k in numbers}
    c_xy = np.stack([blocks[0, k] @ row for k, row in zip(lag, h, strict=True)], axis=1)
    c_yy = np.array([[a @ blocks[j, k] @ b for k, b in zip(lag, h, strict=True)] for j, a in zip(lag, h, strict=True)])
    return c_xy, c_yy


@pytest.mark.parametrize("kind, truncation", [("reduced", None), ("tsvd", 12), ("tsvd", N_SAMPLES - 1)])
@pytest.mark.parametrize("of", [None, taper(), taper(between=0.3)])
def test_the_analysis_is_that_of_the_dense_covariance(kind, truncation, of):
    problem = make_problem(COMM, kind, truncation)
    c_xy, c_yy = dense_reference(problem, of, LAG)
    made = lagged_transform(problem.transform, of, PAIRS, SCALE, problem.operator, LAG)
    found = analyse(made.transform, made.operator, *problem.arguments[2:], COMM)
    weights = np.linalg.solve(c_yy + np.diag(problem.std**2), problem.innovation)
    assert relative_difference(found.increment[:N], c_xy @ weights) < 1e-9
    # what readings of before observe of the analysis stands behind the state
    assert relative_difference(found.increment[N:], (c_yy @ weights)[LAG > 0]) < 1e-9
    assert relative_difference(made.operator.observe(found.increment), c_yy @ weights) < 1e-9


def test_leading_modes_stay_as_they_are():
    problem, of = make_problem(COMM, "tsvd", 12), taper(untapered=3)
    c_xy, c_yy = dense_reference(problem, of, LAG)
    made = lagged_transform(problem.transform, of, PAIRS, SCALE, problem.operator, LAG)
    found = analyse(made.transform, made.operator, *problem.arguments[2:], COMM)
    weights = np.linalg.solve(c_yy + np.diag(problem.std**2), problem.innovation)
    assert relative_difference(found.increment[:N], c_xy @ weights) < 1e-9


@pytest.mark.parametrize("of", [None, taper(untapered=2)])
def test_without_lags_it_is_the_analysis_of_now(of):
    problem = make_problem(COMM, "tsvd", 12)
    alone = problem.transform if of is None else localised_transform(problem.transform, of, problem.operator)
    made = lagged_transform(problem.transform, of, lag_pairs(TIMES, (), RUN), SCALE, problem.operator, 0 * LAG)
    expected = analyse(alone, *problem.arguments[1:], COMM)
    found = analyse(made.transform, made.operator, *problem.arguments[2:], COMM)
    assert relative_difference(found.increment, expected.increment) < 1e-10


def test_readings_of_long_before_say_nothing():
    problem = make_problem(COMM, "reduced")
    made = lagged_transform(problem.transform, taper(), PAIRS, 0.05, problem.operator, LAG)
    found = analyse(made.transform, made.operator, *problem.arguments[2:], COMM)
    ignored = np.where(LAG > 0, 1e9, problem.std)
    c_xy, c_yy = dense_reference(problem, taper(), LAG, 0.05)
    expected = c_xy @ np.linalg.solve(c_yy + np.diag(ignored**2), problem.innovation)
    assert relative_difference(found.increment[:N], expected) < 1e-6


def test_adjoint():
    problem = make_problem(COMM, "tsvd", 12)
    made = lagged_transform(problem.transform, taper(), PAIRS, SCALE, problem.operator, LAG)
    u, h, rng = made.transform, made.operator, np.random.default_rng(0)
    w, dx, y = rng.normal(size=u.n_control), rng.normal(size=N + (LAG > 0).sum()), rng.normal(size=len(LAG))
    assert u.apply(w) @ dx == pytest.approx(w @ u.adjoint(dx), rel=1e-12)
    assert h.observe(dx) @ y == pytest.approx(dx @ h.adjoint(y), rel=1e-12)


def test_posterior_and_influence_are_those_of_the_gain():
    problem = make_problem(COMM, "reduced")
    c_xy, c_yy = dense_reference(problem, taper(), LAG)
    made = lagged_transform(problem.transform, taper(), PAIRS, SCALE, problem.operator, LAG)
    hessian = prepare(made.transform, made.operator, problem.error, COMM)
    errors = posterior(hessian.information)
    r = np.diag(problem.std**2)
    hat = c_yy @ np.linalg.inv(c_yy + r)
    known = influence(errors, made.transform, made.operator, problem.error, problem.innovation)
    np.testing.assert_allclose(known.influence, np.diag(hat), rtol=1e-7)
    u = made.transform.modes.vectors[:N]
    gained = u @ u.T - u @ errors.covariance @ u.T
    expected = c_xy @ np.linalg.solve(c_yy + r, c_xy.T)
    assert relative_difference(np.diag(gained), np.diag(expected)) < 1e-8


def test_float32_modes_are_nearly_the_same():
    problem = make_problem(COMM, "tsvd", 12)
    modes = replace(problem.transform.modes, vectors=problem.transform.modes.vectors.astype(np.float32))
    rounded = replace(problem.transform, modes=modes)
    made = [lagged_transform(u, taper(), PAIRS, SCALE, problem.operator, LAG) for u in (problem.transform, rounded)]
    exact, near = (analyse(of.transform, of.operator, *problem.arguments[2:], COMM).increment for of in made)
    assert relative_difference(near, exact) < 1e-5


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_on_several_ranks(tmp_path, mpirun, ranks):
    program = Path(__file__).with_name("parallel_lagged.py")
    assert len(assert_same_on_ranks(mpirun, tmp_path, program, ranks=(1, ranks))) == 8


@pytest.mark.parametrize(
    "changed, sentence",
    [
        ({"lag": LAG[:5]}, "lags of shape .5,., expected .40,. like this rank's rows of H"),
        ({"lag": LAG + 1}, "lag number 3, expected 0 to 2"),
        ({"taper": taper(untapered=13)}, "13 leading modes without taper, but there are 12 modes"),
        ({"pairs": lag_pairs(np.arange(30.0), LAGS)}, "pairs of snapshot 29, but the modes are of 24 snapshots"),
        ({"scale": -1.0}, "time scale of -1 s"),
        ({"forgotten": True}, "modes .tsvd. without their coefficients in each snapshot"),
    ],
)
def test_what_does_not_fit_is_refused(changed, sentence):
    problem = make_problem(COMM, "tsvd", 12)
    inner = problem.transform
    if "forgotten" in changed:
        inner = replace(inner, modes=replace(inner.modes, coefficients=None))
    of = changed.get("taper", taper()), changed.get("pairs", PAIRS), changed.get("scale", SCALE)
    with pytest.raises(ValueError, match=sentence):
        lagged_transform(inner, *of, problem.operator, changed.get("lag", LAG))
