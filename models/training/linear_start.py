"""Where networks that begin at a linear codec begin: modes of blocks from training states, and cross-fitted ones.

Each block's modes are the principal components of its own values, Eᵀ E = 1; of all blocks' components those of the
largest variance are kept. Where blocks overlap, modes S and codes Z = S⁺ X are then improved in turns (alternating
least squares): with codes given, the values of each point are regressed on the codes of the blocks that it lies in,
with a ridge. Or modes are those of a covariance that falls with distance (:mod:`models.training.windowed_modes`).

A network that is to correct what modes leave out must see it as it will be on states that made no modes: the states of
each fold get modes of the others, without those next to the fold in time.

Stone 1974, Cross-validatory choice and assessment of statistical predictions,
    https://doi.org/10.1111/j.2517-6161.1974.tb00994.x
Hoerl & Kennard 1970, Ridge regression: biased estimation for nonorthogonal problems,
    https://doi.org/10.1080/00401706.1970.10488634
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh, solve
from torch import nn

from models import zoo
from models.layers.local_modes import GridBlocks, LocalModes
from models.training.dataset import Samples
from models.training.windowed_modes import Windows, windowed_modes
from models.zoo.autoencoder import Autoencoder
from models.zoo.corrected import Corrected, CorrectedCodes

TURNS = 2  # of codes and modes; more fit the training states alone
_RIDGE = 1e-2  # part of each code's variance, and a tenth of it of their mean
_TOGETHER = 64  # states that are encoded at a time
_MOST = 4  # times the mean number of modes that a block may have


@dataclass(frozen=True)
class Start:
    """What the buffers of a network are set to.

    modes : the state of its `LocalModes`
    deviation : (C, nx, ny, nz) standard deviation of what modes leave out, on states that made none of them
    spread : (m,) of codes
    """

    modes: dict[str, torch.Tensor]
    deviation: torch.Tensor
    spread: torch.Tensor

    def load(self, model: nn.Module) -> None:
        """Set the modes, deviation and spread of a network that begins at them; ValueError for any other."""
        if not isinstance(model, Corrected | CorrectedCodes):
            raise ValueError(f"{type(model).__name__} does not begin at modes of blocks")
        model.linear.load_state_dict(self.modes)
        model.deviation.copy_(self.deviation)
        if isinstance(model, CorrectedCodes):
            model.spread.copy_(self.spread)


@dataclass(frozen=True)
class CrossFitted:
    """Modes for training, validation and use.

    numbers : of the training states of each fold
    folds : of each fold's training; made without it
    validation : made from all training states
    final : made from the validation states, too
    """

    numbers: list[np.ndarray]
    folds: list[Start]
    validation: Start
    final: Start


def modes_of_blocks(values: np.ndarray, blocks: GridBlocks, n_latent: int) -> list[int]:
    """Number of modes of each block: those of the n_latent largest variances over all blocks.

    No block has more than four times their mean.

    Parameters
    ----------
    values : (S, C, nx, ny, nz) standardised states
    blocks : GridBlocks
    n_latent : modes in all

    Raises
    ------
    ValueError
        if the blocks have fewer components
    """
    most = -(-n_latent * _MOST // len(blocks))
    spectra = [_components(_values(values, box), most)[0] for box in blocks.boxes()]
    every = np.sort(np.concatenate(spectra))[::-1]
    if len(every) < n_latent or every[n_latent - 1] <= 0.0:
        count = int(np.sum(every > 0.0))
        raise ValueError(
            f"n_latent = {n_latent}, but {len(values)} states have {count} components in blocks of {blocks.counts}; "
            "expected fewer numbers, or more blocks"
        )
    counts = [int(np.sum(of >= every[n_latent - 1])) for of in spectra]
    counts[int(np.argmax(counts))] -= sum(counts) - n_latent  # of equal variances
    return counts


def local_bases(values: np.ndarray, blocks: GridBlocks, modes: Sequence[int], turns: int = TURNS) -> list[np.ndarray]:
    """Modes of blocks from standardised states.

    Parameters
    ----------
    values : (S, C, nx, ny, nz) float32
    blocks : GridBlocks
    modes : number of modes of each
    turns : of codes and modes where blocks overlap

    Returns
    -------
    list of (C·points of the block's box, modes) float32
    """
    inner, boxes, channels = GridBlocks(blocks.shape, blocks.counts).boxes(), blocks.boxes(), values.shape[1]
    bases = []
    for box, own, count in zip(boxes, inner, modes, strict=True):
        _, vectors = _components(_values(values, own), count)
        grown = np.zeros((channels, *(of.stop - of.start for of in box), count), np.float32)
        grown[(slice(None), *_within(own, box))] = vectors.reshape(channels, *(of.stop - of.start for of in own), count)
        bases.append(grown)
    if blocks.overlap:
        for _ in range(turns):
            _improve(values, blocks, modes, bases)
    return [_flat(of) for of in bases]


def cross_fitted(
    values: np.ndarray, n_validation: int, model: Corrected | CorrectedCodes, folds: int, gap: int
) -> CrossFitted:
    """Modes for a network's training.

    Parameters
    ----------
    values : (S, C, nx, ny, nz) float32 standardised states in time order
    n_validation : the last so many are for validation
    model : network whose blocks and numbers of modes are meant
    folds : runs of consecutive training states; two or more
    gap : states before and after a fold that make no modes for it

    Raises
    ------
    ValueError
        if there are too few states for the folds
    """
    n_training = len(values) - n_validation
    if folds < 2 or n_training < 2 * folds + 2 * gap:
        raise ValueError(f"{folds} folds with gaps of {gap} of {n_training} states; expected 2 or more, in more states")
    linear = model.linear
    numbers, made, square = np.array_split(np.arange(n_training), folds), [], np.zeros(values.shape[1:])
    codes = np.zeros((n_training, linear.n_modes), np.float32)
    for fold in numbers:
        rest = np.r_[0 : max(0, fold[0] - gap), min(n_training, fold[-1] + 1 + gap) : n_training]
        codec = _codec(values[rest], model)
        for first in range(0, len(fold), _TOGETHER):
            which = fold[first : first + _TOGETHER]
            fields = torch.from_numpy(np.ascontiguousarray(values[which]))
            codes[which] = codec.encode(fields)
            square += (fields - codec.decode(codec.encode(fields))).square().sum(0, dtype=torch.float64).numpy()
        made.append(codec.state_dict())
    deviation, spread = torch.from_numpy(np.sqrt(square / n_training)).float(), torch.from_numpy(codes.std(axis=0))
    of_training, of_all = (_codec(of, model).state_dict() for of in (values[:n_training], values))
    folded, validation, final = [Start(modes, deviation, spread) for modes in made], of_training, of_all
    return CrossFitted(numbers, folded, Start(validation, deviation, spread), Start(final, deviation, spread))


def begins_at_modes(model: nn.Module) -> bool:
    """Whether a network is to be `begun` before it is trained."""
    return isinstance(model, Corrected | CorrectedCodes)


def begun(
    model: Autoencoder,
    values: Samples,
    n_validation: int,
    folds: int,
    gap: int,
    seed: int,
    zero: np.ndarray | None = None,
) -> tuple[Corrected | CorrectedCodes, CrossFitted]:
    """A network that begins at modes of blocks, holding those for validation, and all modes for its training.

    Unless the network was made with numbers of modes, each block has as many as their variances ask for.

    Parameters
    ----------
    model : from `models.zoo.make`
    values : (S, C, nx, ny, nz) standardised states in time order; all of them come into memory
    n_validation, folds, gap : as for `cross_fitted`
    seed : of the weights
    zero : (C, nx, ny, nz) standardised value of zero, for a network of square roots

    Raises
    ------
    ValueError
        if the network begins at no modes, there are too few states for them or for the folds, or no zero for its roots
    """
    if not isinstance(model, Corrected | CorrectedCodes):
        raise ValueError(f"{type(model).__name__} does not begin at modes of blocks")
    assert model.architecture is not None  # it was made by name
    fields = np.ascontiguousarray(values[0 : len(values)], np.float32)
    about = model.architecture
    options = {**about["options"], "n_latent": model.n_latent}
    roots = model.roots if isinstance(model, Corrected) else None
    if roots is not None:
        if zero is None:
            raise ValueError("square roots: the states' zero is not known here")
        roots.fit(fields[: len(fields) - n_validation], zero)
        fields = np.concatenate([roots(torch.from_numpy(of)).numpy() for of in _runs(fields)]) * model.mask.numpy()
    if "modes" not in options and model.windows is None:
        options["modes"] = modes_of_blocks(fields[: len(fields) - n_validation], model.linear.blocks, model.n_latent)
    network = zoo.make(about["name"], model.channels, model.shape, mask=model.mask, seed=seed, **options)
    if roots is not None:
        network.roots.load_state_dict(roots.state_dict())
    start = cross_fitted(fields, n_validation, network, folds, gap)
    start.validation.load(network)
    return network, start


def _codec(values, model):
    linear = model.linear
    codec = LocalModes(linear.channels, linear.blocks, linear.modes)
    if model.windows is not None:
        bases = [windowed_modes(values, linear.n_modes, Windows(**model.windows))]
    else:
        bases = local_bases(values, linear.blocks, linear.modes)
    codec.load_bases(bases)
    return codec


def _values(values, box):
    """(S, C·points) of a box."""
    return values[(slice(None), slice(None), *box)].reshape(len(values), -1)


def _components(values, count):
    """(k,) falling variances and (C·points, count) components; zero where there are fewer."""
    gram = (values @ values.T).astype(np.float64)
    k = min(count, len(gram))
    if not k:
        return np.empty(0), np.zeros((values.shape[1], 0), np.float32)
    variances, right = eigh(gram, subset_by_index=(len(gram) - k, len(gram) - 1))
    variances, right = variances[::-1], right[:, ::-1]
    sound = variances > 1e-7 * max(variances[0], 1e-30)  # of single-precision products
    vectors = np.zeros((values.shape[1], count), np.float32)
    vectors[:, :k][:, sound] = values.T @ (right[:, sound] / np.sqrt(variances[sound])).astype(np.float32)
    return np.where(sound, variances, 0.0), vectors


def _flat(modes):
    """(values, modes) of a block; it may have no modes at all."""
    return modes.reshape(int(np.prod(modes.shape[:-1])), modes.shape[-1])


def _within(inner, outer):
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))


def _improve(values, blocks, modes, bases):
    """One turn: codes by least squares, then each point's row of the modes by ridge regression; in place."""
    codec = LocalModes(values.shape[1], blocks, modes)
    codec.load_bases([_flat(of) for of in bases])
    codes = np.concatenate([codec.encode(torch.from_numpy(of)).numpy() for of in _runs(values)])
    second = (codes.T @ codes).astype(np.float64)
    starts, boxes = np.cumsum([0, *modes]), blocks.boxes()
    for cell, numbers in blocks.cells():
        columns = np.concatenate([np.arange(starts[k], starts[k + 1]) for k in numbers])
        if not len(columns):
            continue
        size, at_points = np.diag(second)[columns], _values(values, cell)
        if not size.any():  # blocks without variance keep modes of zero
            continue
        ridge = _RIDGE * (size + 0.1 * size.mean())
        moments = (codes[:, columns].T @ at_points).astype(np.float64)
        rows = solve(second[np.ix_(columns, columns)] + np.diag(ridge), moments, assume_a="pos")
        split = np.split(rows, np.cumsum([modes[k] for k in numbers])[:-1])
        for k, of_block in zip(numbers, split, strict=True):
            where = bases[k][(slice(None), *_within(cell, boxes[k]))]
            where[...] = of_block.T.reshape(where.shape)


def _runs(values):
    return (np.ascontiguousarray(values[first : first + _TOGETHER]) for first in range(0, len(values), _TOGETHER))
