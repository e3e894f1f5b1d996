"""Modes of blocks from states: principal components, their number in each block, folds that know nothing of theirs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mpi4py import MPI
from training_problem import MASK, N_VALIDATION, make_network, make_samples

from models.layers.local_modes import GridBlocks, LocalModes
from models.training.averaging import Average
from models.training.errors import TrainingError
from models.training.linear_start import begins_at_modes, begun, cross_fitted, local_bases, modes_of_blocks
from models.training.loop import train
from models.training.recipe import Recipe

SAMPLES = make_samples(60)
BLOCKS = GridBlocks(SAMPLES.shape[2:], (3, 1, 1))
COMM = MPI.COMM_SELF


def spectra():
    return [
        np.linalg.svd(SAMPLES[(slice(None), slice(None), *box)].reshape(60, -1), compute_uv=False) ** 2
        for box in BLOCKS.boxes()
    ]


def codec(blocks, modes, bases):
    made = LocalModes(2, blocks, modes)
    made.load_bases(bases)
    return made


def left_out(of, values):
    fields = torch.from_numpy(values)
    return float((fields - of.decode(of.encode(fields))).square().sum())


def test_modes_are_the_principal_components_of_each_block():
    modes = (2, 3, 1)
    bases = local_bases(SAMPLES, BLOCKS, modes)
    for box, basis in zip(BLOCKS.boxes(), bases, strict=True):
        values = SAMPLES[(slice(None), slice(None), *box)].reshape(60, -1)
        vectors = np.linalg.svd(values, full_matrices=False)[2][: basis.shape[1]].T
        np.testing.assert_allclose(basis @ basis.T, vectors @ vectors.T, atol=1e-4)
    least = sum(of[k:].sum() for of, k in zip(spectra(), modes, strict=True))
    assert left_out(codec(BLOCKS, modes, bases), SAMPLES) == pytest.approx(least, rel=1e-4)


def test_the_numbers_of_modes_are_those_of_the_largest_variances():
    counts = modes_of_blocks(SAMPLES, BLOCKS, 10)
    every = np.sort(np.concatenate(spectra()))[::-1]
    assert counts == [int(np.sum(of >= every[9])) for of in spectra()] and sum(counts) == 10


def test_more_numbers_than_the_states_have_components_are_refused():
    with pytest.raises(ValueError, match="n_latent = 60, but 4 states have 12 components in blocks of"):
        modes_of_blocks(SAMPLES[:4], BLOCKS, 60)


def test_overlapping_blocks_leave_out_less_of_the_states_they_learn():
    blocks, modes = replace(BLOCKS, overlap=2), (3, 3, 3)
    errors = [left_out(codec(blocks, modes, local_bases(SAMPLES, blocks, modes, turns)), SAMPLES) for turns in range(3)]
    assert errors[2] < errors[1] < errors[0]
    # without a turn they are those of blocks side by side
    plain = left_out(codec(BLOCKS, modes, local_bases(SAMPLES, BLOCKS, modes)), SAMPLES)
    assert errors[0] == pytest.approx(plain, rel=1e-4)


def test_blocks_without_variance_have_modes_of_zero(recwarn):
    still = SAMPLES.copy()
    still[:, :, 9:] = 0.0
    modes = codec(replace(BLOCKS, overlap=1), (3, 2, 2), local_bases(still, replace(BLOCKS, overlap=1), (3, 2, 2)))
    assert not modes.get_buffer("basis_2").any() and modes.get_buffer("basis_0").any()
    assert torch.isfinite(modes.encode(torch.from_numpy(still))).all() and not recwarn.list


@pytest.mark.parametrize("overlap", [0, 1])
def test_a_block_may_have_no_modes(overlap):
    blocks = replace(BLOCKS, overlap=overlap)
    bases = local_bases(SAMPLES, blocks, (3, 0, 2))
    assert bases[1].shape[1] == 0 and left_out(codec(blocks, (3, 0, 2), bases), SAMPLES) > 0.0


def network(name="PCA-UNet", **options):
    return make_network(name, blocks=[2, 1, 1], overlap=1, **options)


def test_a_fold_has_modes_that_know_neither_it_nor_its_neighbours_in_time():
    model = network()
    first = cross_fitted(SAMPLES, N_VALIDATION, model, 4, 3)
    assert np.array_equal(np.concatenate(first.numbers), np.arange(52)) and len(first.folds) == 4
    changed = SAMPLES.copy()
    low, high = first.numbers[1][[0, -1]]
    changed[low - 3 : high + 4] = 0.0
    second = cross_fitted(changed, N_VALIDATION, model, 4, 3)
    same = [
        all(torch.equal(a.modes[key], b.modes[key]) for key in a.modes)
        for a, b in zip(first.folds, second.folds, strict=True)
    ]
    assert same == [False, True, False, False]


def test_validation_states_make_the_final_modes_alone():
    model, changed = network(), SAMPLES.copy()
    changed[-N_VALIDATION:] *= -2.0
    changed[-1, :, 8:] = 1.0
    first, second = (cross_fitted(of, N_VALIDATION, model, 4, 3) for of in (SAMPLES, changed))
    for key, value in first.validation.modes.items():
        assert torch.equal(value, second.validation.modes[key])
    assert any(not torch.equal(value, second.final.modes[key]) for key, value in first.final.modes.items())


def test_deviation_is_that_of_states_that_made_no_modes():
    model = network()
    start = cross_fitted(SAMPLES, N_VALIDATION, model, 4, 3)
    square = np.zeros(SAMPLES.shape[1:])
    for numbers, fold in zip(start.numbers, start.folds, strict=True):
        own = LocalModes(2, model.linear.blocks, model.linear.modes)
        own.load_state_dict(fold.modes)
        fields = torch.from_numpy(SAMPLES[numbers])
        square += (fields - own.decode(own.encode(fields))).square().sum(0).numpy()
    np.testing.assert_allclose(start.folds[0].deviation, np.sqrt(square / 52), atol=1e-5)
    assert not start.folds[0].deviation[:, ~MASK].any()


@pytest.mark.parametrize("folds, gap", [(1, 0), (40, 0), (4, 30)])
def test_too_few_states_for_the_folds(folds, gap):
    with pytest.raises(ValueError, match=f"{folds} folds with gaps of {gap} of 52 states"):
        cross_fitted(SAMPLES, N_VALIDATION, network(), folds, gap)


def test_only_some_networks_begin_at_modes():
    assert begins_at_modes(network()) and begins_at_modes(network("PCA-Tucodec-NeXt"))
    assert not begins_at_modes(make_network())
    with pytest.raises(ValueError, match="does not begin at modes"):
        begun(make_network(), SAMPLES, N_VALIDATION, 4, 3, 0)


@pytest.mark.parametrize("name", ["PCA-UNet", "PCA-vanilla", "PCA-Tucodec-NeXt"])
def test_training_goes_on_to_the_last_bit_and_lowers_the_error(name, tmp_path):
    recipe = Recipe(
        epochs=4, batch=8, optimiser="muon", rate=0.005, objective="relative", average=0.9, augmentation=None
    )

    def made():
        return begun(network(name), SAMPLES, N_VALIDATION, 4, 3, 0)

    class Stopped(Exception):
        pass

    def stop(history):
        if history[-1]["epoch"] == 2:
            raise Stopped

    (whole, start), (stopped, _), (resumed, _) = made(), made(), made()
    found = train(whole, SAMPLES, N_VALIDATION, recipe, COMM, cross_fitted=start)
    losses = [record["train"] for record in found.history]
    assert losses[-1] < losses[0]
    with pytest.raises(Stopped):
        train(stopped, SAMPLES, N_VALIDATION, recipe, COMM, cross_fitted=start, folder=tmp_path, after_epoch=stop)
    again = train(resumed, SAMPLES, N_VALIDATION, recipe, COMM, cross_fitted=start, folder=tmp_path, resume=2)
    assert [r["validation"] for r in again.history] == [r["validation"] for r in found.history]
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
    # those of validation, until the final ones are set
    for key, value in start.validation.modes.items():
        assert torch.equal(whole.linear.state_dict()[key], value)


def test_roots_are_fitted_before_the_modes_are_made():
    zero = np.full(SAMPLES.shape[1:], -6.0)
    model, start = begun(network(roots=[0]), SAMPLES, N_VALIDATION, 4, 3, 0, zero)
    inner = model.roots(torch.from_numpy(SAMPLES)) * model.mask
    own = LocalModes(2, model.linear.blocks, model.linear.modes)
    own.load_bases(local_bases(inner.numpy()[:-N_VALIDATION], model.linear.blocks, model.linear.modes))
    for key, value in own.state_dict().items():
        torch.testing.assert_close(start.validation.modes[key], value, atol=1e-4, rtol=1e-3)
    recipe = Recipe(epochs=2, batch=8, objective="relative", augmentation=None)
    losses = train(model, SAMPLES, N_VALIDATION, recipe, COMM, cross_fitted=start).history
    assert losses[1]["train"] < losses[0]["train"]
    with pytest.raises(ValueError, match="the states' zero is not known"):
        begun(network(roots=[0]), SAMPLES, N_VALIDATION, 4, 3, 0)


def test_averaged_weights_are_judged_and_kept():
    model = torch.nn.Linear(2, 1)
    average, expected = Average(model, 0.9), model.weight.detach().clone()
    for step in range(1, 30):
        with torch.no_grad():
            model.weight += 1.0
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * model.weight.detach()
        average.update(step)
    own = model.weight.detach().clone()
    with average.in_place():
        torch.testing.assert_close(model.weight.detach(), expected)
    assert torch.equal(model.weight, own)
    with pytest.raises(ValueError, match="another network"):
        Average(model, 0.9, {"other": own})
    none = Average(model, 0.0)
    none.update(1)
    with none.in_place():
        assert torch.equal(model.weight, own) and not none.values


def test_a_loss_that_is_no_number_is_told_here_too():
    model, start = begun(network(), SAMPLES, N_VALIDATION, 4, 3, 0)
    bad = SAMPLES.copy()
    bad[0] = np.nan
    with pytest.raises(TrainingError, match="epoch 1: the loss is nan"):
        train(model, bad, N_VALIDATION, Recipe(epochs=1, augmentation=None), COMM, cross_fitted=start)
