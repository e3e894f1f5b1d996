"""Trust over a window: an analysis within the limits is latent4dvar's own, one beyond any of them is refused."""

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from networks import Bent, tsvd_basis
from window_problem import Turning, make_window, readings_of

from da.diagnostics.trust import COST, DISTANCE, ROUND_TRIP, TrustLimits, latent_cloud
from da.window.latent4dvar import latent4dvar
from da.window.trust import checked4dvar

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def case():
    of = make_window(COMM, Bent(tsvd_basis()), Turning(), False)
    readings, _ = readings_of(of, COMM)
    cloud = latent_cloud(of.decoder.encode(of.anomalies))
    return of.window, readings, TrustLimits(cloud, round_trip=1e3, distance=1e3)


def test_within_the_limits_it_is_the_analysis_itself(case):
    window, readings, limits = case
    found, expected = checked4dvar(window, readings, COMM, limits, step=2), latent4dvar(window, readings, COMM, step=2)
    assert found.reason == "" and found.trust.trusted
    np.testing.assert_array_equal(found.analysis.analysis.increment, expected.analysis.increment)
    checks = {one.name: one.value for one in found.trust.checks}
    assert list(checks) == [ROUND_TRIP, DISTANCE, f"{DISTANCE} of the forecast", f"{DISTANCE} of the analysis", COST]
    for name, path in (("forecast", window.base), ("analysis", expected.codes)):
        assert checks[f"{DISTANCE} of the {name}"] == max(limits.cloud.distance(code) for code in path)
    residual = [
        one.innovation - one.operator.observe(window.increment(expected.codes, one.step))
        for one in sorted(readings, key=lambda one: one.step)
    ]
    squares = [sum(float(v @ one.error.solve(v)) for v, one in zip(vectors, of, strict=True)) for vectors, of in (
        (residual, sorted(readings, key=lambda one: one.step)), ([one.innovation for one in readings], readings)
    )]  # fmt: skip
    assert checks[COST] == pytest.approx(squares[0] / squares[1])


@pytest.mark.parametrize(
    ("limit", "value", "text"),
    [
        ("round_trip", 1e-9, ROUND_TRIP),
        ("distance", 1e-9, f"{DISTANCE} of the forecast"),
        ("cost_ratio", 1e-9, COST),
    ],
)
def test_beyond_a_limit_there_is_none_and_the_reason_is_told(case, limit, value, text):
    window, readings, limits = case
    found = checked4dvar(window, readings, COMM, replace(limits, **{limit: value}))
    assert found.analysis is None and f"{text} " in found.reason


def test_a_path_that_leaves_the_training_is_refused_though_its_start_does_not(case):
    window, readings, limits = case
    found = latent4dvar(window, readings, COMM)
    before, after = (max(limits.cloud.distance(code) for code in path) for path in (window.base, found.codes))
    assert before < after
    refused = checked4dvar(window, readings, COMM, replace(limits, distance=0.5 * (before + after)))
    assert refused.analysis is None and refused.reason.startswith(f"{DISTANCE} of the analysis")


def test_a_search_that_fails_is_no_error(case):
    window, readings, limits = case
    found = checked4dvar(window, readings, COMM, limits, max_iterations=1, gradient_tolerance=1e-12)
    assert found.analysis is None and "after 1 iterations" in found.reason
