import pytest
import torch
from gradients import check_gradient
from torch import nn

from models.layers.activation import ACTIVATIONS
from models.layers.block import BLOCKS, make_block
from models.layers.factorised import Factorised
from models.layers.inception import ParallelFilters
from models.layers.next import NeXt
from models.layers.residual import Residual, Vanilla
from models.layers.separable import Separable

X = torch.randn(2, 8, 5, 3, 2, generator=torch.Generator().manual_seed(1))


def _count(module):
    return sum(p.numel() for p in module.parameters() if p.ndim == 5)


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_shape(name, activation):
    assert make_block(name, 8, activation)(X).shape == X.shape


@pytest.mark.parametrize("name", BLOCKS)
def test_gradient(name):
    check_gradient(make_block(name, 4, "PReLU"), torch.randn(1, 4, 3, 2, 2))


def test_unknown_name_tells_the_nearest():
    with pytest.raises(ValueError, match=r"\(nearest: 'NeXt\+CBAM'\)"):
        make_block("next+cbam", 8)


def test_sum_of_input_and_branch():
    assert torch.equal(Residual(nn.Identity(), 8)(X), 2 * X)


def test_sizes_of_the_seed():
    # two 3³ convolutions; 1³ down to a quarter, 3³, 1³ up
    assert _count(Vanilla(32)) == 2 * 27 * 32**2
    assert _count(NeXt(32)) == 2 * 32 * 8 + 27 * 8**2
    # three lines in place of 3³, and a 3³ for each channel alone
    assert _count(Factorised(32)) == 2 * 32 * 8 + 3 * 3 * 8**2
    assert _count(Separable(32)) == 2 * 32 * 8 + 27 * 8


def test_three_lines_are_one_convolution():
    block = Factorised(4, "ReLU", bottleneck=2).eval()
    along_z, along_y, along_x = block.body[1][:3]
    whole = torch.einsum(
        "abx,bcy,cdz->adxyz", along_x.weight[..., 0, 0], along_y.weight[:, :, 0, :, 0], along_z.weight[:, :, 0, 0]
    )
    x = torch.randn(1, 2, 5, 4, 3)
    expected = nn.functional.conv3d(x, whole, along_x.bias, padding=1)
    torch.testing.assert_close(block.body[1][:3](x), expected)


def test_cardinality_is_a_sum_of_paths():
    block = NeXt(8, "ReLU", bottleneck=2, cardinality=2).eval()
    down, middle, up, norm = block.body
    total = 0.0
    for path in (slice(0, 2), slice(2, 4)):
        inner = nn.functional.conv3d(down(X)[:, path], middle[0].weight[path], middle[0].bias[path], padding=1)
        inner = torch.relu(inner / torch.sqrt(torch.tensor(1 + middle[1].eps)))
        total = total + nn.functional.conv3d(inner, up.weight[:, path])
    total = total + up.bias[:, None, None, None]
    torch.testing.assert_close(block(X), X + norm(total))
    with pytest.raises(ValueError, match="do not divide into 3 paths"):
        NeXt(8, cardinality=3, bottleneck=2)


def test_parallel_filters_lie_side_by_side():
    filters = ParallelFilters(8, 3).eval()
    found = filters(X)
    assert found.shape == (2, 12, 5, 3, 2)
    torch.testing.assert_close(found[:, :3], filters.branches[0](X))
    # the third branch sees two points to each side, the first only its own
    for branch, reach in ((0, 0), (1, 1), (2, 2), (3, 1)):
        x = torch.randn(1, 8, 9, 1, 1, requires_grad=True)
        filters.branches[branch](x)[0, :, 4].sum().backward()
        seen = x.grad[0].abs().sum((0, 2, 3)).nonzero().flatten().tolist()
        assert set(seen) <= set(range(4 - reach, 5 + reach))
