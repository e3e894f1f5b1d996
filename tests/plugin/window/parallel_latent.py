"""An analysis by a network on the ranks that run this: NETWORK FILE [ERRORS]."""

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
told = {"errors": sys.argv[3]} if len(sys.argv) > 3 else {}
network = with_network(background, read_latent(case_of(sys.argv[1], **told), background.transfer, comm))
found = assimilate(network, state, make_readings(background, state), comm, MinimiserSection())
increment = comm.gather(found.analysis.increment)
if comm.rank == 0:
    checks = [check.value for check in found.network.trust.checks]
    np.savez(sys.argv[2], control=found.analysis.control, increment=np.concatenate(increment), checks=checks)
