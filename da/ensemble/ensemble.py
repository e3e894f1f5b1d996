"""What analyses of ensembles share: the members, what they say at the readings, and what an analysis does to them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from mpi4py import MPI

from da.observation.error import ObservationError


@dataclass(frozen=True)
class Ensemble:
    """N members of a state and of the parameters that each was run with.

    state : (n_local, N) this rank's rows, a column for each member, in the state's units
    parameters : (P, N) unbounded values, standard normal under the prior; complete on every rank, P may be 0
    comm : MPI communicator over which the rows lie

    ValueError if the arrays do not fit each other, or there are fewer than two members.
    """

    state: np.ndarray
    parameters: np.ndarray
    comm: MPI.Comm

    def __post_init__(self) -> None:
        shape, parameters = np.shape(self.state), np.shape(self.parameters)
        if len(shape) != 2 or len(parameters) != 2 or shape[1] != parameters[1]:
            raise ValueError(
                f"states of shape {shape} and parameters of shape {parameters}, expected (n, N) and (P, N)"
            )
        if shape[1] < 2:
            raise ValueError(f"{shape[1]} member(s), expected two or more")

    @property
    def n_members(self) -> int:
        """N."""
        return self.state.shape[1]

    @property
    def mean(self) -> np.ndarray:
        """(n_local,) mean state."""
        return mean_of(self.state)

    @property
    def anomalies(self) -> np.ndarray:
        """(n_local, N) members less their mean; not scaled."""
        return anomalies_of(self.state)


@dataclass(frozen=True)
class EnsembleReadings:
    """What the members say at M readings; complete on every rank, because readings are few.

    H(x_i) may be taken at each reading's own time, from the member's dumps: every method is then four-dimensional
    (Hunt et al. 2004, Four-dimensional ensemble Kalman filtering).

    innovation : (M,) y less the mean of H(x_i), in the readings' units
    anomalies : (M, N) H(x_i) less their mean, in the readings' units; rows sum to zero
    error : ObservationError of all rows: made with every row on this rank, `comm` of correlated ones MPI.COMM_SELF
    place : (M, 3) [m]
    field : (M,) name of the field that a reading is of

    ValueError if the arrays do not fit each other, or a value is not finite.
    """

    innovation: np.ndarray
    anomalies: np.ndarray
    error: ObservationError
    place: np.ndarray
    field: np.ndarray

    def __post_init__(self) -> None:
        m = len(self.innovation)
        shapes = {
            "innovation": (np.shape(self.innovation), (m,)),
            "anomalies": (np.shape(self.anomalies)[:1], (m,)),
            "error": (np.shape(self.error.std_local), (m,)),
            "place": (np.shape(self.place), (m, 3)),
            "field": (np.shape(self.field), (m,)),
        }
        for name, (shape, expected) in shapes.items():
            if shape != expected:
                raise ValueError(f"{name} of {m} readings has shape {shape}, expected {expected}")
        if np.ndim(self.anomalies) != 2 or self.anomalies.shape[1] < 2:
            raise ValueError(f"anomalies of shape {np.shape(self.anomalies)}, expected (M, N) of two members or more")
        for name in ("innovation", "anomalies"):
            bad = np.unique(np.argwhere(~np.isfinite(getattr(self, name)))[:, 0])
            if len(bad):
                raise ValueError(f"{name} of reading {bad[0]} is not finite ({len(bad)} of {m})")

    def __len__(self) -> int:
        return len(self.innovation)

    @property
    def n_members(self) -> int:
        """N."""
        return self.anomalies.shape[1]

    def whitened(self) -> tuple[np.ndarray, np.ndarray]:
        """R^{-1/2} of innovation and anomalies: (M,) and (M, N), without units."""
        return self.error.whiten(self.innovation), self.error.whiten(self.anomalies)


class EnsembleUpdate(Protocol):
    """What an analysis does to the members. Linear in their anomalies, so rows of any time may be updated alike."""

    def state(self, prior: np.ndarray) -> np.ndarray:
        """Members after the analysis: (n_local, N) → (n_local, N). Collective.

        A localised update takes the rows that it was made for, of whatever time; any other takes any rows.
        """

    def parameters(self, prior: np.ndarray) -> np.ndarray:
        """Parameters after the analysis, never localised: (P, N) → (P, N), the same on every rank."""

    def summary(self) -> dict[str, Any]:
        """For the ledger: plain numbers and names, None for what is not defined."""


def mean_of(members: np.ndarray) -> np.ndarray:
    """Mean of each row: (n, N) → (n,)."""
    return np.mean(members, axis=1)


def anomalies_of(members: np.ndarray) -> np.ndarray:
    """Members less their mean, not scaled: (n, N) → (n, N); rows sum to zero."""
    return members - np.mean(members, axis=1, keepdims=True)
