"""An analysis by a network on the ranks that run this: NETWORK FILE."""

import sys
from types import SimpleNamespace

import numpy as np
from mpi4py import MPI

from assimilation import make_readings
from latent_background import latent_background, with_network
from plugin.assimilate import assimilate
from plugin.configuration import MinimiserSection
from plugin.latent import read_latent
from plugin.latent_section import LatentSection

comm = MPI.COMM_WORLD
background, state = latent_background(comm)
settings = SimpleNamespace(latent=LatentSection(), unbiased=True, inflation=1.0)
case = SimpleNamespace(network=SimpleNamespace(file=sys.argv[1], name="Linear"), background=settings)
network = with_network(background, read_latent(case, background.transfer, comm))
found = assimilate(network, state, make_readings(background, state), comm, MinimiserSection())
increment = comm.gather(found.analysis.increment)
if comm.rank == 0:
    checks = [check.value for check in found.network.trust.checks]
    np.savez(sys.argv[2], control=found.analysis.control, increment=np.concatenate(increment), checks=checks)
