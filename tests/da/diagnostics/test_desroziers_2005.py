"""Desroziers, Berre, Chapnik & Poli 2005: a linear Gaussian set whose B and R are known."""

import json

import numpy as np
import pytest

from da.diagnostics.desroziers import error_estimates

M, ANALYSES = 12, 40000
GROUPS = np.array(["speed"] * 5 + ["tracer"] * 7)


def set_up():
    """H B Hᵀ of long scales and R of short ones, in unlike units, as whole matrices."""
    unit = np.where(GROUPS == "speed", 1.0, 30.0)
    x = np.arange(M)
    correlated = np.exp(-0.5 * (x[:, None] - x) ** 2 / 4.0**2)
    r = np.eye(M) + 0.4 * (np.abs(x[:, None] - x) == 1) * (GROUPS[:, None] == GROUPS)
    scale = np.outer(unit, unit)
    return 4.0 * correlated * scale, 0.5 * r * scale


def analyses(b, r, used_b, used_r, n=ANALYSES, bias=0.0):
    """Innovations whose errors are of B and R, and residuals of analyses that use others."""
    rng = np.random.default_rng(2)
    root = np.linalg.cholesky(b + r)
    d = rng.normal(size=(n, M)) @ root.T + bias
    return d, d @ np.linalg.solve(used_b + used_r, used_r)


def flat(d, r):
    n = len(d)
    return d.ravel(), r.ravel(), np.tile(GROUPS, n), np.repeat(np.arange(n), M)


def test_variances_by_group_are_found_again_within_their_errors():
    b, r = set_up()
    told = error_estimates(*flat(*analyses(b, r, b, r, 4000)))
    analysis = b - b @ np.linalg.solve(b + r, b)
    assert list(told) == ["speed", "tracer"]
    for name, of in told.items():
        mine = GROUPS == name
        assert (of.count, of.analyses) == (4000 * mine.sum(), 4000)
        for estimate, true in (
            (of.innovation, b + r),
            (of.background, b),
            (of.observation, r),
            (of.analysis, analysis),
        ):
            expected = np.diag(true)[mine].mean()
            assert abs(estimate.variance - expected) < 4.0 * estimate.standard_error < 0.2 * expected
            assert estimate.std == pytest.approx(np.sqrt(estimate.variance))
        json.dumps(of.summary(), allow_nan=False)


def test_standard_error_is_that_of_many_repetitions():
    # readings of one analysis share their background error: the spread of single products would be too small
    b, r = set_up()
    d, residual = analyses(b, r, b, r)
    values, errors = [], []
    for k in range(0, ANALYSES, 100):
        told = error_estimates(*flat(d[k : k + 100], residual[k : k + 100]))["tracer"].background
        values.append(told.variance)
        errors.append(told.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.1)
    naive = np.std(((d - residual) * d)[:, GROUPS == "tracer"]) / np.sqrt(700)
    assert naive < 0.7 * np.std(values)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_wrong_r_is_corrected_in_the_right_direction(factor):
    """Section 3: the estimate lies between what was used and what is true, and iterating it goes there."""
    b, r = set_up()
    r = np.diag(np.diag(r))
    used = factor * r
    for step in range(8):
        told = error_estimates(*flat(*analyses(b, r, b, used, 4000)))
        for name, of in told.items():
            mine = GROUPS == name
            before, true = np.diag(used)[mine].mean(), np.diag(r)[mine].mean()
            if step == 0:
                assert abs(of.observation.variance - true) < abs(before - true)
        used = np.diag([told[name].observation.variance for name in GROUPS])
    np.testing.assert_allclose(np.diag(used), np.diag(r), rtol=0.08)


def test_a_bias_counts_as_an_error_unless_means_are_taken_away():
    b, r = set_up()
    bias = np.where(GROUPS == "speed", 2.0, 0.0)
    d, residual = analyses(b, r, b, r, 4000, bias)
    expected = np.diag(b + r)[GROUPS == "speed"].mean()
    assert error_estimates(*flat(d, residual))["speed"].innovation.variance > expected + 3.0
    told = error_estimates(*flat(d, residual), centred=True)["speed"].innovation
    assert abs(told.variance - expected) < 4.0 * told.standard_error


def test_one_analysis_has_no_standard_error_and_a_negative_variance_no_root():
    told = error_estimates([1.0, 2.0], [-1.0, -0.5], ["a", "a"], [0, 0])["a"]
    assert np.isnan(told.observation.standard_error) and told.observation.variance == -1.0
    assert np.isnan(told.observation.std)
    assert told.summary()["observation"] == {"variance": -1.0, "standard_error": None}


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="groups"):
        error_estimates(np.ones(3), np.ones(3), ["a"] * 2, [0] * 3)
