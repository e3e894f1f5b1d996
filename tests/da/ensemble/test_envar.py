"""4DEnVar and hybrid against dense Kalman filters, and each other."""

from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI
from ranks import assert_same_on_ranks
from scipy.linalg import cholesky, sqrtm
from small_ensemble import N_MEMBERS, make_ensemble
from small_problem import N, make_problem, relative_difference

from da.analysis import analyse
from da.background.modulation import modulated_transform
from da.diagnostics.checks import adjoint_gap, taylor_slope, whole_dot
from da.ensemble.ensemble import anomalies_of, mean_of
from da.ensemble.envar import Patterns, ensemble_part, envar, patterns_of
from da.ensemble.hybrid import StaticErrors, hybrid
from da.ensemble.subspace import ObservedPart, SubspaceCost, kalman, observed_subspace, spectrum

COMM = MPI.COMM_SELF


def patterns(small):
    return patterns_of(small.taper, small.readings, small.variable, COMM)


def covariance(small, of=None):
    """B = C Cᵀ ∘ X Xᵀ, whole."""
    sample = small.scaled @ small.scaled.T
    return sample if of is None else (of.rows @ of.rows.T) * sample


def dense_update(small, b, gain_of):
    """Members by the textbook's gains: means by K, anomalies by the square root's (Whitaker & Hamill 2002)."""
    h = np.eye(N)[small.index]
    whitening = np.linalg.inv(cholesky(small.matrix, lower=True))
    seen = whitening @ h @ b @ h.T @ whitening.T
    root = np.real(sqrtm(np.eye(len(h)) + seen))
    anomaly_gain = gain_of @ h.T @ whitening.T @ np.linalg.inv(root) @ np.linalg.inv(root + np.eye(len(h))) @ whitening
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + small.matrix)
    anomalies = anomalies_of(small.members)
    mean = mean_of(small.members) + gain @ small.readings.innovation
    return mean, anomalies - anomaly_gain @ anomalies[small.index]


@pytest.mark.parametrize("correlated", [False, True])
@pytest.mark.parametrize("n_observed", [4, 40])
@pytest.mark.parametrize("localised", [False, True])
def test_members_are_those_of_the_dense_gains(localised, n_observed, correlated):
    small = make_ensemble(COMM, correlated=correlated, n_observed=n_observed)
    of = patterns(small) if localised else None
    b = covariance(small, of)
    result = envar(small.readings, COMM, of).state(small.members)
    mean, anomalies = dense_update(small, b, b)
    assert relative_difference(mean_of(result) - mean_of(small.members), mean - mean_of(small.members)) < 1e-10
    assert relative_difference(anomalies_of(result), anomalies) < 1e-10


def test_without_localisation_members_have_the_kalman_filters_covariance():
    small = make_ensemble(COMM, correlated=True)
    b, h = covariance(small), np.eye(N)[small.index]
    result = anomalies_of(envar(small.readings, COMM).state(small.members)) / np.sqrt(N_MEMBERS - 1)
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + small.matrix)
    assert relative_difference(result @ result.T, b - gain @ h @ b) < 1e-10


def test_without_localisation_it_is_the_symmetric_square_root():
    small = make_ensemble(COMM)
    y = small.readings.whitened()[1] / np.sqrt(N_MEMBERS - 1)
    transform = np.linalg.inv(np.real(sqrtm(np.eye(N_MEMBERS) + y.T @ y)))
    result = anomalies_of(envar(small.readings, COMM).state(small.members))
    assert relative_difference(result, anomalies_of(small.members) @ transform) < 1e-10


def test_taken_at_the_rows_patterns_make_the_modulated_transform():
    """The same covariance as that of static modes with the same taper (`da.background.modulation`)."""
    small = make_ensemble(COMM)
    of, made = patterns(small), modulated_transform(small.static.transform, small.taper)
    assert relative_difference(of.rows, made.tapered) < 1e-12
    np.testing.assert_allclose(of.readings, made.tapered[small.index], rtol=1e-12, atol=1e-14)


