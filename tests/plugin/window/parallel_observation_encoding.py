"""An analysis by an observation encoder on the ranks that run this: NETWORK ENCODER FILE."""

import sys

import numpy as np
from assimilation import make_readings
from latent_background import case_of, latent_background, with_network
from mpi4py import MPI

from plugin.case.configuration import MinimiserSection
from plugin.window.assimilate import assimilate
from plugin.window.background.latent import read_latent

comm = MPI.COMM_WORLD
background, state = latent_background(comm)
case = case_of(*sys.argv[1:3], trust={"cost_ratio": 1e3})
network = with_network(background, read_latent(case, background.transfer, comm))
found = assimilate(network, state, make_readings(background, state), comm, MinimiserSection())
increment = comm.gather(found.analysis.increment)
if comm.rank == 0:
    assert found.network.summary()["transform"] == "bireduced"
    np.savez(sys.argv[3], control=found.analysis.control, increment=np.concatenate(increment))
