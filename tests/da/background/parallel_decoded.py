"""Analyses through a decoder on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from networks import Bent, make_latent_problem, tsvd_basis

from da.background.latent import decoded_transform, latent_modes
from da.bireduced import bireduced
from da.decoded import analyse_decoded
from da.diagnostics.trust import check_background, round_trip, trust_limits

comm = MPI.COMM_WORLD
network, kept = Bent(tsvd_basis()), {}
layouts = {
    "even": (None, None),
    "uneven": ({1: None, 2: [1, 5], 3: [5, 0, 1]}[comm.size], None),
    "groups": (None, comm.Split(comm.rank % 2, -comm.rank)),
}
for name, (shares, group) in layouts.items():
    of = make_latent_problem(comm, network, shares=shares, group=group)
    codes = of.decoder.encode(of.anomalies)
    rng, h = np.random.default_rng(3), of.problem.operator
    truth = of.problem.transform.apply(rng.normal(size=6))
    innovation = h.observe(truth) + (of.problem.std * rng.normal(size=40))[h.rows]
    for centred in (False, True):
        modes = latent_modes(codes, comm, 6, centred=centred)
        transform = decoded_transform(of.decoder, modes, of.anomalies[:, 3] if centred else None)
        tsvd = truth if centred else None
        for method in ("lmvm", "gauss_newton"):
            found = analyse_decoded(
                transform,
                h,
                of.problem.error,
                innovation,
                comm,
                method=method,
                first_increment=tsvd,
                gradient_tolerance=1e-13,
            )
            assert all(np.array_equal(found.control, other) for other in comm.allgather(found.control))
            kept[f"{name}_{centred}_{method}"] = np.concatenate(comm.allgather(found.increment))
            kept[f"{name}_{centred}_{method}_told"] = np.array([found.chi_squared, found.residual.rms])
    found = bireduced(transform, truth, comm)
    kept[f"{name}_bireduced"] = np.append(np.concatenate(comm.allgather(found.increment)), found.residual.rms)
    limits = trust_limits(codes, [round_trip(of.decoder, x) for x in of.anomalies.T])
    trust = check_background(limits, round_trip(of.decoder, truth), of.decoder.encode(truth))
    kept[f"{name}_trust"] = np.array([(check.value, check.limit) for check in trust.checks]).ravel()
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
