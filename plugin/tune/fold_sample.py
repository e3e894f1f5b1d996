"""Background errors of one fold's training states: square roots of B at the rows that tuning needs.

An analysis needs of B only its rows at places where it is scored and at values that H uses. Their square roots are
those of the modes that `plugin.window.background.of_case` would make of the same states.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from mpi4py import MPI

from da.background.anomalies import anomaly_blocks
from da.background.modes import n_kept
from da.background.spectrum import positive_eigenpairs
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError
from plugin.tune.folds import Fold
from plugin.tune.states import TuningStates
from plugin.window.background.of_case import made_modes, scale_of


@dataclass(frozen=True)
class Root:
    """Rows of a square root of B, a column for each mode, in the variables' units.

    scored : (k_local, s) at this rank's scored rows
    observed : (P, s) at the values that H uses, the same on every rank
    """

    scored: np.ndarray
    observed: np.ndarray


class FoldSample:
    """The training states of a fold, and the withheld ones as an analysis meets them.

    truth : (k_local, n) x_t − x_b of the withheld states at the scored rows
    size : (k_local, n) x_t − x̄ there
    innovation : (M, n) H x_t − H x_b, without errors
    """

    def __init__(self, states: TuningStates, fold: Fold, settings: BackgroundSection, comm: MPI.Comm) -> None:
        self._states, self._fold, self._settings, self._comm = states, fold, settings, comm
        self._kept: tuple[str, Root] | None = None
        scored = states.rows[states.scored]
        mean = scored[:, fold.training].mean(axis=1, keepdims=True)
        self.size = scored[:, fold.withheld] - mean
        if fold.before is None:
            self.truth = self.size
            before = states.read[:, fold.training].mean(axis=1, keepdims=True)
        else:
            self.truth = scored[:, fold.withheld] - scored[:, fold.before]
            before = states.read[:, fold.before]
        self.innovation = states.read[:, fold.withheld] - before

    @cached_property
    def _scale(self) -> np.ndarray:
        """(n_local,) as the case's modes have it. Collective."""
        snapshots = self._states.rows[:, self._fold.training]
        try:
            return scale_of(self._settings, self._states.transfer, snapshots)
        except ValueError as error:
            raise ConfigurationError(f"background: {error}") from error

    @cached_property
    def _anomalies(self) -> Root:
        """One mode for each state. Collective."""
        states, training = self._states, self._fold.training
        takes_part = self._scale > 0.0
        root = np.sqrt(len(training) - 1) if self._settings.unbiased else 1.0

        def centred(rows: np.ndarray) -> np.ndarray:
            values = states.rows[np.ix_(rows, training)]
            return takes_part[rows, None] * (values - values.mean(axis=1, keepdims=True)) / root

        return Root(centred(states.scored), self._shared(centred(states.observed)))

    def _shared(self, own: np.ndarray) -> np.ndarray:
        """Rows of the values that H uses, on every rank, rising: each rank has a run of them. Collective."""
        return np.concatenate(self._comm.allgather(np.ascontiguousarray(own)))

    @cached_property
    def _right(self) -> tuple[np.ndarray, np.ndarray]:
        """Singular values of the scaled anomalies, falling, and their (S, r) right vectors. Collective.

        From products of the states, an order faster than modes are made, which do not lose values a millionth of the
        largest: those hardly count.
        """
        training = self._fold.training
        snapshots = self._states.rows[:, training]
        products = np.zeros((len(training),) * 2)
        for _, block, _ in anomaly_blocks(snapshots, self._scale, self._settings.unbiased):
            products += block.T @ block
        squares, right = positive_eigenpairs(self._comm.allreduce(products))
        return np.sqrt(squares), right

    def root(self, settings: BackgroundSection) -> Root:
        """Of B as these keys ask for it, without inflation. Collective.

        A number of modes that this fold does not have is all that it has.

        Raises
        ------
        ConfigurationError
            if the states give no modes
        """
        names = {"transform", "truncation", "local"}
        key = settings.model_dump_json(include=names)
        if self._kept is None or self._kept[0] != key:
            self._kept = key, self._made(settings)
        return self._kept[1]

    def _made(self, settings: BackgroundSection) -> Root:
        if settings.transform == "reduced":
            return self._anomalies
        if settings.transform == "local":
            return self._of_blocks(settings)
        sigma, right = self._right
        truncation: Any = settings.truncation
        if isinstance(truncation, int):
            truncation = min(truncation, len(sigma))
        try:
            kept = right[:, : n_kept(sigma, truncation)]
        except ValueError as error:
            raise ConfigurationError(f"background: {error}") from error
        return Root(self._anomalies.scored @ kept, self._anomalies.observed @ kept)

    def _of_blocks(self, settings: BackgroundSection) -> Root:
        states = self._states
        modes, scale, _ = made_modes(settings, states.transfer, states.rows[:, self._fold.training], self._comm)

        def scaled(rows: np.ndarray) -> np.ndarray:
            return scale[rows, None] * np.asarray(modes.vectors[rows], np.float64)

        return Root(scaled(states.scored), self._shared(scaled(states.observed)))
