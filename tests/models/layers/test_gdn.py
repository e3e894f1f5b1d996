import pytest
import torch
from gradients import check_gradient

from models.layers.gdn import GDN


def _with(gdn, beta, gamma):
    with torch.no_grad():
        gdn.raw_beta.copy_(torch.log(torch.expm1(torch.as_tensor(beta))))
        gdn.raw_gamma.copy_(torch.log(torch.expm1(torch.as_tensor(gamma))))
    return gdn


def test_values_are_those_of_the_formula():
    beta, gamma = [1.0, 2.0], [[0.5, 0.1], [0.3, 0.7]]
    x = torch.randn(3, 2, 4, 3, 2)
    root = torch.stack([(beta[i] + gamma[i][0] * x[:, 0] ** 2 + gamma[i][1] * x[:, 1] ** 2).sqrt() for i in (0, 1)], 1)
    torch.testing.assert_close(_with(GDN(2), beta, gamma)(x), x / root)
    torch.testing.assert_close(_with(GDN(2, inverse=True), beta, gamma)(x), x * root)


def test_inverse_where_there_is_a_closed_form():
    # no coupling to squares: both are a factor
    forth, back = (_with(GDN(2, inverse), [3.0, 0.5], [[1e-12] * 2] * 2) for inverse in (False, True))
    x = torch.randn(1, 2, 3, 3, 3)
    torch.testing.assert_close(back(forth(x)), x, rtol=1e-5, atol=1e-5)


def test_start_values():
    gdn = GDN(5)
    torch.testing.assert_close(gdn.beta, torch.ones(5), rtol=1e-5, atol=0)
    torch.testing.assert_close(gdn.gamma.diagonal(), torch.full((5,), 0.1))
    assert gdn.gamma[0, 1] < 0.01


def test_positive_whatever_the_optimiser_does():
    gdn = GDN(3)
    optimiser = torch.optim.SGD(gdn.parameters(), lr=1e3)
    for _ in range(20):
        optimiser.zero_grad()
        (-(gdn(torch.randn(4, 3, 2, 2, 2)) ** 2).sum()).backward()
        optimiser.step()
    assert (gdn.beta > 0).all() and (gdn.gamma >= 0).all()
    assert torch.isfinite(gdn(torch.zeros(1, 3, 2, 2, 2))).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_gradient(inverse):
    check_gradient(GDN(3, inverse), torch.randn(1, 3, 2, 2, 2))
