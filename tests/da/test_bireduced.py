import json

import numpy as np
import pytest
from mpi4py import MPI
from networks import Bent, Linear, make_decoder, make_latent_problem, tsvd_basis, vector
from small_problem import N_SAMPLES, N, relative_difference

from da.analysis import analyse
from da.background.latent import decoded_transform, latent_modes
from da.bireduced import ReportedInnovation, bireduced, latent_error, latent_minimum, observation_encoded
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

COMM = MPI.COMM_SELF
FORMS = pytest.mark.parametrize("centred", [False, True])


def made(network, centred=False, truncation=None, unbiased=True):
    problem = make_latent_problem(COMM, network)
    codes = problem.decoder.encode(problem.anomalies)
    modes = latent_modes(codes, COMM, truncation, centred=centred, unbiased=unbiased)
    problem.background = 0.7 * problem.anomalies[:, 3] if centred else None
    problem.transform = decoded_transform(problem.decoder, modes, problem.background)
    problem.innovation = problem.scale * (0.3 * vector(seed=1) + problem.anomalies[:, 5] / problem.scale)
    return problem


@FORMS
@pytest.mark.parametrize("truncation", [None, 6])
@pytest.mark.parametrize("weight", [1.0, 0.1])
def test_with_the_factors_of_tsvd_it_is_tsvd(centred, truncation, weight):
    # Mack et al. 2020: all values observed, R = σ_o² I among scaled ones, R_l = σ_o² I
    problem = made(Linear(tsvd_basis()), centred, truncation)
    error = diagonal_error(np.sqrt(0.05) * problem.scale, slice(None))
    everywhere = selection(np.arange(N), N, COMM)
    expected = analyse(problem.problem.transform, everywhere, error, problem.innovation, COMM, background_weight=weight)
    found = bireduced(problem.transform, problem.innovation, COMM, background_weight=weight)
    assert relative_difference(found.increment, expected.increment) < 1e-8
    assert found.trace[1].background == pytest.approx(expected.trace[-1].background, rel=1e-8)
    assert found.residual.rms == pytest.approx(expected.residual.rms, rel=1e-8)
    assert found.innovation.rms == pytest.approx(expected.innovation.rms, rel=1e-10)
    assert len(found.control) == (truncation or N_SAMPLES)


def variances(kind):
    rng = np.random.default_rng(4)
    root = rng.normal(size=(6, 6))
    given = {"one": 0.05, "each": 0.05 + rng.random(6), "matrix": root @ root.T + np.eye(6)}[kind]
    whole = given if kind == "matrix" else np.diag(np.broadcast_to(given, 6))
    return given, whole


@FORMS
@pytest.mark.parametrize("kind", ["one", "each", "matrix"])
@pytest.mark.parametrize("truncation", [None, 3])
def test_minimum_of_the_papers_cost(kind, centred, truncation):
    # more modes than latent numbers, and fewer: both ways of solving
    problem = made(Bent(tsvd_basis()), centred, truncation)
    given, whole = variances(kind)
    found = bireduced(problem.transform, problem.innovation, COMM, latent_variance=given, background_weight=0.3)
    v, encode = problem.transform.modes.vectors, problem.decoder.encode
    if centred:
        d = encode(problem.background + problem.innovation) - encode(problem.background)
    else:
        d = encode(problem.innovation)
    inverse = np.linalg.inv(whole)
    w = np.linalg.solve(0.3 * np.eye(v.shape[1]) + v.T @ inverse @ v, v.T @ inverse @ d)
    np.testing.assert_allclose(found.control, w, rtol=1e-9, atol=1e-11)
    decoded = problem.decoder.apply(v @ w)
    if centred:
        base = encode(problem.background)
        decoded = problem.decoder.apply(base + v @ w) - problem.decoder.apply(base)
    assert relative_difference(found.increment, decoded) < 1e-9
    start, end = found.trace
    observation = 0.5 * (d - v @ w) @ inverse @ (d - v @ w)
    assert start.cost == pytest.approx(0.5 * d @ inverse @ d) and start.background == 0.0
    assert (end.background, end.observation) == pytest.approx((0.15 * w @ w, observation))
    assert end.gradient_norm < 1e-10 * start.gradient_norm
    assert found.chi_squared == pytest.approx(2.0 * observation / 6)


