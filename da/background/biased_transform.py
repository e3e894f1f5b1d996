"""Biases of stations as extra control variables: variational bias correction (Dee 2005).

An observation of a station is y = H x + b + ε. A number β of unit variance for each station, b = σ β, is added to the
control w, so that the analysis and the biases are estimated together:

    J(w, β) = ½ wᵀw + ½ βᵀβ + ½ ‖d − H U w − S β‖²_{R⁻¹},   S = [σ_k where station k made the observation]

Only other sensors and the modes can distinguish a bias from a background error; the departure of a single station is
divided between both, by their variances. A factor a of ½ wᵀw (`background_weight`) applies to β as well: give σ √a
then.

With this transform and a :class:`da.observation.bias.BiasedOperator` the cost is like any other. The increment that
passes between them is the state's, followed by the biases on rank 0.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from da.background.transform import Transform
from da.observation.bias import BiasedOperator, split_biases
from da.observation.operator import ObservationOperator


@dataclass(frozen=True)
class BiasedTransform:
    """(w, β) ↦ (δx, b). A Transform; control and increment are those of `inner`, followed by the biases.

    inner : Transform
    std : (K,) prior standard deviation σ of each bias, in its observations' units; the same on every rank
    comm : MPI communicator

    ValueError if a σ is not positive and finite.
    """

    inner: Transform
    std: np.ndarray
    comm: MPI.Comm

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~(np.isfinite(self.std) & (np.asarray(self.std) > 0.0)))
        if len(bad):
            raise ValueError(f"standard deviation {self.std[bad[0]]} of bias {bad[0]}, expected a positive number")

    @property
    def n_control(self) -> int:
        """s + K, length of a control."""
        return self.inner.n_control + len(self.std)

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine U and the biases' variances: this rank's arrays."""
        return (*self.inner.content, self.std)

    @property
    def linear(self) -> bool:
        """Whether U is linear; the biases always are."""
        return self.inner.linear

    def apply(self, control: np.ndarray) -> np.ndarray:
        """(s + K,) on every rank → (n_local,), on rank 0 (n_local + K,)."""
        return self._with_biases(self.inner.apply(control[: self.inner.n_control]), control)

    def adjoint(self, increment: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """The transpose of `apply`: on rank 0 (n_local + K,), elsewhere (n_local,) → (s + K,). Collective."""
        state, bias = split_biases(increment, len(self.std), self.comm)
        inner = self.inner.adjoint(state, at=None if at is None else at[: self.inner.n_control])
        return np.append(inner, self.std * self.comm.bcast(bias))

    def tangent(self, direction: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """The derivative of `apply`: (s + K,) on every rank → (n_local,), on rank 0 (n_local + K,). Collective."""
        s = self.inner.n_control
        state = self.inner.tangent(direction[:s], at=None if at is None else at[:s])
        return self._with_biases(state, direction)

    def operator_product(self, operator: ObservationOperator) -> np.ndarray:
        """[H U, S]: (M_local, s + K), for linear U and a linear BiasedOperator. Collective."""
        operator = _with_stations(operator)
        return np.hstack([self.inner.operator_product(operator.inner), self._bias_columns(operator.station)])

    def operator_product_in_blocks(self, operator: ObservationOperator) -> Iterator[tuple[slice, np.ndarray]]:
        """The same by blocks of H's rows: slices of this rank's rows and their (k, s + K). Collective."""
        operator = _with_stations(operator)
        # asked here and not with the first block, so that a U without such a product is refused at once
        blocks = self.inner.operator_product_in_blocks(operator.inner)
        return ((rows, np.hstack([block, self._bias_columns(operator.station[rows])])) for rows, block in blocks)

    def _with_biases(self, state: np.ndarray, control: np.ndarray) -> np.ndarray:
        bias = self.std * control[self.inner.n_control :]
        return np.append(state, bias) if self.comm.rank == 0 else state

    def _bias_columns(self, station: np.ndarray) -> np.ndarray:
        return (station[:, None] == np.arange(len(self.std))) * self.std

    def state_increment(self, increment: np.ndarray) -> np.ndarray:
        """The state's part of an increment: (n_local,)."""
        return split_biases(increment, len(self.std), self.comm)[0]

    def bias(self, control: np.ndarray) -> np.ndarray:
        """b: (K,), in the observations' units."""
        return self.std * control[self.inner.n_control :]


def _with_stations(operator: ObservationOperator) -> BiasedOperator:
    if not isinstance(operator, BiasedOperator):
        raise ValueError(f"{type(operator).__name__} observes no biases; wrap it in a BiasedOperator")
    return operator
