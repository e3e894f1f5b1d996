import pytest
import torch
from gradients import check_gradient

from models.layers.convolution import Down, Up, strided_shape

SHAPES = [(9, 8, 5), (7, 6, 1), (4, 3, 2), (1, 1, 1)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride, kernel", [(2, 3), (4, 3), (8, 3), (3, 5), (1, 3), (2, 1)])
def test_shapes_there_and_back(shape, stride, kernel):
    x = torch.randn(2, 3, *shape)
    y = Down(3, 4, stride, kernel)(x)
    assert y.shape == (2, 4, *strided_shape(shape, stride))
    assert Up(4, 3, shape, stride, kernel)(y).shape == x.shape


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_up_is_the_adjoint_of_down(shape, stride):
    down, up = Down(3, 4, stride).double(), Up(4, 3, shape, stride).double()
    with torch.no_grad():
        up.weight.copy_(down.weight)
        up.bias.zero_(), down.bias.zero_()
    x = torch.randn(1, 3, *shape, dtype=torch.float64)
    y = torch.randn(1, 4, *strided_shape(shape, stride), dtype=torch.float64)
    torch.testing.assert_close((down(x) * y).sum(), (x * up(y)).sum())


def test_values_are_those_of_the_formula():
    down = Down(1, 1, 2)
    with torch.no_grad():
        down.weight.fill_(1.0), down.bias.fill_(0.5)
    # 27 ones in the middle, 8 at a corner
    y = down(torch.ones(1, 1, 5, 5, 5))
    assert y[0, 0, 1, 1, 1] == 27.5 and y[0, 0, 0, 0, 0] == 8.5


def test_strides_one_after_the_other():
    for n in range(1, 40):
        assert strided_shape(strided_shape((n,)), 4) == strided_shape((n,), 8)


@pytest.mark.parametrize("layer", [Down(2, 2), Up(2, 2, (4, 3, 2))])
def test_gradient(layer):
    shape = layer.in_shape if isinstance(layer, Up) else (4, 3, 2)
    check_gradient(layer, torch.randn(1, 2, *shape))


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="odd number"):
        Down(1, 1, 2, 4)
    with pytest.raises(ValueError, match=r"features of \(3, 3, 3\) points, expected \(2, 2, 2\)"):
        Up(1, 1, (4, 4, 4))(torch.ones(1, 1, 3, 3, 3))
