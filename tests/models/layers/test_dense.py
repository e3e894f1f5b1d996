import pytest
import torch
from gradients import check_gradient
from torch import nn

from models.layers.dense import RDB
from models.layers.grouped_dense import GRDB
from models.layers.paths import Paths

X = torch.randn(2, 4, 3, 3, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("block", [None, "NeXt", "vanilla+CBAM"])
def test_shapes_and_gradients(block):
    for module in (RDB(4, 3, 2, block), GRDB(4, 2, 1, block, group=2)):
        assert module(X).shape == X.shape
        check_gradient(module, X[:1])


def test_each_layer_sees_all_before():
    rdb = RDB(4, 3, 3)
    assert [layer[0][0].in_channels for layer in rdb.layers] == [4, 7, 10]
    assert rdb.fusion.in_channels == 13


def test_fusion_of_nothing_leaves_the_input():
    for module in (RDB(4, 3, 2), GRDB(4, 2, 1, group=2)):
        nn.init.zeros_(module.fusion.weight), nn.init.zeros_(module.fusion.bias)
        assert torch.equal(module(X), X)


def test_grouped_blocks_are_chained():
    grdb = GRDB(4, 2, 1, group=2).eval()
    first = grdb.group[0](X)
    torch.testing.assert_close(grdb(X), X + grdb.fusion(torch.cat([first, grdb.group[1](first)], 1)))


def test_paths_are_a_sum():
    paths = Paths(4, [RDB(2, 1, 1) for _ in range(3)], 2).eval()
    (reduce, _), (expand, norm) = paths.reduce, paths.expand
    total = expand.bias.view(1, -1, 1, 1, 1).expand_as(X).clone()
    for i, path in enumerate(paths.paths):
        part = slice(2 * i, 2 * i + 2)
        narrow = nn.functional.conv3d(X, reduce.weight[part], reduce.bias[part]) / (1 + 1e-5) ** 0.5
        total = total + nn.functional.conv3d(path(narrow), expand.weight[:, part])
    torch.testing.assert_close(paths(X), X + norm(total), rtol=1e-4, atol=1e-5)
    check_gradient(paths, X[:1])
