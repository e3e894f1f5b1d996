"""A network's checks: passed by a sound one, and failed by what they are to find."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from assimilation import OUTSIDE, make_readings
from latent_background import latent_background, latent_of, with_network
from mpi4py import MPI

from da.observation.diagonal_error import diagonal_error
from models.decoder import parallel_decoder
from plugin.verify.network import network_checks
from plugin.window.observations.operator import make_operator
from plugin.window.set_up import SetUp

COMM = MPI.COMM_SELF


class Bent(torch.nn.Module):
    """A linear network with a bend in its latent."""

    def __init__(self, linear, bend):
        super().__init__()
        self.linear, self.bend = linear, bend
        self.n_latent, self.channels, self.shape = linear.n_latent, linear.channels, linear.shape
        self.first = torch.nn.Parameter(torch.ones(1))

    def encode(self, fields):
        return self.linear.encode(fields)

    def decode(self, codes):
        return self.linear.decode(self.first * codes + self.bend(codes))


class WrongSlope(torch.autograd.Function):
    """tanh, whose derivative somebody forgot to square."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.tanh(x)

    @staticmethod
    def backward(ctx, slope):
        (x,) = ctx.saved_tensors
        return slope * (1.0 - torch.tanh(x))


def set_up(bend, mean=0.0):
    background, state = latent_background(COMM)
    readings = make_readings(background, state, speeds=True).select(np.delete(np.arange(12), OUTSIDE))
    reading_operator, model = make_operator(
        background.transfer, background.transfer.at_readings(state, readings.position, readings.variable), readings
    )
    latent = latent_of(background, COMM)
    network = Bent(latent.decoder.network, bend).to(torch.float32)
    latent = replace(latent, decoder=parallel_decoder(network, latent.decoder.scale, COMM), mean=latent.mean + mean)
    error = diagonal_error(readings.error[reading_operator.reading], reading_operator.operator.rows)
    made = with_network(background, latent)
    return SetUp(
        made, state, "a test", readings, reading_operator, error, (readings.value - model)[reading_operator.reading]
    )


def test_a_sound_network_passes_though_it_computes_in_float32():
    made = list(network_checks(set_up(lambda z: 0.01 * torch.tanh(z)), COMM))
    assert [check.name for check in made if not check.passed] == []
    assert len(made) == 6 and 1.9 < float(made[3].detail.split()[1].rstrip(",")) < 2.1


@pytest.mark.parametrize("bend", [lambda z: 0.5 * WrongSlope.apply(z), lambda z: 0.5 * torch.tanh(z.detach())])
def test_a_wrong_derivative_is_found(bend):
    failed = {check.name for check in network_checks(set_up(bend), COMM) if not check.passed}
    assert {"Taylor test of the network's J", "the network's ∇J against differences"} <= failed


def test_a_state_that_the_network_does_not_know_is_told():
    failed = [check.name for check in network_checks(set_up(lambda z: 0.0 * z, mean=50.0), COMM) if not check.passed]
    assert failed[0] == "network's round trip error"
