"""Principal components of blocks as a codec, for many numbers of components at once; TSVD is that of one block.

With plain blocks and all values observed, the analysis of `background.transform: local` has a closed form: block by
block, codes c = Eᵀ x are multiplied by λ / (λ + α σ_o²), with λ the variance of each. What lies outside the span stays,
so that errors of all numbers of components come from one pass over the blocks, without their modes. Where a variable
has an anamorphosis errors are of the variable itself, and need the fields that the components make.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from da.background.blocks import Blocks, cover
from da.background.spectrum import positive_eigenpairs
from plugin.case.experiment import ProtocolSection
from plugin.experiment.states import StandardisedStates

Points = tuple[int, int, int]


@dataclass(frozen=True)
class CodecError:
    """Errors of some states, described by a number of components.

    numbers : components over all blocks; fewer than asked for where there are not as many
    codec, analysis : (T,) ‖x_a − x_t‖ / ‖x_t‖ of E Eᵀ x, and of the analysis of all values
    """

    numbers: int
    codec: np.ndarray
    analysis: np.ndarray


def plain_blocks(states: StandardisedStates, points: Points | None) -> Blocks:
    """Blocks of about so many grid points along each side, as a case's `background.local.points` gives them.

    None is one block of everything.
    """
    grid = states.grid
    spacing = np.asarray(grid.spacing)
    low = np.asarray(grid.origin) - 0.5 * spacing  # a point stands for the cell about it
    extent = np.asarray(grid.shape) * spacing
    return cover(low, low + extent, extent if points is None else np.asarray(points) * spacing, overlap=False)


def codec_errors(
    states: StandardisedStates, points: Points | None, counts: Sequence[int], protocol: ProtocolSection
) -> list[CodecError]:
    """Errors of the test states, for each number of components.

    Parameters
    ----------
    states : StandardisedStates; the training states give the components
    points : of a block; None for one block, which is TSVD
    counts : numbers of components over all blocks, those of the largest variance
    protocol : of the analysis
    """
    used, numbers = states.used, states.test(protocol.every)
    anomalies = states.rows[: states.n_training, used].astype(np.float64)
    anomalies -= anomalies.mean(axis=0)
    truth = states.rows[numbers][:, used].astype(np.float64)
    unit = 1.0 / np.sqrt(states.n_training - 1) if protocol.unbiased else 1.0
    position = states.grid.coordinates(used // len(states.variables))
    owner = plain_blocks(states, points).weights(position).argmax(axis=1)
    of_blocks = [np.flatnonzero(owner == block) for block in np.unique(owner)]
    parts = [_codes(anomalies[:, rows] * unit, truth[:, rows]) for rows in of_blocks]
    variance, squared = (np.concatenate(of) for of in zip(*parts, strict=True))
    order = np.argsort(-variance, kind="stable")
    variance, squared = variance[order], squared[order]
    # what is left of a code by the analysis, as a part of it
    left = (1.0 + variance / (protocol.background_weight * protocol.variance)) ** -2.0
    explained = np.cumsum(squared, axis=0)
    analysed = np.cumsum((1.0 - left)[:, None] * squared, axis=0)
    size = np.sum(truth**2, axis=1)

    def error(part: np.ndarray) -> np.ndarray:
        return np.sqrt(np.maximum(1.0 - part / size, 0.0))

    kept = [min(count, len(variance)) for count in counts]
    if states.plain is not None:
        fields = np.zeros((2, len(kept), len(used), len(numbers)))  # of the codec and of the analysis
        starts = np.cumsum([0, *(len(own) for own, _ in parts)])
        rank = np.argsort(order)  # of each component among all
        for rows, first, end in zip(of_blocks, starts[:-1], starts[1:], strict=True):
            modes = _modes(anomalies[:, rows] * unit)
            codes = modes.T @ truth[:, rows].T
            for k, m in enumerate(kept):
                chosen = rank[first:end] < m
                base, own = modes[:, chosen], codes[chosen]
                gain = 1.0 - np.sqrt(left[rank[first:end][chosen]])
                fields[0, k, rows], fields[1, k, rows] = base @ own, base @ (gain[:, None] * own)
        coded, gained = ([states.errors(one, numbers, used) for one in of] for of in fields)
        return [CodecError(*of) for of in zip(kept, coded, gained, strict=True)]
    return [CodecError(m, error(explained[m - 1]), error(analysed[m - 1])) for m in kept]


def _codes(anomalies: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(k,) variances and (k, T) squared codes of a block, from (S, n_b) anomalies and (T, n_b) states."""
    if anomalies.shape[1] < len(anomalies):
        values, vectors = positive_eigenpairs(anomalies.T @ anomalies)
        return values, (truth @ vectors).T ** 2
    values, right = positive_eigenpairs(anomalies @ anomalies.T)
    return values, (right.T @ (anomalies @ truth.T)) ** 2 / values[:, None]


def _modes(anomalies: np.ndarray) -> np.ndarray:
    """(n_b, k) orthonormal components of a block, in the order of `_codes`."""
    if anomalies.shape[1] < len(anomalies):
        return positive_eigenpairs(anomalies.T @ anomalies)[1]
    values, right = positive_eigenpairs(anomalies @ anomalies.T)
    return anomalies.T @ (right / np.sqrt(values))
