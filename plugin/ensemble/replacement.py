"""Members whose model failed: how many there may be, and the draws around the others that take their place."""

from collections.abc import Callable, Sequence

import numpy as np

from coupling.common.text import counted
from coupling.simulation.launch import ModelError
from plugin.ensemble.forecasts import Forecasts
from plugin.ensemble.members import generator


def count_failures(label: str, forecasts: Forecasts, before: int, allowed: int, say: Callable[[str], None]) -> int:
    """Members replaced over the run so far; each new one is told.

    Parameters
    ----------
    label : of the window or iteration
    forecasts : Forecasts
    before : members replaced before
    allowed : `ensemble.failures`
    say : function of a text

    Raises
    ------
    ModelError
        if more are replaced than allowed, or fewer than two are left
    """
    if not forecasts.failed:
        return before
    replaced = before + len(forecasts.failed)
    texts = [f"member {member + 1}: {problem}" for member, problem in forecasts.failed.items()]
    why = None
    if replaced > allowed:
        why = f"ensemble.failures allows {allowed} over the run, with these there are {replaced}"
    if len(forecasts.good) < 2:
        why = f"{len(forecasts.good)} members are left, two are needed"
    if why is not None:
        raise ModelError(f"{label}: {counted(len(texts), 'member')} failed; {why}\n  " + "\n  ".join(texts))
    for text in texts:
        say(f"{label}: {text}; replaced by a draw around the others' mean")
    return replaced


def weights_of(good: Sequence[int], members: int, seed: int, window: int) -> tuple[np.ndarray, list[int]]:
    """What all members are of those whose model ended well.

    x = x̄ + Σ r_j (x_j − x̄) / √(K − 1) with r standard normal has the K members' mean and covariance.

    Parameters
    ----------
    good : numbers of the K members that ended well
    members : N
    seed, window : of the draws

    Returns
    -------
    weights : (K, N), whose columns sum to one: a member itself, or a draw around the mean
    origin : of each member, the one among the K into whose files its state is written
    """
    place = {member: k for k, member in enumerate(good)}
    weights, origin = np.zeros((len(good), members)), []
    for member in range(members):
        if member in place:
            weights[place[member], member] = 1.0
            origin.append(place[member])
        else:
            random = generator(seed, window, member)
            draw = random.standard_normal(len(good)) / np.sqrt(len(good) - 1)
            weights[:, member] = 1.0 / len(good) + draw - draw.mean()
            origin.append(int(random.integers(len(good))))
    return weights, origin
