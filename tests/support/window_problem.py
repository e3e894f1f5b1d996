"""A small window of readings for analyses in latent space: a start, models of codes, readings of several steps."""

from types import SimpleNamespace

import numpy as np
from networks import make_latent_problem
from small_problem import N

from da.background.latent import decoded_transform, latent_modes
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection
from da.window.cost import WindowReadings
from da.window.dynamics import noise_root
from da.window.path import latent_window
from models.dynamics.linear import LinearDynamics

N_STEPS, N_CODES, READ = 5, 6, (4, 0, 2, 5)


class Turning:
    """F(z) = A z + 0.3 tanh(B z): smooth, not linear."""

    def __init__(self, seed=4):
        make = np.random.default_rng(seed).normal
        self.a, self.b = linear().matrix, make(size=(N_CODES, N_CODES)) / N_CODES

    def step(self, codes):
        return self.a @ codes + 0.3 * np.tanh(self.b @ codes)

    def tangent(self, direction, at):
        return self.a @ direction + 0.3 * (self.b @ direction) / np.cosh(self.b @ at) ** 2

    def adjoint(self, sensitivity, at):
        return self.a.T @ sensitivity + 0.3 * self.b.T @ (sensitivity / np.cosh(self.b @ at) ** 2)


def linear(noise_rank=N_CODES, seed=2):
    """A LinearDynamics that turns and damps, about a centre, with noise of some rank."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(N_CODES, N_CODES)))[0]
    root = 0.4 * rng.normal(size=(N_CODES, noise_rank))
    return LinearDynamics(0.9 * turn, rng.normal(size=N_CODES), root @ root.T)


def make_window(comm, network, dynamics, weak, shares=None, group=None, n_steps=N_STEPS):
    """The window of a network and of a model; the noise is that of `linear` unless `weak` is a covariance."""
    of = make_latent_problem(comm, network, shares=shares, group=group)
    modes = latent_modes(of.decoder.encode(of.anomalies), comm, N_CODES, centred=True)
    transform = decoded_transform(of.decoder, modes, 0.7 * of.anomalies[:, 3])
    noise = None
    if weak is not False:
        noise = noise_root(linear().noise if weak is True else weak, comm)
    window = latent_window(transform, dynamics, n_steps, noise)
    return SimpleNamespace(window=window, decoder=of.decoder, problem=of.problem, anomalies=of.anomalies)


def true_control(window, seed=6):
    """The control whose path is read: a start from which every search finds the same one of several minima."""
    return np.random.default_rng((0, seed)).normal(size=window.n_control)


def readings_of(of, comm, seed=6, steps=READ, read=None, std=0.3):
    """Readings with noise, at other places in each step, of a path that the window can have.

    read : {step: (H, R, (M,) standard deviations)} in place of plain values
    std : least standard deviation of plain readings, in the network's units
    """
    rng, window = np.random.default_rng(seed), of.window
    path, scale = window.codes(true_control(window, seed)), np.concatenate(comm.allgather(of.decoder.scale))
    readings, indices = [], {}
    for step in steps:
        index = rng.choice(N, 8, replace=False)
        stds = std * (1.0 + rng.random(8)) * scale[index]
        operator = selection(index, len(of.anomalies), comm)
        error = diagonal_error(stds, operator.rows)
        if read is not None and step in read:
            operator, error, stds = read[step]
        noise = (stds * rng.normal(size=len(stds)))[operator.rows]
        innovation = operator.observe(window.increment(path, step)) + noise
        readings.append(WindowReadings(step, operator, error, innovation))
        indices[step] = index, stds
    return readings, indices