def test_one_encode_and_one_decode():
    problem = made(Bent(tsvd_basis()))
    before = problem.decoder.passes()
    found = bireduced(problem.transform, problem.innovation, COMM)
    after = problem.decoder.passes()
    assert (after.encodes - before.encodes, after.decodes - before.decodes, after.adjoints) == (1, 1, 0)
    json.dumps(found.summary(), allow_nan=False)


def test_what_was_prepared_is_used_again():
    problem = made(Bent(tsvd_basis()))
    modes = problem.transform.modes
    minimum = latent_minimum(modes, latent_error(0.2, 6), COMM, 0.1)
    for factor in (1.0, -2.0):
        d = factor * problem.innovation
        expected = bireduced(problem.transform, d, COMM, latent_variance=0.2, background_weight=0.1)
        found = bireduced(problem.transform, d, COMM, minimum=minimum)
        np.testing.assert_array_equal(found.control, expected.control)
    other = latent_minimum(latent_modes(modes.vectors, COMM), latent_error(0.2, 6), COMM)
    with pytest.raises(ValueError, match="other latent modes"):
        bireduced(problem.transform, problem.innovation, COMM, minimum=other)


def test_values_without_a_scale_are_not_read():
    problem = made(Bent(tsvd_basis()))
    scale = np.where(np.arange(N) % 5 == 0, 0.0, problem.scale)
    decoder = make_decoder(COMM, Bent(tsvd_basis()), scale)
    transform = decoded_transform(decoder, problem.transform.modes)
    d = np.where(scale > 0.0, problem.innovation, np.nan)
    found = bireduced(transform, d, COMM)
    assert found.innovation.count == 240 and not found.increment[scale == 0.0].any()
    assert np.isfinite(found.residual.rms)
    d[1] = np.nan
    with pytest.raises(ValueError, match="holds a NaN"):
        bireduced(transform, d, COMM)


@FORMS
def test_given_latent_innovation(centred):
    # what an encoder of readings gives for the readings of bireduced is bireduced
    problem = made(Bent(tsvd_basis()), centred)
    given, _ = variances("matrix")
    expected = bireduced(problem.transform, problem.innovation, COMM, latent_variance=given)
    code = problem.transform.encode_increment(problem.innovation)
    found = observation_encoded(problem.transform, code, COMM, latent_variance=given)
    np.testing.assert_array_equal(found.increment, expected.increment)
    # told of the codes, or of readings if there are some
    assert found.innovation.count == 6
    left = code - problem.transform.modes.vectors @ found.control
    assert found.residual.rms == pytest.approx(np.sqrt(np.mean(left**2)))
    h, d = problem.problem.operator, problem.problem.innovation
    told = observation_encoded(
        problem.transform, code, COMM, latent_variance=given, reported=ReportedInnovation(d, h.observe)
    )
    assert told.residual.rms == pytest.approx(np.sqrt(np.mean((d - h.observe(found.increment)) ** 2)))
    assert told.innovation.count == 40
    for wrong in (code[:5], np.where(np.arange(6) == 2, np.nan, code)):
        with pytest.raises(ValueError, match=r"expected \(6,\) finite"):
            observation_encoded(problem.transform, wrong, COMM)


def test_what_is_wrong_is_told():
    problem = made(Linear(tsvd_basis()))
    with pytest.raises(ValueError, match=r"innovation of shape \(299,\), expected \(300,\)"):
        bireduced(problem.transform, problem.innovation[:-1], COMM)
    for wrong, told in ((0.0, "variance 0,"), (np.ones(5), r"shape \(5,\)"), (np.ones((6, 5)), r"shape \(6, 5\)")):
        with pytest.raises(ValueError, match=told):
            latent_error(wrong, 6)
    with pytest.raises(ValueError, match="positive definite"):
        latent_error(np.ones((6, 6)), 6)
