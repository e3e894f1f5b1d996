import numpy as np
import pytest
import torch

from models.training.augmentation import Augmentation

FIELDS = torch.randn(4, 2, 24, 20, 10)


def test_noise_is_as_told():
    seen, target = Augmentation(noise=(0.03, 0.03), share=(0.2, 0.2)).apply(FIELDS, np.arange(4), 0, 1)
    assert torch.equal(target, FIELDS)
    noise = seen - FIELDS
    touched = noise != 0.0
    assert touched.float().mean().item() == pytest.approx(0.2, abs=0.01)
    assert noise[touched].std().item() == pytest.approx(0.03, rel=0.05)
    assert noise[touched].mean().item() == pytest.approx(0.0, abs=0.001)


def test_limits_of_noise_and_share():
    seen, _ = Augmentation().apply(torch.zeros(100, 1, 12, 12, 12), np.arange(100), 0, 1)
    shares = (seen != 0.0).flatten(1).float().mean(1)
    sizes = torch.stack([sample[sample != 0.0].std() for sample in seen])
    assert 0.09 < shares.min() < 0.2 and 0.4 < shares.max() < 0.53
    assert 0.004 < sizes.min() < 0.01 and 0.045 < sizes.max() < 0.055


def test_it_depends_on_the_sample_and_not_on_its_batch():
    augmentation = Augmentation(flip=0.5)
    together = augmentation.apply(FIELDS, np.array([5, 6, 7, 8]), 3, 2)
    alone = augmentation.apply(FIELDS[2:3], np.array([7]), 3, 2)
    for of_all, of_one in zip(together, alone, strict=True):
        assert torch.equal(of_all[2:3], of_one)
    for other in ((np.array([6]), 3, 2), (np.array([7]), 4, 2), (np.array([7]), 3, 4)):
        assert not torch.equal(augmentation.apply(FIELDS[2:3], *other)[0], alone[0])


def test_mirror_images():
    before = FIELDS.clone()
    seen, target = Augmentation(noise=(0.0, 0.0), flip=0.5).apply(
        FIELDS[:1].expand(64, -1, -1, -1, -1), np.arange(64), 0, 1
    )
    assert torch.equal(seen, target) and torch.equal(FIELDS, before)
    counts = [sum(torch.equal(each, FIELDS[0].flip(axes)) for each in target) for axes in ([], [1], [2], [1, 2])]
    assert sum(counts) == 64 and min(counts) >= 8


def test_combinations_have_the_covariance_of_the_samples():
    fields = torch.tensor([[3.0, 0.0], [1.0, 2.0], [0.0, -1.0]])[:, :, None, None, None].double()
    augmentation = Augmentation(noise=(0.0, 0.0), combine=1.0)
    drawn = [augmentation.apply(fields, np.arange(3), 0, epoch) for epoch in range(3000)]
    assert all(torch.equal(seen, target) for seen, target in drawn)
    found = torch.cat([target for _, target in drawn]).flatten(1)
    assert found.mean(0).abs().max() < 0.05
    expected = fields.flatten(1).T @ fields.flatten(1) / 3
    torch.testing.assert_close(found.T @ found / len(found), expected, atol=0.1, rtol=0)


def test_a_part_of_the_samples_is_combined():
    _, target = Augmentation(combine=0.3).apply(FIELDS[:1].expand(200, -1, -1, -1, -1), np.arange(200), 0, 1)
    kept = sum(torch.equal(each, FIELDS[0]) for each in target)
    assert 120 < kept < 160
