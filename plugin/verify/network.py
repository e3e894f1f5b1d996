"""Checks of a case's network on its own state and readings, for `plugin.verify`.

What derivatives are concerned is checked on a copy of the network in float64: rounding in float32 would hide what a
wrong derivative adds.
"""

import copy
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from mpi4py import MPI

from da.diagnostics.checks import OperatorCheck, adjoint_gap, cost_gap, dot_over, gradient_gap, taylor_slope, whole_dot
from da.diagnostics.trust import check_background, round_trip_error
from da.minimisation.cost import CostFunction
from models.decoder import parallel_decoder
from plugin.window.set_up import SetUp

ROUNDING, SLOPE, DIFFERENCES, SUMS = 1e-10, 0.1, 1e-6, 1e-9
_SEED = 20


def network_checks(of: SetUp, comm: MPI.Comm) -> Iterator[OperatorCheck]:
    """The checks of a set-up's network; none if it has no network. Collective.

    Parameters
    ----------
    of : SetUp
    comm : MPI communicator

    Yields
    ------
    OperatorCheck
    """
    latent, transfer = of.background.latent, of.background.transfer
    if latent is None:
        return
    background = transfer.to_grid(of.state) - latent.mean
    _, code, back = latent.transform(background)
    trip = round_trip_error(background, back, latent.decoder.scale, comm)
    for check in check_background(latent.limits, trip, code).checks:
        yield OperatorCheck(
            f"network's {check.name}", check.value, check.limit, "beyond it the analysis would be TSVD's"
        )
    precise = replace(latent, decoder=_in_float64(latent.decoder, comm))
    transform, *_ = precise.transform(background)
    whole, own = np.random.default_rng(_SEED), np.random.default_rng([_SEED, comm.rank])
    control, direction = whole.normal(size=(2, transform.n_control))
    scale = latent.decoder.scale
    # in units of each variable, so that none is lost beside another's large numbers
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0.0)
    gap = adjoint_gap(
        lambda p: transform.tangent(p, at=control),
        lambda x: transform.adjoint(x, at=control),
        direction,
        inverse * own.normal(size=len(scale)),
        whole_dot,
        dot_over(comm),
    )
    yield OperatorCheck(
        "adjoint of the network's U'", gap, ROUNDING, f"{transform.n_control} modes of {code.size} numbers"
    )
    cost = CostFunction(transform, of.reading_operator.operator, of.error, of.innovation, comm)
    slope, remainders = taylor_slope(cost, control, direction)
    steps = f", h from 1 to {remainders[-1][0]:.1g}" if remainders else ""
    yield OperatorCheck("Taylor test of the network's J", abs(slope - 2.0), SLOPE, f"slope {slope:.4f}{steps}")
    yield OperatorCheck("the network's ∇J against differences", gradient_gap(cost, control, direction), DIFFERENCES)
    yield OperatorCheck("the network's ∇J by U, H and R", cost_gap(cost, control), SUMS)


def _in_float64(decoder, comm):
    network = None if decoder.network is None else copy.deepcopy(decoder.network).double()
    return parallel_decoder(network, decoder.scale, comm, group=decoder.group, device=decoder.device)