def test_with_lengths_beyond_the_domain_localisation_is_none():
    """Between the fields, too: `between` is one here."""
    small = make_ensemble(COMM)
    ones = Patterns(np.ones((N, 1)), np.ones((len(small.readings), 1)))
    with_ones, without = (envar(small.readings, COMM, of).state(small.members) for of in (ones, None))
    assert relative_difference(with_ones, without) < 1e-12


def test_parameters_follow_the_unlocalised_update():
    small = make_ensemble(COMM)
    parameters = small.ensemble.parameters
    localised, without = (envar(small.readings, COMM, of).parameters(parameters) for of in (patterns(small), None))
    assert relative_difference(localised, without) < 1e-12
    both = np.concatenate([small.members, parameters])
    b = anomalies_of(both) @ anomalies_of(both).T / (N_MEMBERS - 1)
    h = np.eye(len(both))[small.index]
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + small.matrix)
    moved = mean_of(without) - mean_of(parameters)
    assert relative_difference(moved, (gain @ small.readings.innovation)[N:]) < 1e-10


def subspace(small):
    error = small.readings.error
    static = ObservedPart(small.static.observed / error.std_local[:, None], np.ones((len(small.readings), 1)))
    return observed_subspace([static, ensemble_part(small.readings, patterns(small))], error)


@pytest.mark.parametrize("correlated", [False, True])
def test_products_are_those_of_the_dense_matrix(correlated):
    small = make_ensemble(COMM, n_observed=12, correlated=correlated)
    of, rng = subspace(small), np.random.default_rng(0)
    dense = np.concatenate([part.rows(slice(None)) for part in of.parts], axis=1)
    root = cholesky(small.matrix, lower=True)
    dense = np.linalg.solve(root, np.sqrt(np.diag(small.matrix))[:, None] * dense)
    w, z = rng.normal(size=(of.n_control, 3)), rng.normal(size=(12, 3))
    assert relative_difference(of.observe(w), dense @ w) < 1e-12
    assert relative_difference(of.adjoint(z), dense.T @ z) < 1e-12
    assert relative_difference(of.observe(w[:, 0]), dense @ w[:, 0]) < 1e-12
    assert relative_difference(of.covariance(), dense @ dense.T) < 1e-12
    assert relative_difference(of.information(), dense.T @ dense) < 1e-12
    gap = adjoint_gap(of.observe, of.adjoint, w[:, 0], z[:, 0], whole_dot, whole_dot)
    assert gap < 1e-13


def test_taylor():
    small, rng = make_ensemble(COMM), np.random.default_rng(1)
    cost = SubspaceCost(subspace(small), small.readings.whitened()[0])
    slope, _ = taylor_slope(cost, *rng.normal(size=(2, cost.n_control)))
    assert slope == pytest.approx(2.0, abs=1e-3)
    w, p = rng.normal(size=(2, cost.n_control))
    ahead, here = (cost.value_and_gradient(v)[1] for v in (w + p, w))
    assert relative_difference(ahead - here, cost.hessian_product(p)) < 1e-10


@pytest.mark.parametrize("n_observed", [4, 40])
def test_gains_of_either_side_are_the_same(n_observed):
    """With few readings it is that of G Gᵀ, with many that of GᵀG."""
    small = make_ensemble(COMM, n_observed=n_observed)
    of, z = observed_subspace([ensemble_part(small.readings, None)], small.readings.error), small.readings.whitened()[0]
    made = spectrum(of, COMM)
    assert made.of_readings == (n_observed < N_MEMBERS)
    dense = of.parts[0].rows(slice(None))
    expected = np.linalg.solve(np.eye(N_MEMBERS) + dense.T @ dense, dense.T @ z)
    assert relative_difference(made.gain(kalman, z), expected) < 1e-10


def test_tao_finds_it_without_its_start():
    small = make_ensemble(COMM)
    of = patterns(small)
    zero = np.zeros(N_MEMBERS * of.rows.shape[1])
    start, without = envar(small.readings, COMM, of), envar(small.readings, COMM, of, start=zero)
    assert relative_difference(without.weights, start.weights) < 1e-9
    assert without.summary()["iterations"] > start.summary()["iterations"]


