"""Analyses in the latent space of a variational network: its prior N(0, I), or the deviations of one code, as B_l."""

import numpy as np
import pytest
from mpi4py import MPI
from networks import Bent, Linear, make_latent_problem, tsvd_basis
from small_problem import relative_difference

from da.background.latent import decoded_transform, unit_modes
from da.bireduced import bireduced
from da.decoded import analyse_decoded
from da.diagnostics.checks import taylor_slope
from da.minimisation.cost import CostFunction

COMM = MPI.COMM_SELF
DEVIATIONS = np.array([0.2, 1.0, 0.5, 0.1, 2.0, 0.7])


def problem_of(network, modes, centred=False):
    of = make_latent_problem(COMM, network)
    background = of.anomalies[:, 3] if centred else None
    of.transform = decoded_transform(of.decoder, modes, background)
    rng, h = np.random.default_rng(3), of.problem.operator
    of.innovation = h.observe(of.problem.transform.apply(rng.normal(size=6))) + of.problem.std * rng.normal(size=40)
    return of


@pytest.mark.parametrize("centred", [False, True])
@pytest.mark.parametrize("deviations", [None, DEVIATIONS])
def test_of_a_linear_decoder_it_is_the_dense_minimum(centred, deviations):
    """J(z) = ½ ‖z/σ‖² + ½ ‖d − H W z‖²_{R⁻¹}: (σ⁻² + Wᵀ Hᵀ R⁻¹ H W) z = Wᵀ Hᵀ R⁻¹ d."""
    of = problem_of(Linear(tsvd_basis()), unit_modes(6, deviations=deviations, centred=centred), centred)
    h, std = of.problem.operator, of.problem.std
    decoded = of.scale[:, None] * tsvd_basis()
    observed = np.column_stack([h.observe(column) for column in decoded.T]) / np.atleast_1d(std).reshape(-1, 1)
    sigma = np.ones(6) if deviations is None else deviations
    z = np.linalg.solve(np.diag(sigma**-2) + observed.T @ observed, observed.T @ (of.innovation / std))
    for method in ("lmvm", "gauss_newton"):
        found = analyse_decoded(
            of.transform, h, of.problem.error, of.innovation, COMM, method=method, gradient_tolerance=1e-12
        )
        assert relative_difference(found.control * sigma, z) < 1e-7
        assert relative_difference(found.increment, decoded @ z) < 1e-7
        assert found.trace[-1].background == pytest.approx(0.5 * np.sum((z / sigma) ** 2), rel=1e-6)


def test_all_values_encoded():
    """J(z) = ½ ‖z‖² + ½ ‖d_l − z‖² / 0.05: z = d_l / 1.05."""
    of = problem_of(Linear(tsvd_basis()), unit_modes(6))
    innovation = of.anomalies[:, 5]
    found = bireduced(of.transform, innovation, COMM)
    np.testing.assert_allclose(found.control, of.decoder.encode(innovation) / 1.05, rtol=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_taylor_of_the_cost(centred):
    of = problem_of(Bent(tsvd_basis()), unit_modes(6, deviations=DEVIATIONS, centred=centred), centred)
    cost = CostFunction(of.transform, of.problem.operator, of.problem.error, of.innovation, COMM)
    rng = np.random.default_rng(1)
    slope, _ = taylor_slope(cost, rng.normal(size=6), rng.normal(size=6))
    assert slope == pytest.approx(2.0, abs=0.1)


def test_the_code_of_the_background_need_not_be_made_twice():
    of = make_latent_problem(COMM, Bent(tsvd_basis()))
    background, modes = of.anomalies[:, 3], unit_modes(6, centred=True)
    code = of.decoder.encode(background)
    before = of.decoder.passes().encodes
    given = decoded_transform(of.decoder, modes, background, code)
    assert of.decoder.passes().encodes == before
    assert np.array_equal(given.offset, decoded_transform(of.decoder, modes, background).offset)
