"""`models.decoder.ParallelDecoder` is what `da.background.decoder.Decoder` asks for; neither room imports the other."""

import inspect

import numpy as np
from mpi4py import MPI

from da.background.decoder import Decoder
from models.decoder import parallel_decoder
from models.zoo.linear import Linear


def test_the_parallel_decoder_has_all_that_the_protocol_names():
    decoder = parallel_decoder(Linear(1, (3, 2, 2), 2), np.ones(12), MPI.COMM_SELF)
    for name in Decoder.__annotations__:
        assert hasattr(decoder, name), name
    methods = [name for name, value in vars(Decoder).items() if inspect.isfunction(value) and name[0] != "_"]
    assert methods
    for name in methods:
        asked, offered = (inspect.signature(getattr(of, name)).parameters for of in (Decoder, type(decoder)))
        assert [(p.name, p.default, p.kind) for p in asked.values()] == [
            (p.name, p.default, p.kind) for p in offered.values()
        ], name
