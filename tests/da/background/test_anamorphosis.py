"""φ, ψ and ψ' of every anamorphosis, and ranks of samples."""

import json

import numpy as np
import pytest
from scipy.special import ndtri

from da.background.anamorphosis import (
    Logarithm,
    NormalScore,
    Pointwise,
    SquareRoot,
    described,
    normal_score,
)

RNG = np.random.default_rng(8)
PLUME = np.maximum(np.exp(RNG.normal(-1.5, 1.6, 5000)) - 0.05, 0.0)  # many zeros, and a long tail
EVERY = {
    "sqrt": SquareRoot(0.0, 1e-3),
    "sqrt above a bound": SquareRoot(-2.0, 0.3),
    "log": Logarithm(0.0, 1e-2),
    "log above a bound": Logarithm(1.5, 0.1),
    "quantile": normal_score(PLUME, 0.0, 1e-3),
    "quantile without a bound": normal_score(RNG.normal(280.0, 5.0, 3000), -np.inf, 0.1),
    "two knots": NormalScore(0.0, (0.0, 2.0), (-1.0, 1.0)),
}


@pytest.fixture(params=EVERY)
def of(request):
    return EVERY[request.param]


def values_of(of):
    """Values in units of the anamorphosis, at its bound and far beyond its knots."""
    low, high = (of.values[0], of.values[-1]) if isinstance(of, NormalScore) else (of.lower, of.lower + 9.0)
    low = max(low - 0.5 * (high - low), of.lower)
    return np.concatenate([np.linspace(low, high + (high - low), 400), [low, np.nextafter(low, high)]])


def transformed_of(of):
    """Transformed values, some below that of the bound, and those where pieces meet."""
    a = of.forward(values_of(of))
    joints = of.scores if isinstance(of, NormalScore) else [of.forward(np.array(of.lower))]
    return np.concatenate([np.linspace(a.min() - 2.0, a.max(), 500), joints])


def test_there_and_back(of):
    values = values_of(of)
    back = of.inverse(of.forward(values))
    np.testing.assert_allclose(back, values, rtol=1e-12, atol=1e-12 * np.ptp(values))
    np.testing.assert_array_equal(of.inverse(of.forward(back)).shape, back.shape)


def test_rises_everywhere_and_the_analysis_stays_at_the_bound(of):
    a = np.sort(transformed_of(of))
    assert (np.diff(of.continued(a)) >= 0.0).all() and (of.slope(a) > 0.0).all()
    assert (np.diff(of.forward(np.sort(values_of(of)))) >= 0.0).all()
    below = of.forward(np.array(max(of.lower, -1e3))) - np.array([1e-6, 1.0, 30.0])
    assert (of.inverse(below) >= of.lower).all()
    if np.isfinite(of.lower):
        assert (of.inverse(below) == of.lower).all() and (of.continued(below) < of.lower).all()
        np.testing.assert_array_equal(of.forward(of.lower - np.array([1.0, 1e9])), of.forward(np.full(2, of.lower)))
    np.testing.assert_array_equal(of.bounded(of.inverse(a)), of.inverse(a))


def test_slope_is_the_derivative_and_continuous(of):
    a, h = transformed_of(of), 1e-6
    joints = of.scores if isinstance(of, NormalScore) else [float(of.forward(np.array(of.lower)))]
    far = np.min(np.abs(a[:, None] - np.array(joints)), axis=1) > 2 * h
    differences = (of.continued(a + h) - of.continued(a - h)) / (2 * h)
    size = np.abs(of.continued(a)).max()
    np.testing.assert_allclose(of.slope(a)[far], differences[far], rtol=1e-5, atol=1e-9 * size)
    for joint in joints:
        before, after = of.slope(np.array([joint - 1e-9, joint + 1e-9]))
        assert after == pytest.approx(before, rel=1e-5)


