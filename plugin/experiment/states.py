"""States as the protocol wants them: on the grid, standardised by the training part, split in time; their sensors."""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid
from plugin.case.configuration import Case, ConfigurationError
from plugin.run.progress import Progress
from plugin.training.training_set import standardised_states

COMM = MPI.COMM_SELF
_PLACES, _NOISE = 7, 8  # what random numbers are for


@dataclass(frozen=True)
class StandardisedStates:
    """Standardised states in time order; the background, their training part's mean, is zero.

    rows : (S, n) float32 in the order of a grid state, point by point and the variable fastest; zero where `scale` is
    mean, scale : (n,) in the state's units; a scale of zero takes no part
    times : (S,) [s]
    n_training : of the first states
    variables : their names
    grid : Grid
    about : what the states are
    """

    rows: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    times: np.ndarray
    n_training: int
    variables: tuple[str, ...]
    grid: Grid
    about: dict

    @property
    def n(self):
        """Values of a state, those that take no part included."""
        return self.rows.shape[1]

    @property
    def used(self):
        """Numbers of the values that take part."""
        return np.flatnonzero(self.scale)

    @property
    def training(self):
        """(n, n_training) view, a state in each column."""
        return self.rows[: self.n_training].T

    @property
    def fields(self):
        """(S, C, nx, ny, nz) view, as networks see them."""
        return self.rows.reshape(len(self.rows), *self.grid.shape, -1).transpose(0, 4, 1, 2, 3)

    @property
    def part(self):
        """(C, nx, ny, nz) bool, where a value takes part."""
        return (self.scale != 0.0).reshape(*self.grid.shape, -1).transpose(3, 0, 1, 2)

    def test(self, every=1):
        """Numbers of the test states."""
        return np.arange(self.n_training, len(self.rows), every)

    def truth(self, number):
        """(n,) float64 a state."""
        return self.rows[number].astype(np.float64)

    def restored(self, increment):
        """The analysis in the state's units: (n,) standardised increment → (n,)."""
        return self.mean + self.scale * increment

    def count(self, part):
        """M, of a part of the values."""
        return max(1, round(part * len(self.used)))

    def sensors(self, count, seed=0):
        """Numbers of M random values that are observed, rising; the same for the same seed."""
        if count > len(self.used):
            raise ConfigurationError(f"experiment: {count} sensors, only {len(self.used)} values of a state take part")
        return np.sort(np.random.default_rng((_PLACES, seed)).choice(self.used, count, replace=False))


@dataclass(frozen=True)
class ExperimentInputs:
    """What an experiment is given.

    case : Case with an `experiment` section
    states : StandardisedStates
    progress : Progress
    """

    case: Case
    states: StandardisedStates
    progress: Progress

    @property
    def settings(self):
        """ExperimentSection"""
        return self.case.experiment

    @property
    def protocol(self):
        """ProtocolSection"""
        return self.settings.protocol


def read_states(case, said=lambda text: None):
    """The states of a case's experiments, on the grid; they are kept in the run's cache.

    Parameters
    ----------
    case : Case with an `experiment` section
    said : function of a text, told of every tenth of the states read

    Raises
    ------
    ConfigurationError, FileError, MeshError, OSError
        as `plugin.training.training_set.standardised_states`
    """
    of, cache = case.experiment, case.run / "cache"
    found = standardised_states(
        case, of.states or case.background.snapshots, 1.0 - of.protocol.training, COMM, cache, cache,
        scaling=of.protocol.scaling, said=said, section="experiment",
    )  # fmt: skip
    fields = found.samples[:]
    rows = np.ascontiguousarray(fields.transpose(0, 2, 3, 4, 1)).reshape(len(fields), -1)
    about = {**found.about, "test period": found.about["validation period"]}
    del about["validation period"]
    variables = tuple(about["variables"])
    split = len(rows) - found.n_validation
    return StandardisedStates(rows, found.mean, found.scale, found.times, split, variables, found.grid, about)


def noise(protocol, count, seed, number):
    """(M,) noise of the readings of a state, in standard deviations."""
    return protocol.noise * np.random.default_rng((_NOISE, seed, number)).standard_normal(count)
