from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from mpi4py import MPI
from networks import BackwardOnly, Bent, Convolutional, Linear, made, make_latent_problem, possible, tsvd_basis, vector
from ranks import assert_same_on_ranks
from small_problem import N_SAMPLES, relative_difference
from wind_problem import make_wind

from da.analysis import analyse
from da.background.latent import decoded_transform, latent_modes, unit_modes
from da.decoded import KINK, MINIMISERS, analyse_decoded, warm_start
from da.minimisation.cost import CostFunction
from da.minimisation.minimise import MinimisationError
from models.decoder import DecoderError

COMM = MPI.COMM_SELF
FORMS = pytest.mark.parametrize("centred", [False, True])


def test_modes_are_codes_over_the_root():
    codes = vector(6 * 20).reshape(6, 20) + 3.0
    paper = latent_modes(codes, COMM, unbiased=False)
    np.testing.assert_array_equal(paper.vectors, codes)
    assert paper.n_modes == 20 and paper.n_latent == 6 and paper.n_samples == 20
    inflated = latent_modes(codes, COMM, inflation=2.0)
    np.testing.assert_allclose(inflated.vectors, 2.0 * codes / np.sqrt(19.0), rtol=1e-14)
    centred = latent_modes(codes, COMM, centred=True)
    np.testing.assert_allclose(centred.vectors @ centred.vectors.T, np.cov(codes), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(centred.mean, codes.mean(axis=1))


def test_truncation_keeps_the_leading_covariance():
    codes = vector(6 * 20).reshape(6, 20) * np.array([5.0, 3.0, 2.0, 0.1, 0.1, 0.1])[:, None]
    whole, three = latent_modes(codes, COMM), latent_modes(codes, COMM, 3)
    assert three.n_modes == 3 and latent_modes(codes, COMM, 0.99).n_modes == 3
    covariance = whole.vectors @ whole.vectors.T
    values, vectors = np.linalg.eigh(covariance)
    leading = (vectors[:, 3:] * values[3:]) @ vectors[:, 3:].T
    np.testing.assert_allclose(three.vectors @ three.vectors.T, leading, atol=1e-12)


def test_what_modes_cannot_be_made_of():
    codes = vector(6 * 20).reshape(6, 20)
    with pytest.raises(ValueError, match=r"shape \(6, 1\)"):
        latent_modes(codes[:, :1], COMM)
    with pytest.raises(ValueError, match="same, so there is no mode"):
        latent_modes(np.zeros((6, 20)), COMM)
    with pytest.raises(ValueError, match="τ = 7, expected 1 to 6"):
        latent_modes(codes, COMM, 7)
    codes[2, 4] = np.nan
    with pytest.raises(ValueError, match="snapshot 4 "):
        latent_modes(codes, COMM)


def test_the_two_forms():
    network = Bent(tsvd_basis())
    paper, centred = made(network, False), made(network, True)
    w, decoder = vector(N_SAMPLES), centred.decoder
    np.testing.assert_allclose(paper.transform.apply(w), paper.decoder.apply(paper.transform.modes.vectors @ w))
    base = decoder.encode(0.7 * centred.anomalies[:, 3])
    expected = decoder.apply(base + centred.transform.modes.vectors @ w) - decoder.apply(base)
    np.testing.assert_allclose(centred.transform.apply(w), expected, rtol=1e-12, atol=1e-12)
    # only the centred form leaves the background where w = 0
    assert not centred.transform.apply(np.zeros(N_SAMPLES)).any()
    assert np.linalg.norm(paper.transform.apply(np.zeros(N_SAMPLES))) > 1.0


def test_forms_are_not_mixed():
    problem = make_latent_problem(COMM, Linear(tsvd_basis()))
    codes = problem.decoder.encode(problem.anomalies)
    for centred, background, told in ((True, None, "without"), (False, problem.anomalies[:, 0], "not centred")):
        with pytest.raises(ValueError, match=told):
            decoded_transform(problem.decoder, latent_modes(codes, COMM, centred=centred), background)
    with pytest.raises(ValueError, match="5 numbers, the network has 6"):
        decoded_transform(problem.decoder, latent_modes(codes[:5], COMM))


@FORMS
@pytest.mark.parametrize("network", [Bent, BackwardOnly])
def test_taylor_of_the_cost_through_the_decoder(network, centred):
    problem = made(network(tsvd_basis()), centred)
    cost = CostFunction(problem.transform, *problem.arguments, COMM)
    w, p = vector(N_SAMPLES, 1), vector(N_SAMPLES, 2)
    value, gradient = cost.value_and_gradient(w)
    remainder = [abs(cost.value(w + h * p) - value - h * gradient @ p) for h in (1e-3, 1e-4)]
    assert 90.0 < remainder[0] / remainder[1] < 110.0


@FORMS
@pytest.mark.parametrize("truncation", [None, 6])
@pytest.mark.parametrize("method", MINIMISERS)
def test_with_the_factors_of_tsvd_it_is_tsvd(centred, truncation, method):
    # Mack et al. 2020: a linear, lossless compression changes nothing; here for any H and R
    problem = made(Linear(tsvd_basis()), centred, truncation)
    expected = analyse(*problem.problem.arguments, COMM)
    found = analyse_decoded(problem.transform, *problem.arguments, COMM, method=method)
    assert relative_difference(found.increment, expected.increment) < 1e-8
    assert found.trace[-1].cost == pytest.approx(expected.trace[-1].cost, rel=1e-8)
    assert found.chi_squared == pytest.approx(expected.chi_squared, rel=1e-8)


@FORMS
def test_begins_at_tsvd_where_that_is_lower(centred):
    problem = made(Linear(tsvd_basis()), centred)
    expected = analyse(*problem.problem.arguments, COMM)
    cost = CostFunction(problem.transform, *problem.arguments, COMM)
    start = warm_start(cost, problem.transform, expected.increment)
    assert start.any() and cost.value(start) == pytest.approx(expected.trace[-1].cost, rel=1e-10)
    # with these factors it is the minimum already
    found = analyse_decoded(problem.transform, *problem.arguments, COMM, first_increment=expected.increment)
    assert found.iterations == 0 and relative_difference(found.increment, expected.increment) < 1e-8
    # an increment that goes the other way is no place to begin
    assert not warm_start(cost, problem.transform, -expected.increment).any()


@FORMS
def test_a_bent_decoder_gets_below_tsvd_from_either_start(centred):
    problem = made(Bent(tsvd_basis()), centred)
    arguments = possible(problem)
    first = analyse(problem.problem.transform, *arguments[1:], COMM).increment
    warm = analyse_decoded(*arguments, COMM, first_increment=first)
    cold = analyse_decoded(*arguments, COMM)
    assert warm.trace[0].cost < 0.5 * cold.trace[0].cost
    assert warm.trace[-1].cost < 0.9 * warm.trace[0].cost
    assert relative_difference(warm.increment, cold.increment) < 1e-8
    np.testing.assert_allclose(problem.transform.apply(warm.control), warm.increment)


def test_speeds_through_a_decoder():
    # H is not linear either, and is taken where the decoder is
    wind, problem = make_wind(COMM), made(Bent(tsvd_basis()), True)
    arguments = problem.transform, wind.operator, wind.error, wind.innovation
    cost = CostFunction(*arguments, COMM)
    w, p = vector(N_SAMPLES, 1), vector(N_SAMPLES, 2)
    value, gradient = cost.value_and_gradient(w)
    remainder = [abs(cost.value(w + h * p) - value - h * gradient @ p) for h in (1e-4, 1e-5)]
    assert 90.0 < remainder[0] / remainder[1] < 110.0
    found = analyse_decoded(*arguments, COMM)
    residual = wind.innovation - wind.observe(found.increment)
    assert found.residual.rms == pytest.approx(np.sqrt(np.mean(residual**2)), rel=1e-9)
    assert found.trace[-1].gradient_norm < 1e-7 * found.trace[0].gradient_norm


@FORMS
@pytest.mark.parametrize("method", MINIMISERS)
def test_float32_network(centred, method):
    double, single = (made(Bent(tsvd_basis().astype(t)), centred) for t in (np.float64, np.float32))
    arguments = possible(double)
    expected = analyse_decoded(*arguments, COMM)
    found = analyse_decoded(single.transform, *arguments[1:], COMM, method=method)
    assert found.increment.dtype == np.float64
    assert found.trace[-1].cost == pytest.approx(expected.trace[-1].cost, rel=2e-2)
    assert relative_difference(found.increment, expected.increment) < 5e-2
    assert found.evaluations < 100


@pytest.mark.parametrize("method", ["lmvm", "gauss_newton"])
def test_a_kink_is_no_failure(method):
    # readings that this network cannot meet drive it into the kinks of its PReLU
    problem = made(Convolutional().double(), False)
    found = analyse_decoded(problem.transform, *problem.arguments, COMM, method=method)
    assert found.reason == KINK and found.trace[-1].cost < found.trace[0].cost - 1.0


class Crooked(Linear):
    """Its derivative is not that of its values."""

    def g(self, z):
        return super().g(z - 2.0 * z + 2.0 * z.detach())


@pytest.mark.parametrize("method", ["lmvm", "gauss_newton"])
def test_a_wrong_derivative_is_a_failure(method):
    problem = made(Linear(tsvd_basis()), False)
    problem.decoder.network.g = Crooked(tsvd_basis()).g
    with pytest.raises(MinimisationError, match="derivatives are those of its values|no step|gradient belongs"):
        analyse_decoded(problem.transform, *problem.arguments, COMM, method=method)


def test_what_is_wrong_is_told():
    problem = made(Linear(tsvd_basis()), False)
    with pytest.raises(ValueError, match="'newton', expected one of lmvm"):
        analyse_decoded(problem.transform, *problem.arguments, COMM, method="newton")
    half = replace(problem.transform, decoder=SimpleNamespace(dtype=np.dtype(np.float16)))
    with pytest.raises(ValueError, match="computes in float16, expected float64 or float32"):
        analyse_decoded(half, *problem.arguments, COMM)
    problem.decoder.network.g = lambda z: 1 / 0
    with pytest.raises(DecoderError, match="ZeroDivisionError"):
        analyse_decoded(problem.transform, *problem.arguments, COMM)


def test_same_on_one_two_and_three_ranks(mpirun, tmp_path):
    assert len(assert_same_on_ranks(mpirun, tmp_path, "tests/da/background/parallel_decoded.py", timeout=200)) == 30


def test_errors_of_codes_that_no_states_made():
    unit = unit_modes(6, inflation=2.0)
    assert np.array_equal(unit.vectors, 2.0 * np.eye(6)) and unit.n_samples == 0 and not unit.centred
    deviations = np.array([0.1, 0.4, 0.2])
    told = unit_modes(3, deviations=deviations, centred=True)
    assert np.array_equal(told.vectors, np.diag(deviations)) and told.centred
    assert told.singular_values.tolist() == [0.4, 0.2, 0.1]
    for wrong in (np.ones(2), np.array([1.0, 0.0, 1.0]), np.array([1.0, np.nan, 1.0])):
        with pytest.raises(ValueError, match="positive numbers"):
            unit_modes(3, deviations=wrong)
