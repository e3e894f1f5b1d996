import pytest
import torch
from gradients import check_gradient

from models.layers.cbam import CBAM, ChannelGate, SpatialGate
from models.layers.rab import RAB

# torch's own, where forward mode meets trilinear interpolation
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")

X = torch.randn(2, 8, 5, 3, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("gate", [ChannelGate(8), SpatialGate(), CBAM(8)])
def test_gates_take_away_only(gate):
    y = gate(X)
    assert y.shape == X.shape
    assert (y.abs() <= X.abs()).all() and (y * X >= 0).all()
    check_gradient(gate, X[:1])


def test_channel_gate_is_one_number_a_channel():
    factor = ChannelGate(8)(X) / X
    torch.testing.assert_close(factor, factor[:, :, :1, :1, :1].expand_as(X), rtol=1e-4, atol=1e-5)


def test_spatial_gate_is_one_number_a_point():
    factor = SpatialGate()(X) / X
    torch.testing.assert_close(factor, factor[:, :1].expand_as(X), rtol=1e-4, atol=1e-5)


def test_gates_of_zeros_halve():
    gate = CBAM(8)
    with torch.no_grad():
        for parameter in gate.parameters():
            parameter.zero_()
    torch.testing.assert_close(gate(X), X / 4)


@pytest.mark.parametrize("gate", [True, False])
@pytest.mark.parametrize("shape", [(5, 3, 2), (1, 1, 1)])
def test_rab(gate, shape):
    rab = RAB(4, shape, "NeXt", gate=gate).eval()
    x = torch.randn(1, 4, *shape)
    torch.testing.assert_close(rab(x), x + rab.trunk(x) * rab.mask(x))
    assert not gate or ((rab.mask(x) > 0) & (rab.mask(x) < 1)).all()
    check_gradient(rab, x)


def test_rab_with_an_open_mask_adds_the_trunk():
    rab = RAB(4, (3, 2, 2), "vanilla").eval()
    with torch.no_grad():
        rab.mask[-2].weight.zero_()
        rab.mask[-2].bias.fill_(40.0)
    x = torch.randn(1, 4, 3, 2, 2)
    torch.testing.assert_close(rab(x), x + rab.trunk(x))
