import numpy as np
import pytest
from costs import Cubic
from mpi4py import MPI
from small_problem import make_problem

from da.analysis import analyse
from da.diagnostics.degrees_of_freedom import degrees_of_freedom, estimated, girard, information_product
from da.diagnostics.posterior import posterior
from da.minimisation.hessian import ObservationHessian
from da.outer_loops import analyse_outer

COMM = MPI.COMM_SELF


def observation_hessian():
    problem = make_problem(COMM, "tsvd", 12)
    return problem, ObservationHessian(*problem.arguments[:3], COMM)


@pytest.mark.parametrize("weight", [1.0, 30.0])
def test_estimate_meets_the_exact_number(weight):
    _, hessian = observation_hessian()
    exact = degrees_of_freedom(hessian, weight)
    assert exact.value == posterior(hessian.information, weight).degrees_of_freedom
    assert (exact.standard_error, exact.probes, exact.seed) == (0.0, 0, None)
    errors = []
    for probes in (8, 512):
        found = degrees_of_freedom(hessian, weight, small=11, probes=probes, seed=5)
        assert (found.probes, found.seed) == (probes, 5)
        assert abs(found.value - exact.value) < 4.0 * found.standard_error
        errors.append(found.standard_error)
    assert errors[1] < 0.3 * errors[0]


def test_a_seed_gives_the_same_estimate_again():
    _, hessian = observation_hessian()
    first, again, other = (degrees_of_freedom(hessian, small=0, probes=4, seed=s) for s in (1, 1, 2))
    assert first == again and first.value != other.value


def test_information_without_its_matrix():
    _, hessian = observation_hessian()
    w = np.random.default_rng(1).normal(size=12)
    np.testing.assert_allclose(information_product(hessian, w), hessian.information @ w, rtol=1e-11)


def test_no_readings():
    assert estimated(np.zeros_like, 7, 0.5).value == pytest.approx(0.0, abs=1e-14)


def test_perturbed_analyses_meet_the_exact_number():
    problem, hessian = observation_hessian()
    transform, operator, error, innovation = problem.arguments
    exact = posterior(hessian.information).degrees_of_freedom

    def analysed(d):
        return operator.observe(analyse(transform, operator, error, d, COMM).increment)

    found = girard(analysed, innovation, problem.std, COMM, operator.rows, probes=64, seed=3)
    assert 0.0 < found.standard_error < 0.5 and abs(found.value - exact) < 4.0 * found.standard_error


def test_perturbed_analyses_where_the_transform_is_not_linear():
    problem, _ = observation_hessian()
    _, operator, error, innovation = problem.arguments
    transform = Cubic(problem.transform)
    innovation = 0.1 * innovation

    def minimum(d):
        return analyse_outer(transform, operator, error, d, COMM, gradient_tolerance=1e-9).control

    def analysed(d):
        return operator.observe(transform.apply(minimum(d)))

    # the derivative of the analysis at d, reading by reading
    exact = 0.0
    for i, std in enumerate(problem.std):
        step = np.where(np.arange(40) == i, 1e-3 * std, 0.0)
        exact += (analysed(innovation + step)[i] - analysed(innovation - step)[i]) / (2e-3 * std)
    found = girard(analysed, innovation, problem.std, COMM, operator.rows, probes=24, seed=3, size=1e-3)
    assert abs(found.value - exact) < 4.0 * found.standard_error
    assert exact == pytest.approx(12.0, abs=2.0)


def test_what_cannot_be_estimated():
    with pytest.raises(ValueError, match="1 probes, expected two or more"):
        estimated(np.zeros_like, 3, probes=1)
    stiff = np.logspace(0, 12, 50)
    with pytest.raises(RuntimeError, match="conjugate gradients came to"):
        estimated(lambda w: stiff * w, 50, probes=2, max_iterations=5)
