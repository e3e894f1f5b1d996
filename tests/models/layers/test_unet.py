import pytest
import torch
from gradients import check_gradient

from models.layers.unet import UNet


@pytest.mark.parametrize("shape", [(46, 43, 16), (9, 8, 5), (5, 2, 1), (1, 1, 1)])
def test_shape_of_any_grid_stays(shape):
    assert UNet(4, 2, shape, width=2)(torch.randn(3, 4, *shape)).shape == (3, 2, *shape)


@pytest.mark.parametrize("halvings", [1, 2, 4])
def test_sees_as_far_as_its_halvings(halvings):
    torch.manual_seed(0)
    net = UNet(1, 1, (33, 3, 3), width=4, halvings=halvings).double()
    x = torch.randn(1, 1, 33, 3, 3, dtype=torch.float64)
    other = x.clone()
    other[..., 0, 1, 1] += 1.0
    changed = (net(x) - net(other)).abs().amax((0, 1, 3, 4))
    assert changed[0] > 0
    far = torch.nonzero(changed).max()
    assert far == 32 if halvings == 4 else far < 32


def test_widths_double_up_to_the_widest():
    net = UNet(1, 1, (9, 9, 9), width=8, halvings=4, widest=20)
    assert [stage[0].out_channels for stage in net.down] == [8, 16, 20, 20]
    assert UNet(1, 1, (9, 9, 9), width=32, widest=20).down[-1][0].out_channels == 32


def test_gradient():
    check_gradient(UNet(2, 1, (5, 4, 3), width=2, halvings=2), torch.randn(1, 2, 5, 4, 3))
