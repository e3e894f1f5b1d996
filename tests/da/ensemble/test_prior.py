"""Priors: bounds that hold, transforms there and back, moments, and draws that are what they say."""

import numpy as np
import pytest
from scipy import stats

from da.ensemble.prior import LogNormal, Normal, Uniform, draws, quantile, values

PRIORS = {
    "normal": (Normal(4.0, 1.5), stats.norm(4.0, 1.5)),
    "lognormal": (LogNormal(2.0, 0.5), stats.lognorm(0.5, scale=2.0)),
    "uniform": (Uniform(60.0, 120.0), stats.uniform(60.0, 60.0)),
}
pytestmark = pytest.mark.parametrize(("prior", "reference"), PRIORS.values(), ids=PRIORS)


def test_is_the_distribution_of_its_name(prior, reference):
    parts = np.linspace(0.001, 0.999, 97)
    np.testing.assert_allclose([quantile(prior, part) for part in parts], reference.ppf(parts), rtol=1e-10)


def test_there_and_back(prior, reference):
    z = np.linspace(-5.0, 5.0, 101).reshape(1, -1)
    np.testing.assert_allclose(prior.unbounded(prior.value(z)), z, atol=1e-8)


def test_values_rise_and_stay_within_the_bounds(prior, reference):
    x = prior.value(np.linspace(-30.0, 30.0, 2001))
    low, high = prior.bounds
    assert (np.diff(x) >= 0).all() and (x >= low).all() and (x <= high).all()


def test_moments_of_members(prior, reference):
    x = values([prior], draws(2000, np.eye(1), np.random.default_rng(1)))[0]
    assert x.mean() == pytest.approx(reference.mean(), rel=2e-3)
    assert x.std() == pytest.approx(reference.std(), rel=1e-2)


def test_a_value_far_out_has_a_finite_transform(prior, reference):
    low, high = prior.bounds
    for x in (low, high):
        if np.isfinite(x):
            assert abs(prior.unbounded(np.array(x))) == 8.0
            with pytest.raises(ValueError, match="is not between .* the prior's bounds"):
                prior.unbounded(np.array([x - 1.0 if x == low else x + 1.0]))


def test_quantiles_are_of_parts(prior, reference):
    for part in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match="expected a part between 0 and 1"):
            quantile(prior, part)
