"""Order and reading of samples: nothing lost, nothing twice, long reads, bounded memory, the same on all ranks."""

import numpy as np
import pytest

from models.training.dataset import batches_of, batches_together, read_batches, share

SAMPLES = np.arange(100 * 6, dtype=np.float64).reshape(100, 1, 3, 2, 1)


class Recorded:
    """Samples that note how they are read."""

    shape, dtype = SAMPLES.shape, SAMPLES.dtype

    def __init__(self):
        self.runs = []

    def __getitem__(self, run):
        self.runs.append((int(run.start), int(run.stop)))
        return SAMPLES[run]


@pytest.mark.parametrize("count, batch", [(100, 16), (5, 16), (33, 8), (100, 100)])
@pytest.mark.parametrize("together", [1, 2, 100])
def test_each_sample_once(count, batch, together):
    batches = batches_of(count, batch, together, 3, 1)
    assert sorted(np.concatenate(batches)) == list(range(count))
    sizes = [len(numbers) for numbers in batches]
    assert max(sizes) <= batch and max(sizes) - min(sizes) <= 1


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(*numbers):
        return np.concatenate(batches_of(100, 16, 2, *numbers)).tolist()

    assert order(3, 1) == order(3, 1)
    assert len({tuple(order(*numbers)) for numbers in ((3, 1), (3, 2), (4, 1), (1, 3))}) == 4


def test_few_blocks_are_in_memory_and_all_of_them_are_mixed():
    order = np.concatenate(batches_of(640, 16, 4, 0, 1))
    for window in order.reshape(-1, 64):
        assert len(np.unique(window // 16)) <= 5
        assert len(np.unique(window[:16] // 16)) >= 3
    assert np.corrcoef(order, np.arange(640))[0, 1] < 0.9


def test_ranks_share_a_batch():
    numbers = np.arange(17)
    parts = [share(numbers, rank, 3) for rank in range(3)]
    assert np.concatenate(parts).tolist() == numbers.tolist() and {len(part) for part in parts} == {5, 6}


@pytest.mark.parametrize("together", [1, 3, 100])
def test_what_is_read(together):
    batches, recorded = batches_of(100, 16, together, 0, 1), Recorded()
    found = list(read_batches(recorded, batches, together))
    assert len(found) == len(batches)
    for (numbers, values), expected in zip(found, batches, strict=True):
        assert values.dtype == np.float32 and numbers.tolist() == expected.tolist()
        np.testing.assert_array_equal(values, SAMPLES[expected])
    assert sum(end - first for first, end in recorded.runs) == 100
    # in long runs: a block lies in one group of batches, or in two that follow one another
    groups = -(-len(batches) // together)
    assert len(recorded.runs) <= (1 if groups == 1 else -(-100 // 16) + groups)


def test_a_rank_without_samples():
    (numbers, values), *others = read_batches(SAMPLES, [np.arange(0)], 16)
    assert not others and len(numbers) == 0 and values.shape == (0, 1, 3, 2, 1)


def test_memory_is_bounded():
    assert batches_together(np.empty((3, 1, 64, 64, 64), np.float32), 16) == 16
    assert batches_together(np.broadcast_to(np.float32(0), (3, 1, 4096, 4096, 64)), 16) == 1
