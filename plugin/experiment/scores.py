"""Errors and times of systems, over test states and draws."""

from dataclasses import dataclass

import numpy as np

from plugin.experiment.protocol import noise
from plugin.experiment.systems import timed


@dataclass(frozen=True)
class Score:
    """Of one or several draws of sensors, or trainings of a network: k of them.

    errors : (k, T) ‖x_a − x_t‖ / ‖x_t‖ of each test state
    seconds : (k, T) of each analysis
    prepare : (k,) seconds of what was made before for the sensors
    """

    errors: np.ndarray
    seconds: np.ndarray
    prepare: np.ndarray

    def figures(self):
        """What tables tell: the mean of errors, the median of seconds, each ± its standard deviation over the draws."""
        return {
            **_spread("error", self.errors.mean(axis=1)),
            **_spread("seconds", np.median(self.seconds, axis=1)),
            "prepare": float(self.prepare.mean()),
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
    states : States
    protocol : ProtocolSection
    count : M; a system that sees all is given all values whatever M is
    every : use every so-many-th test state; the protocol's if None

    Returns
    -------
    Score
    """
    tests = states.test(every or protocol.every)
    errors, seconds, prepare = [], [], []
    for system in systems:
        m = len(states.used) if system.sees_all else count
        # all values are the same ones in each draw
        draws = protocol.seeds if m < len(states.used) or protocol.noise else 1
        for seed in range(draws):
            sensors = states.sensors(m, seed)
            analysed, before = timed(lambda: system.prepare(sensors))
            found = [_analysed(analysed, states, sensors, protocol, seed, number) for number in tests]
            errors.append([error for error, _ in found])
            seconds.append([each for _, each in found])
            prepare.append(before)
    return Score(np.array(errors), np.array(seconds), np.array(prepare))


def _analysed(analysed, states, sensors, protocol, seed, number):
    """(error, seconds) of one state."""
    truth = states.truth(number)
    readings = truth[sensors] + noise(protocol, len(sensors), seed, number)
    increment, seconds = analysed(readings)
    _, undone = timed(lambda: states.restored(increment))
    return relative_error(increment, truth), seconds + undone
