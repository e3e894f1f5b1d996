"""Decoding over ranks against one rank: rows uneven and none, one group, and groups whose ranks are no run."""

import numpy as np
import pytest
from mpi4py import MPI
from networks import Bent, Convolutional, make_decoder, tsvd_basis, vector
from small_problem import N, relative_difference, rows_of

from models.decoder import DecoderError, parallel_decoder

comm = MPI.COMM_WORLD
scale = 0.5 + vector(seed=9) ** 2
z, p, dx, states = vector(6, 1), vector(6, 2), vector(seed=3), vector(5 * N, 4).reshape(N, 5)
groups = {
    "node": None,
    "alone": comm.Split(comm.rank, 0),
    # ranks 0 and 2 share a decode, in another order than the rows'
    "mixed": comm.Split(comm.rank % 2, -comm.rank),
}


class Failing(Bent):
    def g(self, z):
        raise RuntimeError("out of memory")


for network in (Bent(tsvd_basis()), Convolutional().double()):
    one = make_decoder(MPI.COMM_SELF, network, scale)
    expected = one.apply(z), one.tangent(p, at=z), one.adjoint(dx, at=z), one.encode(states)
    for shares in (None, *{1: (), 2: ([1, 5], [0, 1]), 3: ([5, 0, 1], [0, 1, 0])}[comm.size]):
        rows = rows_of(comm, shares)
        for name, group in groups.items():
            decoder = make_decoder(comm, network, scale[rows], group)
            leads = (group or comm).rank == 0
            assert (decoder.network is not None) == leads and decoder.leaders[0] in range(comm.size)
            assert len(decoder.leaders) == {"node": 1, "alone": comm.size, "mixed": min(2, comm.size)}[name]
            found = (
                np.concatenate(comm.allgather(decoder.apply(z, keep=True))),
                np.concatenate(comm.allgather(decoder.tangent(p, at=z))),
                decoder.adjoint(dx[rows], at=z),
                decoder.encode(states[rows]),
            )
            for x, y in zip(found, expected, strict=True):
                assert relative_difference(x, y) < 1e-12, (name, shares)
            assert decoder.passes().decodes == 1 and decoder.passes().adjoints == 1
            # five states dealt to the groups in turn
            assert sum(comm.allgather(decoder.local.passes.encodes if decoder.local else 0)) == 5
            assert decoder.encode(dx[rows]).shape == (6,)

# what fails on a decoding rank is raised on all
decoder = make_decoder(comm, Failing(tsvd_basis()), scale[rows_of(comm)])
with pytest.raises(DecoderError, match="out of memory"):
    decoder.apply(z)
network = Bent(tsvd_basis()) if comm.rank != 0 or comm.size == 1 else None
if comm.size > 1:
    with pytest.raises(ValueError, match="given no network"):
        parallel_decoder(network, scale[rows_of(comm)], comm)
