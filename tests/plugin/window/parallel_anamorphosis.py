"""Anamorphoses of snapshots that lie on several ranks, and the snapshots transformed; into one file: FILE."""

import sys

import numpy as np
from assimilation import make_background
from mpi4py import MPI

from da.background.anamorphosis import NormalScore, transform
from plugin.case.background import BackgroundSection
from plugin.window.background.anamorphosis import make_anamorphoses

comm = MPI.COMM_WORLD
background, _ = make_background(comm)
transfer = background.transfer
rows = transfer.grid.rows(comm)
whole = np.maximum(np.random.default_rng(5).gamma(0.5, size=(3 * transfer.grid.n_points, 7)) - 0.1, 0.0)
kept = {}
for kind in ("sqrt", "log", "quantile"):
    section = BackgroundSection(snapshots=[{"path": "earlier"}], variables={"Tracer": {"anamorphosis": kind}})
    snapshots = whole[3 * rows.start : 3 * rows.stop].copy()
    made = make_anamorphoses(section, transfer, snapshots)
    transform(snapshots, [made.get(v.name) for v in transfer.variables])
    of = made["Tracer"]
    numbers = [*of.values, *of.scores] if isinstance(of, NormalScore) else [of.lower, of.offset]
    kept[f"{kind}: numbers"] = np.array(numbers)
    kept[f"{kind}: snapshots"] = np.concatenate(comm.allgather(snapshots))
    assert np.array_equal(kept[f"{kind}: snapshots"].reshape(-1, 3, 7)[:, 1:], whole.reshape(-1, 3, 7)[:, 1:])
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