def test_taylor(of):
    a = of.forward(values_of(of))[20:300:7]
    p = RNG.normal(size=len(a))
    remainder = [of.continued(a + h * p) - of.continued(a) - h * of.slope(a) * p for h in (1e-3, 1e-4)]
    if isinstance(of, NormalScore):  # has no second derivative at a knot: the order stays two
        assert np.abs(remainder[1]).max() < 0.03 * np.abs(remainder[0]).max() + 1e-9
    else:
        assert 90.0 < np.linalg.norm(remainder[0]) / np.linalg.norm(remainder[1]) < 110.0


def test_described_and_made_again(of):
    again = described(json.loads(json.dumps(of.description)))
    assert again == of
    np.testing.assert_array_equal(again.forward(values_of(of)), of.forward(values_of(of)))


@pytest.mark.parametrize(
    "description",
    [
        {"kind": "cube", "lower": 0.0, "offset": 1.0},
        {"kind": "sqrt", "lower": 0.0},
        {"kind": "log", "lower": None, "offset": 1.0},
        {"kind": "sqrt", "lower": 0.0, "offset": -1.0},
        {"kind": "quantile", "lower": 0.0, "values": [0.0, 1.0], "scores": [0.0]},
        {"kind": "quantile", "lower": 0.0, "values": [0.0, 1.0], "scores": [1.0, 1.0]},
        [],
    ],
)
def test_what_describes_none_is_refused(description):
    with pytest.raises(ValueError):
        described(description)


def test_the_root_is_a_root():
    of = SquareRoot(0.0, 0.04)
    np.testing.assert_allclose(of.forward(np.array([0.0, 0.05, -3.0])), [0.2, 0.3, 0.2])
    np.testing.assert_allclose(of.continued(np.array([0.3, 0.2, 0.0])), [0.05, 0.0, -0.08], atol=1e-15)
    np.testing.assert_allclose(of.slope(np.array([0.3, 0.2, 0.0, -9.0])), [0.6, 0.4, 0.4, 0.4])


def test_ranks_become_gaussian():
    of = EVERY["quantile"]
    rank = (np.argsort(np.argsort(PLUME)) + 0.5) / len(PLUME)
    among = (PLUME > 0.05) & (rank < 0.998)  # zeros have one rank, and the last values a straight line
    np.testing.assert_allclose(of.forward(PLUME[among]), ndtri(rank[among]), atol=0.08)
    # zeros share the score of their middle
    zeros = np.mean(PLUME < 0.5e-3)
    assert of.forward(np.array(0.0)) == pytest.approx(ndtri(0.5 * zeros), abs=1e-12)
    assert zeros > 0.1 and np.diff(of.values).min() >= 1e-3 * (1.0 - 1e-12)
    normal = RNG.normal(3.0, 2.0, 4000)
    within = np.linspace(-1.0, 7.0, 50)  # of variables that are Gaussian it makes their standard scores
    np.testing.assert_allclose(normal_score(normal, -np.inf, 0.01).forward(within), (within - 3.0) / 2.0, atol=0.15)


def test_order_of_the_sample_does_not_count():
    assert normal_score(RNG.permutation(PLUME), 0.0, 1e-3) == EVERY["quantile"]


def test_a_sample_without_ranks_is_refused():
    with pytest.raises(ValueError, match="values from 0 to 0.5 have no ranks .* at an offset of 1; give a smaller one"):
        normal_score(np.linspace(-1.0, 0.5, 9), 0.0, 1.0)


def test_each_value_by_its_variable():
    of = Pointwise([None, EVERY["sqrt"], EVERY["log"]], np.array([0, 1, 2, -1, 1]))
    a = np.array([-2.0, 0.5, -9.0, 3.0, -1.0])
    root, log = EVERY["sqrt"], EVERY["log"]
    np.testing.assert_array_equal(of.values(a)[[0, 3]], a[[0, 3]])
    np.testing.assert_array_equal(of.slopes(a)[[0, 3]], 1.0)
    assert of.values(a)[1] == root.continued(a[1:2])[0] and of.slopes(a)[2] == log.slope(a[2:3])[0]
    np.testing.assert_array_equal(of.within_bounds(a)[[2, 4]], 0.0)
    assert (of.values(a)[[2, 4]] < 0.0).all()
    assert all(isinstance(part, np.ndarray) for part in of.content)
