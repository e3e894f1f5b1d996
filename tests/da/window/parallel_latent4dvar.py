"""Analyses over a window on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from networks import Bent, tsvd_basis
from window_problem import N_CODES, Turning, make_window, readings_of, true_control

from da.window.cost import window_cost
from da.window.latent4denvar import latent4denvar, member_paths
from da.window.latent4dvar import latent4dvar

comm, kept = MPI.COMM_WORLD, {}
layouts = {
    "even": (None, None),
    "uneven": ({1: None, 2: [1, 5], 3: [5, 0, 1]}[comm.size], None),
    "groups": (None, comm.Split(comm.rank % 2, -comm.rank)),
}
members = np.random.default_rng(7).normal(size=(N_CODES, 5))


def forecast(code, _):
    return Turning().step(code)


for layout, weak in (("even", True), ("uneven", False), ("groups", False)):
    of = make_window(comm, Bent(tsvd_basis()), Turning(), weak, *layouts[layout], n_steps=2)
    window, start = of.window, true_control(of.window)
    readings, _ = readings_of(of, comm, steps=(2, 0))
    found = latent4dvar(window, readings, comm, step=1, start=start, gradient_tolerance=1e-13)
    assert all(np.array_equal(found.codes, other) for other in comm.allgather(found.codes))
    told = found.analysis
    kept[layout] = np.concatenate(comm.allgather(told.increment))
    kept[f"{layout}_told"] = np.array([told.chi_squared, told.residual.rms, told.innovation.rms])
    kept[f"{layout}_hessian"] = window_cost(window, readings, comm).gauss_newton_hessian(start)(start)
    paths = member_paths(forecast, window.base[0][:, None] + members, members[:1], 2)
    ensemble = latent4denvar(window, paths, readings, comm, step=1)
    kept[f"{layout}_ensemble"] = np.concatenate(comm.allgather(ensemble.increment))
    kept[f"{layout}_parameters"] = ensemble.members.parameters
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
