import torch
from gradients import check_gradient

from models.layers.convolution import strided_shape
from models.layers.multiscale import MultiScaleDecoder, MultiScaleEncoder
from models.layers.rab import Resize

SHAPES = [(9, 5, 3), (5, 3, 2), (3, 2, 1)]


def test_encoder_joins_at_the_last_resolution():
    features = [torch.randn(1, 2, *shape) for shape in SHAPES]
    join = MultiScaleEncoder([2, 2])
    found = join(features)
    assert found.shape == (1, 6, 3, 2, 1) and [path.stride[0] for path in join.paths] == [4, 2]
    assert torch.equal(found[:, 4:], features[2])
    torch.testing.assert_close(found[:, :2], join.paths[0](features[0]))


def test_decoder_joins_at_the_finest_resolution():
    features = [torch.randn(1, 2, *shape) for shape in reversed(SHAPES)]
    join = MultiScaleDecoder(2, 2, SHAPES[0])
    assert join(features).shape == (1, 2, *SHAPES[0])


def test_constants_stay_when_resized():
    assert torch.equal(Resize((9, 4, 3))(torch.ones(1, 2, 5, 2, 2)), torch.ones(1, 2, 9, 4, 3))


def test_gradients():
    class Both(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.decoder = MultiScaleEncoder([2]), MultiScaleDecoder(4, 1, (3, 3, 2))

        def forward(self, x):
            coarse = self.encoder([x, x[:, :, ::2, ::2, ::2]])
            return self.decoder([coarse, torch.cat([x, x], 1)])

    assert strided_shape((3, 3, 2)) == (2, 2, 1)
    check_gradient(Both(), torch.randn(1, 2, 3, 3, 2))
