"""Which states are withheld, and which their background errors are made of: blocks in time, with gaps between them."""

from dataclasses import dataclass

import numpy as np

from plugin.case.configuration import ConfigurationError

_FEWEST = 3  # states that background errors can be made of


@dataclass(frozen=True)
class Fold:
    """A block of states that are analysed with background errors of the others.

    withheld : (k,) numbers of the states that are analysed
    before : (k,) number of the state that stands for the forecast of each; None where it is the training states' mean
    training : (S_t,) numbers of the states that background errors are made of
    """

    withheld: np.ndarray
    before: np.ndarray | None
    training: np.ndarray


def runs_of(times: np.ndarray) -> np.ndarray:
    """(S,) number of the run that each state belongs to: where time goes back, another one begins."""
    return np.concatenate([[0], np.cumsum(np.diff(times) <= 0.0)])


def time_step(times: np.ndarray) -> float:
    """Median time between a state and the next of its run [s]; zero where no run has two."""
    steps = np.diff(times)
    return float(np.median(steps[steps > 0.0])) if np.any(steps > 0.0) else 0.0


def correlation_time(products: np.ndarray, times: np.ndarray) -> float:
    """Time after which two states of a run have a correlation below 1/e [s].

    Parameters
    ----------
    products : (S, S) scalar products of the states' anomalies
    times : (S,) [s], run after run

    Returns
    -------
    float; half the longest run where correlations stay above
    """
    run, step = runs_of(times), time_step(times)
    longest = max(np.ptp(times[run == number]) for number in np.unique(run))
    for lag in range(1, int(np.bincount(run).max() // 2) + 1):
        first = np.flatnonzero(run[lag:] == run[:-lag])
        second = first + lag
        size = np.mean(products[first, first]) * np.mean(products[second, second])
        if np.mean(products[first, second]) < np.sqrt(size) / np.e:
            return lag * step
    return 0.5 * float(longest)


def folds_of(times: np.ndarray, count: int, gap: float, lag: float | None, most: int) -> list[Fold]:
    """Cut the states into blocks in time, each withheld once.

    Whole runs are withheld where there are as many as folds, because states of one run have its weather in common.

    Parameters
    ----------
    times : (S,) [s], run after run
    count : number of folds
    gap : states of the same run that are nearer to a block take no part in it [s]
    lag : time from the state that stands for the forecast to the one that is analysed [s]; None for the mean
    most : states of a block that are analysed at most, evenly spread over it

    Raises
    ------
    ConfigurationError
        if there are too few states, or none that far apart
    """
    if count < 2:
        raise ConfigurationError(f"--folds {count}, expected two or more")
    if len(times) < 2 * count:
        raise ConfigurationError(
            f"background.snapshots: {len(times)} states are too few for {count} folds; give more, or --folds"
        )
    run = runs_of(times)
    n_runs = int(run[-1]) + 1
    if n_runs >= count:
        blocks = [np.flatnonzero(np.isin(run, of)) for of in np.array_split(np.arange(n_runs), count)]
    else:
        blocks = np.array_split(np.arange(len(times)), count)
    earlier = None if lag is None else _earlier(times, run, lag)
    return [_fold(times, run, block, gap, lag, earlier, most) for block in blocks]


def _earlier(times: np.ndarray, run: np.ndarray, lag: float) -> np.ndarray:
    """(S,) number of the state of the same run `lag` before each one, −1 where there is none."""
    step = time_step(times)
    if lag < 0.5 * step:
        raise ConfigurationError(
            f"a forecast of {lag:g} s cannot be taken from states {step:g} s apart; give background.snapshots of "
            f"shorter steps, or --background lag:{step:g} or mean"
        )
    earlier = np.full(len(times), -1)
    for number in np.unique(run):
        mine = np.flatnonzero(run == number)
        apart = np.abs(times[mine][None, :] - (times[mine] - lag)[:, None])
        nearest = np.argmin(apart, axis=1)
        near = apart[np.arange(len(mine)), nearest] <= 0.5 * step * (1.0 + 1e-9)
        earlier[mine[near]] = mine[nearest[near]]
    return earlier


def _fold(
    times: np.ndarray,
    run: np.ndarray,
    block: np.ndarray,
    gap: float,
    lag: float | None,
    earlier: np.ndarray | None,
    most: int,
) -> Fold:
    near = np.zeros(len(times), bool)
    near[block] = True
    for number in np.unique(run[block]):
        within = times[block][run[block] == number]
        near |= (run == number) & (times >= within.min() - gap) & (times <= within.max() + gap)
    known = block if earlier is None else block[earlier[block] >= 0]
    if earlier is not None:  # what stands for a forecast is no sample of its errors either
        near[earlier[known]] = True
    training = np.flatnonzero(~near)
    if len(known) == 0:
        raise ConfigurationError(
            f"background.snapshots: no state of the block from {times[block[0]]:g} s has one {lag:g} s before it in "
            "its run; give longer runs, a shorter --background lag, or fewer --folds"
        )
    if len(training) < _FEWEST:
        raise ConfigurationError(
            f"background.snapshots: with a gap of {gap:g} s to the withheld states {len(training)} states are left to "
            "make background errors of; give more states, or a shorter --gap"
        )
    chosen = known[np.unique(np.round(np.linspace(0, len(known) - 1, min(most, len(known)))).astype(int))]
    return Fold(chosen, None if earlier is None else earlier[chosen], training)
