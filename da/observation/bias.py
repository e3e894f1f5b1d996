"""The observation operator with biases of stations; :mod:`da.background.biased_transform` has the mathematics."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from da.observation.operator import ObservationOperator


@dataclass(frozen=True)
class BiasedOperator:
    """(δx, b) ↦ H δx + b of the observation's station. An observation operator.

    inner : ObservationOperator
    station : (M_local,) number of the station of each of this rank's observations; −1 for one without a bias
    n_stations : K
    comm : MPI communicator

    ValueError on every rank if a number is not that of a station, or `station` does not fit H's rows.
    """

    inner: ObservationOperator
    station: np.ndarray
    n_stations: int
    comm: MPI.Comm

    def __post_init__(self) -> None:
        refuse_together(self._problem(), self.comm)

    def _problem(self) -> str | None:
        station, m = np.asarray(self.station), self.inner.rows.stop - self.inner.rows.start
        if station.shape != (m,):
            return f"stations of shape {station.shape}, expected ({m},) like H's rows"
        bad = station[(station < -1) | (station >= self.n_stations)]
        return f"station {bad[0]}, expected −1 to {self.n_stations - 1}" if len(bad) else None

    @property
    def linear(self) -> bool:
        """Whether H is linear; the biases always are."""
        return self.inner.linear

    @property
    def rows(self) -> slice:
        """Slice of the observations that lie on this rank."""
        return self.inner.rows

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine H and the station of each observation: this rank's arrays."""
        return (*self.inner.content, self.station)

    @property
    def n_observations(self) -> int:
        """M, over all ranks."""
        return self.inner.n_observations

    @property
    def n_state(self) -> int:
        """n + K, values that an increment has over all ranks."""
        return self.inner.n_state + self.n_stations

    def observe(self, increment: np.ndarray) -> np.ndarray:
        """On rank 0 (n_local + K,), elsewhere (n_local,) → (M_local,). Collective."""
        state, bias = split_biases(increment, self.n_stations, self.comm)
        # the last entry stands for observations without a bias
        return self.inner.observe(state) + np.append(self.comm.bcast(bias), 0.0)[self.station]

    def adjoint(self, values: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """The transpose: (M_local,) → (n_local,), on rank 0 (n_local + K,). Collective."""
        state = self.inner.adjoint(values, at=None if at is None else split_biases(at, self.n_stations, self.comm)[0])
        summed = np.zeros(self.n_stations)
        with_bias = self.station >= 0
        np.add.at(summed, self.station[with_bias], values[with_bias])
        self.comm.Allreduce(MPI.IN_PLACE, summed)
        return np.append(state, summed) if self.comm.rank == 0 else state

    def linearised(self, increment: np.ndarray) -> "BiasedOperator":
        """The same with H linearised at an increment."""
        inner = self.inner.linearised(split_biases(increment, self.n_stations, self.comm)[0])
        return BiasedOperator(inner, self.station, self.n_stations, self.comm)


def split_biases(increment: np.ndarray, n_biases: int, comm: MPI.Comm) -> tuple[np.ndarray, np.ndarray]:
    """(the state's part of an increment, its biases); the biases are on rank 0 only."""
    n = len(increment) - (n_biases if comm.rank == 0 else 0)
    return increment[:n], increment[n:]
