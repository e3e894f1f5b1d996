"""Biases of stations as extra control variables: variational bias correction (Dee 2005).

A station's readings are y = H x + b + ε. To the control w a number β of unit variance is added for each
station, b = σ β, so that analysis and biases are found together:

    J(w, β) = ½ wᵀw + ½ βᵀβ + ½ ‖d − H U w − S β‖²_{R⁻¹},   S = [σ_k where station k made the reading]

A bias is told from an error of the background only by what other sensors and the modes say; one
station alone shares its departure between both, by their variances. A factor a other than one of ½ wᵀw
(`background_weight`) counts for β as well: give σ √a then.

The pair of a transform and an operator below makes this a cost like any other. The increment they
pass on is the state's with the biases after it, on rank 0.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together


@dataclass(frozen=True)
class BiasedTransform:
    """(w, β) ↦ (δx, b). A Transform; control and increment are those of `inner`, with the biases after them.

    inner : Transform
    std : (K,) prior standard deviation σ of each bias, in its readings' units; the same on every rank
    comm : MPI communicator

    ValueError if a σ is not positive and finite.
    """

    inner: object
    std: np.ndarray
    comm: MPI.Comm

    def __post_init__(self):
        bad = np.flatnonzero(~(np.isfinite(self.std) & (np.asarray(self.std) > 0.0)))
        if len(bad):
            raise ValueError(f"standard deviation {self.std[bad[0]]} of bias {bad[0]}, expected a positive number")

    @property
    def n_control(self):
        """s + K, length of a control."""
        return self.inner.n_control + len(self.std)

    @property
    def content(self):
        """The numbers that this adds to the inner transform."""
        return (self.std,)

    @property
    def linear(self):
        """Whether U is linear; the biases always are."""
        return self.inner.linear

    def apply(self, control):
        """(s + K,) on every rank → (n_local,), on rank 0 (n_local + K,)."""
        s = self.inner.n_control
        increment = self.inner.apply(control[:s])
        return np.append(increment, self.std * control[s:]) if self.comm.rank == 0 else increment

    def adjoint(self, increment, at=None):
        """The transpose of `apply`: on rank 0 (n_local + K,), elsewhere (n_local,) → (s + K,). Collective."""
        state, bias = _parts(increment, len(self.std), self.comm)
        inner = self.inner.adjoint(state, at=None if at is None else at[: self.inner.n_control])
        return np.append(inner, self.std * self.comm.bcast(bias))

    def operator_product(self, operator):
        """[H U, S]: (M_local, s + K), for linear U and H. Collective."""
        return np.hstack([self.inner.operator_product(operator.inner), self._bias_columns(operator.station)])

    def operator_product_in_blocks(self, operator):
        """The same by blocks of H's rows: slices of this rank's rows and their (k, s + K). Collective."""
        for rows, block in self.inner.operator_product_in_blocks(operator.inner):
            yield rows, np.hstack([block, self._bias_columns(operator.station[rows])])

    def _bias_columns(self, station):
        return (station[:, None] == np.arange(len(self.std))) * self.std

    def state_increment(self, increment):
        """(n_local,) what `apply` gives without the biases."""
        return _parts(increment, len(self.std), self.comm)[0]

    def bias(self, control):
        """(K,) b, in the readings' units."""
        return self.std * control[self.inner.n_control :]


@dataclass(frozen=True)
class BiasedOperator:
    """(δx, b) ↦ H δx + b of the reading's station. An observation operator.

    inner : observation operator
    station : (M_local,) number of the station that made each of this rank's readings; −1 for one without a bias
    n_stations : K
    comm : MPI communicator

    ValueError on every rank if a number is not one of a station, or `station` does not fit H's rows.
    """

    inner: object
    station: np.ndarray
    n_stations: int
    comm: MPI.Comm

    def __post_init__(self):
        refuse_together(self._problem(), self.comm)

    def _problem(self):
        station, m = np.asarray(self.station), self.inner.rows.stop - self.inner.rows.start
        if station.shape != (m,):
            return f"stations of shape {station.shape}, expected ({m},) like H's rows"
        bad = station[(station < -1) | (station >= self.n_stations)]
        return f"station {bad[0]}, expected −1 to {self.n_stations - 1}" if len(bad) else None

    @property
    def linear(self):
        """Whether H is linear; the biases always are."""
        return self.inner.linear

    @property
    def rows(self):
        """Slice of the observations that lie on this rank."""
        return self.inner.rows

    @property
    def content(self):
        """The numbers that determine H and the station of each observation: this rank's arrays."""
        return (*self.inner.content, self.station)

    @property
    def n_observations(self):
        """M, over all ranks."""
        return self.inner.n_observations

    @property
    def n_state(self):
        """n + K, values that an increment has over all ranks."""
        return self.inner.n_state + self.n_stations

    def observe(self, increment):
        """On rank 0 (n_local + K,), elsewhere (n_local,) → (M_local,). Collective."""
        state, bias = _parts(increment, self.n_stations, self.comm)
        # the last entry stands for readings without a bias
        return self.inner.observe(state) + np.append(self.comm.bcast(bias), 0.0)[self.station]

    def adjoint(self, values, at=None):
        """The transpose: (M_local,) → (n_local,), on rank 0 (n_local + K,). Collective."""
        state = self.inner.adjoint(values, at=None if at is None else _parts(at, self.n_stations, self.comm)[0])
        summed = np.zeros(self.n_stations)
        with_bias = self.station >= 0
        np.add.at(summed, self.station[with_bias], values[with_bias])
        self.comm.Allreduce(MPI.IN_PLACE, summed)
        return np.append(state, summed) if self.comm.rank == 0 else state

    def linearised(self, increment):
        """The same with H linearised at an increment."""
        inner = self.inner if self.linear else self.inner.linearised(_parts(increment, self.n_stations, self.comm)[0])
        return BiasedOperator(inner, self.station, self.n_stations, self.comm)


def _parts(increment, n_biases, comm):
    """(state's part, biases); no biases but on rank 0."""
    n = len(increment) - (n_biases if comm.rank == 0 else 0)
    return increment[:n], increment[n:]
