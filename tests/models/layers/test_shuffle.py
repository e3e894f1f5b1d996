import pytest
import torch
from gradients import check_gradient

from models.layers.convolution import Up
from models.layers.shuffle import Shuffle, make_up

SHAPES = [(9, 8, 5), (7, 6, 1), (4, 3, 2), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
def test_each_point_has_the_weights_of_its_place(shape):
    up = Shuffle(3, 2, shape)
    torch.nn.init.normal_(up.places.weight)
    x = torch.randn(2, 3, *up.in_shape)
    y = up(x)
    assert y.shape == (2, 2, *shape) and y.is_contiguous()
    weight = up.places.weight.view(2, 2, 2, 2, 3)
    bias = up.places.bias.view(2, 2, 2, 2)
    for i, j, k in torch.cartesian_prod(*map(torch.arange, shape)).view(-1, 3).tolist():
        at = (slice(None), i % 2, j % 2, k % 2)
        expected = x[:, :, i // 2, j // 2, k // 2] @ weight[at].T + bias[at]
        torch.testing.assert_close(y[:, :, i, j, k], expected)


def test_begins_as_the_nearest_point():
    up = Shuffle(3, 2, (4, 6, 2))
    x = torch.randn(1, 3, 2, 3, 1)
    y = up(x)
    for axis in (2, 3, 4):
        even, odd = (
            y.index_select(axis, torch.arange(0, y.shape[axis], 2)),
            y.index_select(axis, torch.arange(1, y.shape[axis], 2)),
        )
        torch.testing.assert_close(even, odd)


def test_gradient():
    check_gradient(Shuffle(2, 3, (3, 4, 1)), torch.randn(1, 2, 2, 2, 1))


def test_by_name():
    assert isinstance(make_up("transposed", 2, 3, (4, 4, 4)), Up)
    with pytest.raises(ValueError, match="nearest: 'shuffle'"):
        make_up("shufle", 2, 3, (4, 4, 4))
    with pytest.raises(ValueError, match="expected"):
        Shuffle(2, 3, (4, 4, 4))(torch.zeros(1, 2, 3, 3, 3))
