"""Members analysed among the codes of a network, on the ranks that run this: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from networks import Bent, make_latent_problem, tsvd_basis

from da.diagnostics.trust import TrustLimits, latent_cloud
from da.ensemble.ensemble import EnsembleReadings, anomalies_of
from da.ensemble.latent import latent
from da.observation.diagonal_error import diagonal_error

comm, members = MPI.COMM_WORLD, 8
of = make_latent_problem(comm, Bent(tsvd_basis()), shares={1: None, 2: [1, 5], 3: [5, 0, 1]}[comm.size])
prior, operator = of.anomalies[:, :members], of.problem.operator


def observe(change):
    return np.concatenate(comm.allgather(operator.observe(change)))


observed = np.stack([observe(np.ascontiguousarray(member)) for member in prior.T], axis=1)
m = len(observed)
truth = observe(np.ascontiguousarray(of.anomalies[:, members]))
error = diagonal_error(np.full(m, 0.3), slice(0, m))
readings = EnsembleReadings(
    truth - observed.mean(axis=1), anomalies_of(observed), error, np.zeros((m, 3)), np.full(m, "x")
)  # fmt: skip
codes = of.decoder.encode(prior)
kept = {}
for name, limits in (("decoded", {}), ("refused", {"cost_ratio": 1e-9}), ("in part", {"distance": 1.0})):
    trusted = TrustLimits(latent_cloud(codes), **{"round_trip": 1e9, "distance": 1e9, **limits})
    update = latent(readings, of.decoder, np.zeros(len(prior)), trusted, observe)
    posterior = update.state(prior)
    kept[name] = np.concatenate(comm.allgather(posterior))
    figures = comm.allgather(update.summary())
    assert all(other == figures[0] for other in figures)
    kept[f"{name}: members"] = np.array([members, figures[0]["decoded"]])
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
