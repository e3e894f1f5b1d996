"""Errors and times of systems, over test states and draws."""

import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from da.minimisation.minimise import MinimisationError
from plugin.experiment.states import noise
from plugin.experiment.systems import timed


@dataclass(frozen=True)
class Score:
    """Of one or several draws of sensors, or trainings of a network: k of them.

    errors : (k, T) ‖x_a − x_t‖ / ‖x_t‖ of each test state
    seconds : (k, T) of each analysis
    prepare : (k,) seconds of what was made before for the sensors
    failed : number of analyses that were not found; each leaves the background, with an error of 1
    """

    errors: np.ndarray
    seconds: np.ndarray
    prepare: np.ndarray
    failed: int

    def figures(self):
        """What tables tell: the mean of errors, the median of seconds, each ± its standard deviation over the draws."""
        return {
            **_spread("error", self.errors.mean(axis=1)),
            **_spread("seconds", np.median(self.seconds, axis=1)),
            "prepare": float(self.prepare.mean()),
            "failed": self.failed,
        }


def _spread(name, values):
    return {name: float(values.mean()), f"{name}_std": float(values.std(ddof=1)) if len(values) > 1 else None}


def relative_error(found, truth):
    """‖x_a − x_t‖ / ‖x_t‖ of standardised states, not squared: 1 for the background. What the paper calls DA MSE."""
    return float(np.linalg.norm(found - truth) / np.linalg.norm(truth))


def score(systems, states, protocol, count, every=None):
    """Analyse test states that are observed at M random values.

    Parameters
    ----------
    systems : one System, or several trainings of a network
    states : StandardisedStates
    protocol : ProtocolSection
    count : M; a system that sees all is given all values whatever M is
    every : use every so-many-th test state; the protocol's if None

    Returns
    -------
    Score
    """
    tests = states.test(every or protocol.every)
    found, prepare = [], []
    for system in systems:
        m = len(states.used) if system.sees_all else count
        # all values are the same ones in each draw
        draws = protocol.seeds if m < len(states.used) or protocol.noise else 1
        for seed in range(draws):
            sensors = states.sensors(m, seed)
            analysed, before = timed(partial(system.prepare, sensors))
            found.append([_analysed(analysed, states, sensors, protocol, seed, number) for number in tests])
            prepare.append(before)
    errors, seconds, failed = np.moveaxis(np.array(found), 2, 0)
    return Score(errors, seconds, np.array(prepare), int(failed.sum()))


def _analysed(analysed, states, sensors, protocol, seed, number):
    """(error, seconds, whether it failed) of one state."""
    truth = states.truth(number)
    readings = truth[sensors] + noise(protocol, len(sensors), seed, number)
    began = time.perf_counter()
    try:
        increment, seconds = analysed(readings)
    except MinimisationError:
        return 1.0, time.perf_counter() - began, True
    _, undone = timed(lambda: states.restored(increment))
    return relative_error(increment, truth), seconds + undone, False
