"""States for the protocol: on the grid, standardised by their training part, split in time; and their sensors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.geometry.grid import Grid
from da.background.anamorphosis import Anamorphosis, transform
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.experiment import ExperimentSection, ProtocolSection
from plugin.run.progress import Progress
from plugin.training.training_set import standardised_states

COMM = MPI.COMM_SELF
_PLACES, _NOISE = 7, 8  # streams of random numbers
_ALL = slice(None)


@dataclass(frozen=True)
class StandardisedStates:
    """Standardised states in time order; the background, their training part's mean, is zero.

    rows : (S, n) float32 in the order of a grid state, point by point and the variable fastest; zero where `scale` is
    mean, scale : (n,) in the state's units; values with a scale of zero take no part
    times : (S,) [s]
    n_training : number of training states, the first in time
    variables : their names
    about : description of the states, for files and tables
    forms : anamorphosis of each variable, None for none; empty where no variable has one
    plain : where there are anamorphoses the same states in the variables themselves, by which analyses are scored
    """

    rows: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    times: np.ndarray
    n_training: int
    variables: tuple[str, ...]
    grid: Grid
    about: dict[str, Any]
    forms: tuple[Anamorphosis | None, ...] = ()
    plain: "StandardisedStates | None" = None

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

    @property
    def zero(self) -> np.ndarray:
        """(C, nx, ny, nz) standardised value of zero; zero where a value takes no part."""
        value = np.divide(-self.mean, self.scale, out=np.zeros(self.n), where=self.scale != 0.0)
        return value.reshape(*self.grid.shape, -1).transpose(3, 0, 1, 2)

    def test(self, every: int = 1) -> np.ndarray:
        """Indices of the test states."""
        return np.arange(self.n_training, len(self.rows), every)

    @property
    def validating(self) -> np.ndarray:
        """Numbers of the training states by which settings are chosen, the last tenth in time."""
        return np.arange(self.n_training - max(1, round(0.1 * self.n_training)), self.n_training)

    def validation(self) -> "StandardisedStates":
        """The training states alone, those by which settings are chosen as test states."""
        known, plain = slice(self.n_training), None if self.plain is None else self.plain.validation()
        rows, times = self.rows[known], self.times[known]
        return replace(self, rows=rows, times=times, n_training=int(self.validating[0]), plain=plain)

    def folds(self, count: int, gap: float, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """The training states in blocks of time: for each (states that are analysed, states that errors are made of).

        count : number of blocks; gap : states nearer to a block are none of its errors' [s]
        most : states of a block that are analysed at most, evenly spread over it

        ConfigurationError if fewer than three states are left to make errors of
        """
        made, times = [], self.times[: self.n_training]
        run = np.concatenate([[0], np.cumsum(np.diff(times) <= 0.0)])  # where time goes back another one begins
        for block in np.array_split(np.arange(self.n_training), count):
            near = np.isin(np.arange(self.n_training), block)
            for number in np.unique(run[block]):
                own = times[block][run[block] == number]
                near |= (run == number) & (times >= own.min() - gap) & (times <= own.max() + gap)
            far = np.flatnonzero(~near)
            if len(far) < 3:
                raise ConfigurationError(
                    f"experiment.localised: {count} folds with a gap of {gap:g} s leave {len(far)} states beside one, "
                    "expected three or more; give a shorter gap"
                )
            chosen = np.linspace(0, len(block) - 1, min(most, len(block))).round().astype(int)
            made.append((block[np.unique(chosen)], far))
        return made

    def of_fold(self, withheld: np.ndarray, known: np.ndarray) -> "StandardisedStates":
        """States of a fold alone: those that errors are made of for training, their mean zero, then those analysed."""
        rows = self.rows[np.concatenate([known, withheld])]
        mean = rows[: len(known)].mean(axis=0, dtype=np.float64)
        return replace(
            self,
            rows=(rows - mean).astype(np.float32),
            mean=self.mean + self.scale * mean,
            times=self.times[np.concatenate([known, withheld])],
            n_training=len(known),
            plain=None if self.plain is None else self.plain.of_fold(withheld, known),
        )

    def truth(self, number: int) -> np.ndarray:
        """(n,) one state in float64."""
        return self.rows[number].astype(np.float64)

    def restored(self, increment: np.ndarray, at: np.ndarray | slice = _ALL) -> np.ndarray:
        """The analysis in the state's units: (..., n) standardised increment → (..., n), never below a bound.

        at : numbers of a state's values, where the increment has these alone
        """
        values = self.mean[at] + self.scale[at] * increment
        number = np.arange(self.n)[at] % len(self.variables)
        for column, form in enumerate(self.forms):
            if form is not None:
                values[..., number == column] = form.inverse(values[..., number == column])
        return values

    def standardised(self, values: np.ndarray) -> np.ndarray:
        """(k, n) states in their units → the increments that analyses of them would be; zero where nothing varies."""
        transformed = forward(self.forms, values)
        away, part = transformed - self.mean, self.scale != 0.0
        return np.divide(away, self.scale, out=np.zeros_like(away), where=part)

    def readings(self, numbers: np.ndarray, sensors: np.ndarray, noise: np.ndarray | float = 0.0) -> np.ndarray:
        """(k, M) standardised readings of states, those of transformed variables transformed.

        numbers : (k,) of the states; sensors : (M,) numbers of values
        noise : (k, M) in standard deviations of the values, before they are transformed
        """
        of = self if self.plain is None else self.plain
        read = of.rows[np.ix_(numbers, sensors)].astype(np.float64) + noise
        if self.plain is None:
            return read
        values = of.mean[sensors] + of.scale[sensors] * read
        for column, form in enumerate(self.forms):
            mine = sensors % len(self.variables) == column
            if form is not None:
                values[:, mine] = form.forward(values[:, mine])
        return (values - self.mean[sensors]) / self.scale[sensors]

    def errors(self, increments: np.ndarray, numbers: np.ndarray, at: np.ndarray) -> np.ndarray:
        """(k,) ‖x_a − x_t‖ / ‖x_t‖, standardised as the variables themselves are: 1 for the mean of their states.

        increments : (m, k) analyses of the states with these numbers, (k,); at : (m,) numbers of values that take part
        """
        of = self if self.plain is None else self.plain
        truth = of.rows[np.ix_(numbers, at)].astype(np.float64)
        if self.plain is None:
            analysed = increments.T
        else:
            analysed = (self.restored(increments.T, at) - of.mean[at]) / of.scale[at]
        return np.linalg.norm(analysed - truth, axis=1) / np.linalg.norm(truth, axis=1)

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


def forward(forms: Sequence[Anamorphosis | None], values: np.ndarray) -> np.ndarray:
    """φ of (k, n) values of states; forms : of each variable, none where no variable has one."""
    result = np.array(values, np.float64)
    transform(result.T, forms)
    return result


def noise(protocol: ProtocolSection, count: int, seed: int, number: int) -> np.ndarray:
    """(M,) noise of a state's observations, in standard deviations."""
    return protocol.noise * np.random.default_rng((_NOISE, seed, number)).standard_normal(count)
