"""Optimal interpolation with localised sample covariances, for many settings of the localisation at once.

x_a = C_xy (C_yy + R)⁻¹ d with the covariances of `da.background.localisation`. What does not depend on a setting is
made once, so that settings can be compared by validation; an analysis of the product with the same setting is the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cho_factor, cho_solve, eigh

from da.background.localisation import Taper
from plugin.experiment.states import StandardisedStates

EVERYWHERE = slice(None)


@dataclass(frozen=True)
class Localising:
    """A setting.

    horizontal, vertical : lengths [m], None for no taper in that direction
    modes : leading modes whose covariances stay as they are
    variance : σ_o², in standard deviations squared
    """

    horizontal: float | None
    vertical: float | None
    modes: int
    variance: float

    @property
    def localised(self) -> bool:
        """Whether covariances fall with distance at all."""
        return self.horizontal is not None or self.vertical is not None


class SampleCovariance:
    """Covariances of the values that take part, from standardised states.

    states : StandardisedStates, for grid and values
    numbers : of the states that the sample is made of
    """

    def __init__(self, states: StandardisedStates, numbers: np.ndarray) -> None:
        self.used, self.numbers = states.used, numbers
        sample = states.rows[numbers][:, self.used].astype(np.float64).T
        self.mean = sample.mean(axis=1)
        self.anomalies = (sample - self.mean[:, None]) / np.sqrt(len(numbers) - 1)
        width = len(states.variables)
        self.position = states.grid.coordinates(self.used // width)
        self.variable = self.used % width
        self.n_variables = width

    @cached_property
    def leading(self) -> np.ndarray:
        """(S, S) right singular vectors of the anomalies, those of the largest modes first."""
        return eigh(self.anomalies.T @ self.anomalies)[1][:, ::-1]

    def analyses(
        self,
        sensors: np.ndarray,
        readings: np.ndarray,
        settings: Sequence[Localising],
        at: np.ndarray | slice = EVERYWHERE,
    ) -> Iterator[tuple[Localising, np.ndarray]]:
        """Increments of many states with each setting.

        sensors : (M,) numbers of values of a state; readings : (M, k) innovations
        at : which of the values that take part are wanted

        Yields
        ------
        the setting, (values wanted, k) increments
        """
        rows = np.searchsorted(self.used, sensors)
        wanted = self.anomalies[at], self.anomalies[rows]
        whole = [part @ wanted[1].T for part in wanted]
        tapers: dict[tuple, list[np.ndarray]] = {}
        for of in settings:
            covariance, observed = whole
            if of.localised:
                key = (of.horizontal, of.vertical)
                if key not in tapers:
                    tapers.clear()  # one is as large as a covariance
                    tapers[key] = [self.taper(of, rows, at), self.taper(of, rows, rows)]
                leading = self.leading[:, : of.modes]
                patterns = [part @ leading for part in wanted]
                kept = [part @ patterns[1].T for part in patterns]
                covariance, observed = (
                    own + taper * (both - own) for own, both, taper in zip(kept, whole, tapers[key], strict=True)
                )
            observed = 0.5 * (observed + observed.T)
            observed[np.diag_indices_from(observed)] += of.variance
            yield of, covariance @ cho_solve(cho_factor(observed, lower=True), readings)

    def taper(self, of: Localising, rows: np.ndarray, at: np.ndarray | slice = EVERYWHERE) -> np.ndarray:
        """(values wanted, M) factors of distance to the values of some rows."""
        across, along = (
            np.full(self.n_variables, np.inf if one is None else one) for one in (of.horizontal, of.vertical)
        )
        between = np.ones((self.n_variables, self.n_variables))
        every = Taper(self.position, self.variable, across, along, between)
        return every.rows(at).factors(every.rows(rows))[1]
