"""Errors and times of systems, over test states and random sensors."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from da.minimisation.minimise import MinimisationError
from plugin.case.experiment import ProtocolSection
from plugin.experiment.states import StandardisedStates, noise
from plugin.experiment.systems import Analysed, System, timed


@dataclass(frozen=True)
class Score:
    """Errors and times for k draws of sensors, or trainings of a network.

    errors : (k, T) ‖x_a − x_t‖ / ‖x_t‖ of each test state
    seconds : (k, T) of each analysis
    prepare : (k,) seconds of the preparation for the sensors
    failed : number of analyses whose minimisation failed; each leaves the background, with an error of 1
    """

    errors: np.ndarray
    seconds: np.ndarray
    prepare: np.ndarray
    failed: int

    def figures(self) -> dict[str, Any]:
        """Columns of a table: mean error, median time, each with its standard deviation over the draws."""
        return {
            **spread("error", self.errors.mean(axis=1)),
            **spread("seconds", np.median(self.seconds, axis=1)),
            "prepare": float(self.prepare.mean()),
            "failed": self.failed,
        }


def spread(name: str, values: np.ndarray) -> dict[str, float | None]:
    """A mean and, of more than one value, their standard deviation as columns of a table."""
    return {name: float(values.mean()), f"{name}_std": float(values.std(ddof=1)) if len(values) > 1 else None}


def relative_error(state: np.ndarray, truth: np.ndarray) -> float:
    """‖x_a − x_t‖ / ‖x_t‖ of standardised states, not squared: 1 for the background. What the paper calls DA MSE."""
    return float(np.linalg.norm(state - truth) / np.linalg.norm(truth))


def score(
    systems: Sequence[System],
    states: StandardisedStates,
    protocol: ProtocolSection,
    count: int,
    every: int | None = None,
) -> Score:
    """Analyse test states from M random observed values.

    Parameters
    ----------
    systems : one System, or several trainings of a network
    count : M; a system that `observes_all` gets all values whatever M is
    every : use each `every`-th test state; the protocol's if None
    """
    tests = states.test(every or protocol.every)
    results, prepare = [], []
    for system in systems:
        m = len(states.used) if system.observes_all else count
        # all values are the same in each draw
        draws = protocol.seeds if m < len(states.used) or protocol.noise else 1
        for seed in range(draws):
            sensors = states.sensors(m, seed)
            analysed, before = timed(partial(system.prepare, sensors))
            results.append([_analysed(analysed, states, sensors, protocol, seed, number) for number in tests])
            prepare.append(before)
    errors, seconds, failed = np.moveaxis(np.array(results), 2, 0)
    return Score(errors, seconds, np.array(prepare), int(failed.sum()))


def _analysed(
    analysed: Analysed,
    states: StandardisedStates,
    sensors: np.ndarray,
    protocol: ProtocolSection,
    seed: int,
    number: int,
) -> tuple[float, float, bool]:
    """(error, seconds, whether it failed) of one state."""
    numbers = np.array([number])
    readings = states.readings(numbers, sensors, noise(protocol, len(sensors), seed, number))[0]
    began = time.perf_counter()
    try:
        increment, seconds = analysed(readings)
    except MinimisationError:
        return 1.0, time.perf_counter() - began, True
    _, restoring = timed(lambda: states.restored(increment))
    used = states.used
    return float(states.errors(increment[used, None], numbers, used)[0]), seconds + restoring, False
