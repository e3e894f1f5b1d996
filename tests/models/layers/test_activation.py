import pytest
import torch

from models.layers.activation import ACTIVATIONS, make_activation, unit
from models.layers.convolution import Down
from models.layers.norm import BatchNorm


def test_values():
    x = torch.tensor([-2.0, 0.0, 3.0]).view(1, 3, 1, 1, 1)
    assert make_activation("ReLU", 3)(x).flatten().tolist() == [0.0, 0.0, 3.0]
    assert make_activation("PReLU", 3)(x).flatten().tolist() == [-0.5, 0.0, 3.0]
    assert make_activation("GDN", 3, inverse=True).inverse


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_unit(name):
    layers = unit(Down(2, 3), name)
    assert layers(torch.randn(2, 2, 5, 4, 3)).shape == (2, 3, 3, 2, 2)
    assert any(isinstance(layer, BatchNorm) for layer in layers) == (name != "GDN")


def test_unknown_name_tells_the_nearest():
    with pytest.raises(ValueError, match=r"unknown activation 'Prelu' \(nearest: 'PReLU'\)"):
        make_activation("Prelu", 3)


def test_norm_of_one_value_a_channel():
    norm = BatchNorm(3).train()
    x = torch.randn(1, 3, 1, 1, 1)
    torch.testing.assert_close(norm(x), x, rtol=1e-4, atol=1e-4)
    assert norm(torch.randn(2, 3, 1, 1, 1)).shape == (2, 3, 1, 1, 1)
