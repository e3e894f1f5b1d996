import numpy as np
import pytest
import torch

from models.zoo.linear import Linear

SHAPE, CHANNELS, S = (5, 4, 3), 2, 12
N = CHANNELS * 60


@pytest.fixture
def snapshots():
    return np.random.default_rng(0).standard_normal((N, S))


def test_projection_is_that_of_the_truncated_svd(snapshots):
    u, s, vt = np.linalg.svd(snapshots, full_matrices=False)
    model = Linear(CHANNELS, SHAPE, 5, u[:, :5])
    fields = torch.as_tensor(snapshots.T.reshape(S, CHANNELS, *SHAPE))
    np.testing.assert_allclose(model.encode(fields), (s[:5, None] * vt[:5]).T)
    truncated = (u[:, :5] * s[:5]) @ vt[:5]
    np.testing.assert_allclose(model(fields).flatten(1), truncated.T)


def test_nothing_is_lost_in_the_span(snapshots):
    model = Linear(CHANNELS, SHAPE, S, np.linalg.qr(snapshots)[0])
    fields = torch.as_tensor(snapshots.T.reshape(S, CHANNELS, *SHAPE))
    torch.testing.assert_close(model(fields), fields)


def test_solid_points(snapshots):
    mask = torch.rand(SHAPE) > 0.5
    model = Linear(CHANNELS, SHAPE, S, snapshots, mask)
    fields = torch.randn(1, CHANNELS, *SHAPE, dtype=torch.float64)
    back = model(torch.where(mask, fields, torch.tensor(float("nan"))))
    torch.testing.assert_close(back, model(fields))
    assert not back[:, :, ~mask].any()


def test_wrong_factors(snapshots):
    with pytest.raises(ValueError, match=r"factors of shape \(119, 12\), expected \(120, 12\)"):
        Linear(CHANNELS, SHAPE, S, snapshots[1:])
