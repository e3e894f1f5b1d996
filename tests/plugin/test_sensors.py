"""Where a next sensor would help: against analyses' errors with that sensor in place."""

from dataclasses import replace

import numpy as np
import pytest
from cycle_case import COMM, python
from verify_case import case_file, folder  # noqa: F401

from da.diagnostics.posterior import metric, posterior
from da.minimisation.hessian import ObservationHessian
from da.observation.diagonal_error import diagonal_error
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError, read_case
from plugin.sensors import main, propose
from plugin.window.background.localisation import make_taper
from plugin.window.observations.operator import make_operator
from plugin.window.set_up import set_up


@pytest.fixture(scope="module")
def of(folder, tmp_path_factory):  # noqa: F811
    """The set-up with all covariances and a few of its readings, so that there is something left to gain."""
    found = set_up(read_case(case_file(folder, tmp_path_factory.mktemp("sensors"))), COMM)
    found = replace(found, background=replace(found.background, taper=None))
    few = found.readings.select(np.arange(3))
    reading_operator, model = make_operator(
        found.background.transfer, found.background.transfer.at_readings(found.state, few.position, few.variable), few
    )
    error = diagonal_error(10.0 * few.error[reading_operator.reading], slice(None))
    innovation = (few.value - model)[reading_operator.reading]
    return replace(found, readings=few, reading_operator=reading_operator, error=error, innovation=innovation)


def left(of, place, error, weight=None):
    """Total variance with sensors of the wind's y at places beside those that are there, each seen through the grid."""
    transform, transfer = of.background.transform, of.background.transfer
    information = ObservationHessian(transform, of.operator, of.error, COMM).information
    if len(place):
        points = transfer.grid.coordinates(np.arange(transfer.grid.n_points))
        node = [int(np.argmin(np.linalg.norm(points - p, axis=1))) for p in place]
        rows = np.array(node) * 4 + 2
        g = transform.scale[rows, None] * transform.modes.vectors[rows] / error
        information = information + g.T @ g
    return total_variance(information, transform, weight)


def total_variance(information, transform, weight):
    """tr W U C Uᵀ of the analysis errors."""
    return np.sum(metric(transform, weight) * posterior(information).covariance)


@pytest.mark.parametrize("only", [False, True])
def test_a_proposal_keeps_its_promise_and_is_the_best_of_its_places(of, only):
    found = propose(of, "Velocity.y", 0.05, 2, COMM, candidates=60, only=only)
    scale = of.background.transform.scale
    counts = (np.arange(len(scale)) % 4 == 2) & (scale > 0)
    weight = counts / np.where(counts, scale, 1.0) ** 2
    weight = weight if only else None
    before = total_variance(np.zeros((4, 4)), of.background.transform, weight)
    for k in range(3):
        assert found.total[k] == pytest.approx(left(of, found.place[:k], 0.05, weight) / before, rel=1e-8)
    one = [left(of, [place], 0.05, weight) / before for place in found.candidate]
    np.testing.assert_allclose(found.total[0] - one, found.gain, rtol=1e-6, atol=1e-12)
    assert found.total[1] == pytest.approx(min(one), rel=1e-8)
    assert len(found.candidate) == 60 and found.total[0] > 1.05 * found.total[1] > found.total[2]


def tapered(of, length=40.0):
    """The same set-up with B localised, and dense B_loc."""
    settings = BackgroundSection.model_validate(
        {"snapshots": [{"path": "x"}], "localisation": {"horizontal": length}, "between": {"Tracer": []}}
    )
    taper = make_taper(settings, of.background.transfer)
    vectors = of.background.transform.scale[:, None] * of.background.transform.modes.vectors
    between, distance = taper.factors(taper)
    return replace(of, background=replace(of.background, taper=taper)), between * distance * (vectors @ vectors.T)


def test_a_localised_background_counts_as_it_is_analysed(of):
    local, covariance = tapered(of)
    proposal = propose(local, "Velocity.y", 0.05, 2, COMM, candidates=40)
    points = of.background.transfer.grid.coordinates(np.arange(of.background.transfer.grid.n_points))
    rows = [int(np.argmin(np.linalg.norm(points - place, axis=1))) * 4 + 2 for place in proposal.candidate]
    there = np.stack([of.operator.adjoint(unit) for unit in np.eye(of.operator.n_observations)])
    scale = of.background.transform.scale
    weight = np.divide(1.0, scale**2, out=np.zeros(len(scale)), where=scale > 0.0)
    errors = 1.0 / of.error.whiten(np.ones(len(there)))

    def left(chosen):
        """tr A / tr B with the readings and candidates of these numbers, by the gain of B_loc itself."""
        h = np.vstack([there, np.eye(len(covariance))[[rows[k] for k in chosen]]])
        r = np.diag(np.concatenate([errors, np.full(len(chosen), 0.05)]) ** 2)
        seen = covariance @ h.T
        gained = np.einsum("ij,ji,i", seen, np.linalg.solve(h @ seen + r, seen.T), weight)
        return 1.0 - gained / (np.diag(covariance) @ weight)

    alone = [left([k]) for k in range(len(rows))]
    np.testing.assert_allclose(proposal.total[0] - alone, proposal.gain, rtol=1e-6, atol=1e-11)
    best = int(np.argmin(alone))
    np.testing.assert_allclose(proposal.place[0], proposal.candidate[best])
    second = min(left([best, k]) for k in range(len(rows)) if k != best)
    np.testing.assert_allclose(proposal.total, [left([]), alone[best], second], rtol=1e-8)
    assert abs(proposal.total - propose(of, "Velocity.y", 0.05, 2, COMM, candidates=40).total).max() > 1e-3


def test_command_is_the_same_on_ranks(folder, tmp_path):  # noqa: F811
    file, told = case_file(folder, tmp_path), {}
    for n in (1, 3):
        kept = tmp_path / f"{n}.npz"
        ended = python(n, "-m", "plugin.sensors", file, "-n", 3, "--variable", "Velocity.x", "--map", kept)
        assert ended.returncode == 0, ended.stderr
        told[n] = ended.stdout
        with np.load(kept) as stored:
            told[f"map {n}"] = stored["gain"]
    assert told[1] == told[3] and told[1].count("leaves") == 3 and "sensors of Velocity.x, error 0.05" in told[1]
    np.testing.assert_allclose(told["map 3"], told["map 1"], rtol=1e-9, atol=1e-14)


def test_what_cannot_be_proposed(of, folder, tmp_path):  # noqa: F811
    with pytest.raises(ConfigurationError, match="'Smoke', which is not analysed"):
        propose(of, "Smoke", 0.1, 1, COMM)
    with pytest.raises(ConfigurationError, match="error 0.0 of a sensor"):
        propose(of, "Tracer", 0.0, 1, COMM)
    with pytest.raises(ConfigurationError, match="9 sensors for 5 places"):
        propose(of, "Tracer", 0.1, 9, COMM, candidates=5)
    with pytest.raises(ConfigurationError, match="--error is missing"):
        main([str(case_file(folder, tmp_path)), "--variable", "Velocity.z"], COMM)
