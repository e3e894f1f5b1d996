"""Join archives: mpirun -n N python parallel_joining.py INTO PART PART …"""

import sys

from mpi4py import MPI

from coupling.archive import join_archives

join_archives(sys.argv[2:], sys.argv[1], MPI.COMM_WORLD)
