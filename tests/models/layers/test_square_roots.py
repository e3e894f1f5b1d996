"""Square roots of variables that are never below zero."""

import numpy as np
import pytest
import torch

from models.layers.square_roots import SquareRoots

SHAPE = (4, 3, 2)


def concentrations(seed=0):
    values = np.random.default_rng(seed).gamma(0.5, size=(50, 2, *SHAPE))
    values[:, :, 0] = 0.0
    return values


def fitted():
    """Roots of the second of two variables, and standardised states."""
    values = concentrations()
    mean, scale = values.mean(0), values.std(0)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    roots, states = SquareRoots(2, SHAPE, [1]), ((values - mean) * inverse).astype(np.float32)
    roots.fit(states, -mean * inverse)
    return roots, torch.from_numpy(states), -mean * inverse


def test_there_and_back():
    roots, states, _ = fitted()
    back = roots.inverse(roots(states))
    torch.testing.assert_close(back, states, atol=1e-3, rtol=0.0)
    assert torch.equal(back[:, 0], states[:, 0]) and torch.equal(roots(states)[:, 0], states[:, 0])


def test_roots_have_no_mean_and_errors_of_the_size_of_those_of_the_variable():
    roots, states, zero = fitted()
    given, y = roots(states)[:, 1], (states - torch.from_numpy(zero))[:, 1]
    expected = 2.0 * y.mean(0).sqrt() * ((y + 0.03**2).sqrt() - (y + 0.03**2).sqrt().mean(0))
    torch.testing.assert_close(given, expected.float(), atol=1e-5, rtol=1e-4)
    assert given.mean(0).abs().max() < 1e-5


def test_nothing_is_below_zero_and_everything_has_a_slope():
    roots, states, zero = fitted()
    codes = (10.0 * torch.randn(20, 2, *SHAPE)).clamp_min(-12.0).requires_grad_()
    values = roots.inverse(codes)
    assert (values - torch.from_numpy(zero).float())[:, 1, 1:].min() > -1e-5
    assert not values[:, 1, 0].any()  # without variance
    (slope,) = torch.autograd.grad(values.sum(), codes)
    assert slope[:, 1, 1:].min() >= 0.0 and torch.isfinite(slope).all()
    near = roots(states[:1]).requires_grad_()
    assert torch.autograd.grad(roots.inverse(near).sum(), near)[0][:, 1, 1:].min() > 0.0


def test_the_derivative_is_that_of_finite_differences():
    roots, states, _ = fitted()
    roots = roots.double()
    given = roots(states[:2].double()).requires_grad_()
    assert torch.autograd.gradcheck(roots.inverse, given)
    assert torch.autograd.gradcheck(roots, (states[:1].double() + 0.5).requires_grad_())


def test_what_has_no_roots():
    roots, states, zero = fitted()
    with pytest.raises(ValueError, match="values lie below zero"):
        roots.fit(states.numpy(), zero + 1.0)
    with pytest.raises(ValueError, match="not finite"):
        roots.fit(states.numpy(), np.full_like(zero, np.nan))
    for rooted in ([], [2], [-1]):
        with pytest.raises(ValueError, match="expected numbers from 0 to 1"):
            SquareRoots(2, SHAPE, rooted)
