"""States for the protocol: on the grid, standardised by their training part, split in time; and their sensors."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.experiment import ExperimentSection, ProtocolSection
from plugin.run.progress import Progress
from plugin.training.training_set import standardised_states

COMM = MPI.COMM_SELF
_PLACES, _NOISE = 7, 8  # streams of random numbers


@dataclass(frozen=True)
class StandardisedStates:
    """Standardised states in time order; the background, their training part's mean, is zero.

    rows : (S, n) float32 in the order of a grid state, point by point and the variable fastest; zero where `scale` is
    mean, scale : (n,) in the state's units; values with a scale of zero take no part
    times : (S,) [s]
    n_training : number of training states, the first in time
    variables : their names
    about : description of the states, for files and tables
    """

    rows: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    times: np.ndarray
    n_training: int
    variables: tuple[str, ...]
    grid: Grid
    about: dict[str, Any]

    @property
    def n(self) -> int:
        """Values of a state, including those that take no part."""
        return self.rows.shape[1]

    @property
    def used(self) -> np.ndarray:
        """Indices of the values that take part."""
        return np.flatnonzero(self.scale)

    @property
    def training(self) -> np.ndarray:
        """(n, n_training) view, a state in each column."""
        return self.rows[: self.n_training].T

    @property
    def fields(self) -> np.ndarray:
        """(S, C, nx, ny, nz) view, as networks take them."""
        return self.rows.reshape(len(self.rows), *self.grid.shape, -1).transpose(0, 4, 1, 2, 3)

    @property
    def part(self) -> np.ndarray:
        """(C, nx, ny, nz) bool, where a value takes part."""
        return (self.scale != 0.0).reshape(*self.grid.shape, -1).transpose(3, 0, 1, 2)

    def test(self, every: int = 1) -> np.ndarray:
        """Indices of the test states."""
        return np.arange(self.n_training, len(self.rows), every)

    @property
    def validating(self) -> np.ndarray:
        """Numbers of the training states by which settings are chosen, the last tenth in time."""
        return np.arange(self.n_training - max(1, round(0.1 * self.n_training)), self.n_training)

    def validation(self) -> "StandardisedStates":
        """The training states alone, those by which settings are chosen as test states."""
        known = slice(self.n_training)
        return replace(self, rows=self.rows[known], times=self.times[known], n_training=int(self.validating[0]))

    def truth(self, number: int) -> np.ndarray:
        """(n,) one state in float64."""
        return self.rows[number].astype(np.float64)

    def restored(self, increment: np.ndarray) -> np.ndarray:
        """The analysis in the state's units: (n,) standardised increment → (n,)."""
        return self.mean + self.scale * increment

    def count(self, part: float) -> int:
        """M, the number of observed values, from their part of all."""
        return max(1, round(part * len(self.used)))

    def sensors(self, count: int, seed: int = 0) -> np.ndarray:
        """(M,) indices of random values that are observed, ascending; the same for the same seed."""
        if count > len(self.used):
            raise ConfigurationError(f"experiment: {count} sensors, only {len(self.used)} values of a state take part")
        return np.sort(np.random.default_rng((_PLACES, seed)).choice(self.used, count, replace=False))


@dataclass(frozen=True)
class ExperimentInputs:
    """The inputs of an experiment; the case has an `experiment` section."""

    case: Case
    states: StandardisedStates
    progress: Progress

    @property
    def settings(self) -> ExperimentSection:
        """The case's section `experiment`."""
        return experiment_section(self.case)

    @property
    def protocol(self) -> ProtocolSection:
        """The settings' protocol."""
        return self.settings.protocol

    def changed(self, **sections: Any) -> "ExperimentInputs":
        """The same states with other sections of the settings."""
        settings = self.settings.model_copy(update=sections)
        return replace(self, case=self.case.model_copy(update={"experiment": settings}))


def experiment_section(case: Case) -> ExperimentSection:
    """The section `experiment` of a case; ConfigurationError if it is missing."""
    if case.experiment is None:
        raise ConfigurationError("experiment: this key is missing")
    return case.experiment


def read_states(case: Case, said: Callable[[str], None] = lambda text: None) -> StandardisedStates:
    """The states of a case's experiments, on the grid; they are stored in the run's cache.

    Parameters
    ----------
    case : Case with an `experiment` section
    said : function that takes a line of progress, after every tenth of the states

    Raises
    ------
    ConfigurationError, FileError, MeshError, OSError
        as `plugin.training.training_set.standardised_states`
    """
    section, cache = experiment_section(case), case.run / "cache"
    if case.background.variables:
        raise ConfigurationError(
            f"background.variables.{next(iter(case.background.variables))}: found an anamorphosis; experiments analyse "
            "variables as they are, leave the key out for them"
        )
    stored = standardised_states(
        case, section.states or case.background.snapshots, 1.0 - section.protocol.training, COMM, cache, cache,
        scaling=section.protocol.scaling, said=said, section="experiment",
    )  # fmt: skip
    fields = stored.samples[:]
    rows = np.ascontiguousarray(fields.transpose(0, 2, 3, 4, 1)).reshape(len(fields), -1)
    about = {**stored.about, "test period": stored.about["validation period"]}
    del about["validation period"]
    variables = tuple(about["variables"])
    split = len(rows) - stored.n_validation
    return StandardisedStates(rows, stored.mean, stored.scale, stored.times, split, variables, stored.grid, about)


def noise(protocol: ProtocolSection, count: int, seed: int, number: int) -> np.ndarray:
    """(M,) noise of a state's observations, in standard deviations."""
    return protocol.noise * np.random.default_rng((_NOISE, seed, number)).standard_normal(count)