def test_the_summary_has_the_cost():
    small = make_ensemble(COMM)
    summary = envar(small.readings, COMM, patterns(small)).summary()
    assert summary["method"] == "4denvar" and summary["cost"] < summary["cost_initial"]
    observation = 0.5 * summary["chi_squared"] * len(small.readings)
    assert summary["cost"] == pytest.approx(summary["cost_background"] + observation, rel=1e-10)
    assert 0.0 < summary["degrees_of_freedom"] < len(small.readings)


def test_without_readings_nothing_changes():
    small = make_ensemble(COMM, n_observed=0)
    updates = [envar(small.readings, COMM, of) for of in (None, patterns(small))]
    for update in [*updates, hybrid(small.readings, COMM, small.static)]:
        np.testing.assert_array_equal(update.state(small.members), small.members)
        np.testing.assert_array_equal(update.parameters(small.ensemble.parameters), small.ensemble.parameters)
        assert update.summary()["reason"] == "no readings" and update.summary()["chi_squared"] is None


@pytest.mark.parametrize("weights", [(0.3, 0.7), (1.0, 1.0)])
def test_hybrid_is_the_kalman_filter_of_both_covariances(weights):
    small = make_ensemble(COMM, correlated=True)
    of = patterns(small)
    u = small.static.transform.rows(slice(None))
    b, h = weights[0] * u @ u.T + weights[1] * covariance(small, of), np.eye(N)[small.index]
    gain = b @ h.T @ np.linalg.inv(h @ b @ h.T + small.matrix)
    update = hybrid(
        small.readings, COMM, small.static, of, static_weight=weights[0], ensemble_weight=weights[1]
    )  # fmt: skip
    result = update.state(small.members)
    moved = mean_of(result) - mean_of(small.members)
    assert relative_difference(moved, gain @ small.readings.innovation) < 1e-10
    own = envar(small.readings, COMM, of)
    assert relative_difference(anomalies_of(result), anomalies_of(own.state(small.members))) < 1e-10
    parameters = small.ensemble.parameters
    assert relative_difference(update.parameters(parameters), own.parameters(parameters)) < 1e-10


def test_hybrid_of_one_part_is_that_part():
    small, problem = make_ensemble(COMM), make_problem(COMM, "tsvd", 8)
    of = patterns(small)
    ensemble = hybrid(small.readings, COMM, small.static, of, static_weight=0.0, ensemble_weight=1.0)
    assert (
        relative_difference(ensemble.state(small.members), envar(small.readings, COMM, of).state(small.members)) < 1e-10
    )
    static = hybrid(small.readings, COMM, small.static, of, static_weight=1.0, ensemble_weight=0.0)
    increment = analyse(*problem.arguments, COMM).increment
    moved = mean_of(static.state(small.members)) - mean_of(small.members)
    assert relative_difference(moved, increment) < 1e-10


def test_what_does_not_fit_is_refused():
    small = make_ensemble(COMM)
    of = patterns(small)
    with pytest.raises(ValueError, match="299 rows, expected the 300 that the update is localised for"):
        envar(small.readings, COMM, of).state(small.members[1:])
    with pytest.raises(ValueError, match="expected 10 columns as in the analysis"):
        envar(small.readings, COMM).state(small.members[:, 1:])
    with pytest.raises(ValueError, match="static weight -1.0, expected a number of zero or more"):
        hybrid(small.readings, COMM, small.static, static_weight=-1.0)
    with pytest.raises(ValueError, match=r"static modes at the readings of shape \(39, 8\), expected \(40, 8\)"):
        hybrid(small.readings, COMM, StaticErrors(small.static.transform, small.static.observed[1:]))
    with pytest.raises(ValueError, match="1 rows, expected the 300 of the static modes"):
        hybrid(small.readings, COMM, small.static).state(small.members[:1])
    far = np.full_like(small.readings.place, 1e3)
    with pytest.raises(ValueError, match="lies outside the domain"):
        patterns_of(small.taper, type(small.readings)(
            small.readings.innovation, small.readings.anomalies, small.readings.error, far, small.readings.field
        ), small.variable, COMM)  # fmt: skip


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_same_on_several_ranks(tmp_path, mpirun, ranks):
    program = Path(__file__).with_name("parallel_envar.py")
    assert len(assert_same_on_ranks(mpirun, tmp_path, program, ranks=(1, ranks))) == 6
