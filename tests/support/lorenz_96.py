"""The model of Lorenz & Emanuel 1998: 40 variables on a ring, F = 8, steps of 0.05 by Runge–Kutta 4."""

import numpy as np

N, FORCING, STEP = 40, 8.0, 0.05
_NEXT, _LAST, _BEFORE_LAST = ((np.arange(N) + k) % N for k in (1, -1, -2))


def slope(x):
    """dx_i/dt = (x_{i+1} − x_{i−2}) x_{i−1} − x_i + F, of states (N,) or (N, members)."""
    return (x[_NEXT] - x[_BEFORE_LAST]) * x[_LAST] - x + FORCING


def stepped(x):
    """States one step later."""
    a = slope(x)
    b = slope(x + 0.5 * STEP * a)
    c = slope(x + 0.5 * STEP * b)
    return x + STEP / 6.0 * (a + 2.0 * b + 2.0 * c + slope(x + STEP * c))


def run(x, n):
    """(n, N) the states of the next n steps."""
    states = np.empty((n, N))
    for k in range(n):
        x = states[k] = stepped(x)
    return states


def mean_rmse(states, truth, burn_in):
    """As DAPPER tells it: the mean over time, after the burn-in, of the rms over the variables."""
    return np.mean(np.sqrt(np.mean((states - truth)[burn_in:] ** 2, axis=1)))
