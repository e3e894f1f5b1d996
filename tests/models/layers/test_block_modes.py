"""Modes in blocks: the same as the dense matrix that they stand for."""

import numpy as np
import pytest
import torch

from models.layers.local_modes import GridBlocks, LocalModes

SHAPE, CHANNELS = (9, 5, 4), 2


def dense(modes):
    """(C·points, m) S, a column at a time."""
    return modes.decode(torch.eye(modes.n_modes, dtype=modes.gram_inverse.dtype)).flatten(1).T


@pytest.fixture(params=[0, 1, 3])
def modes(request):
    torch.manual_seed(0)
    return LocalModes(CHANNELS, GridBlocks(SHAPE, (3, 2, 1), request.param), (3, 1, 0, 2, 4, 2)).double()


def test_products_are_those_of_the_dense_matrix(modes):
    modes.load_bases([modes.get_buffer(f"basis_{k}").numpy().copy() for k in range(6)])  # in double precision
    fields = torch.randn(3, CHANNELS, *SHAPE, dtype=torch.float64)
    matrix = dense(modes)
    assert matrix.shape == (CHANNELS * 9 * 5 * 4, 12)
    expected = torch.linalg.lstsq(matrix, fields.flatten(1).T).solution.T
    torch.testing.assert_close(modes.encode(fields), expected, rtol=1e-10, atol=1e-10)
    codes = torch.randn(3, 12, dtype=torch.float64)
    torch.testing.assert_close(modes.decode(codes).flatten(1), codes @ matrix.T)
    torch.testing.assert_close(modes.encode(modes.decode(codes)), codes)


def test_a_mode_is_zero_outside_its_block(modes):
    columns = dense(modes).T.reshape(12, CHANNELS, *SHAPE)
    for number, box in enumerate(modes.blocks.boxes()):
        own = torch.zeros(SHAPE, dtype=torch.bool)
        own[box] = True
        first = sum(modes.modes[:number])
        assert not columns[first : first + modes.modes[number]][..., ~own].any()


def test_the_derivative_is_the_transpose(modes):
    codes = torch.randn(1, 12, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(1, CHANNELS, *SHAPE, dtype=torch.float64)
    (pulled,) = torch.autograd.grad(modes.decode(codes), codes, direction)
    torch.testing.assert_close(pulled, direction.flatten(1) @ dense(modes))


def test_orthonormal_modes_side_by_side_need_no_inverse():
    modes = LocalModes(1, GridBlocks((6, 4, 2), (2, 2, 1)), (2, 2, 2, 2))
    rng = np.random.default_rng(0)
    modes.load_bases([np.linalg.qr(rng.standard_normal((12, 2)))[0] for _ in range(4)])
    torch.testing.assert_close(modes.gram_inverse, torch.eye(8), atol=1e-6, rtol=0)


def test_a_block_without_variance_has_codes_of_zero():
    modes = LocalModes(1, GridBlocks((4, 2, 1), (2, 1, 1)), (1, 1))
    modes.load_bases([np.zeros((4, 1)), np.full((4, 1), 0.5)])
    assert modes.encode(torch.ones(1, 1, 4, 2, 1)).tolist() == [[0.0, 2.0]]


@pytest.mark.parametrize("overlap", [0, 1, 2])
def test_cells_cover_the_grid_once_and_name_their_blocks(overlap):
    blocks = GridBlocks(SHAPE, (4, 2, 1), overlap)
    times, boxes = np.zeros(SHAPE, int), blocks.boxes()
    for cell, numbers in blocks.cells():
        times[cell] += 1
        for number, box in enumerate(boxes):
            within = [b.start <= c.start and c.stop <= b.stop for b, c in zip(box, cell, strict=True)]
            apart = [c.stop <= b.start or b.stop <= c.start for b, c in zip(box, cell, strict=True)]
            assert all(within) if number in numbers else any(apart)
    assert (times == 1).all()


def test_blocks_without_margins_cover_the_grid_once():
    blocks, times = GridBlocks(SHAPE, (4, 2, 3)), np.zeros(SHAPE, int)
    for box in blocks.boxes():
        times[box] += 1
    assert (times == 1).all() and len(blocks) == len(blocks.boxes()) == 24


def test_coordinates_go_through_each_block():
    x, y, z = GridBlocks((6, 4, 1), (2, 1, 1), overlap=1).coordinates()
    np.testing.assert_allclose(x[:, 0, 0], [-2 / 3, 0, 2 / 3, -2 / 3, 0, 2 / 3], atol=1e-6)
    np.testing.assert_allclose(y[0, :, 0], [-0.75, -0.25, 0.25, 0.75], atol=1e-6)
    assert not z.any()


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: GridBlocks((4, 4, 4), (5, 1, 1)), "expected 1 to 4"),
        (lambda: GridBlocks((4, 4, 4), (1, 1, 1), -1), "overlap of -1"),
        (lambda: LocalModes(1, GridBlocks((4, 1, 1), (2, 1, 1)), (1,)), "modes of 1 blocks"),
        (lambda: LocalModes(1, GridBlocks((4, 1, 1), (2, 1, 1)), (3, 0)), "3 modes of a block of 2 values"),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()
