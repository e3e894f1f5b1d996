"""The doctor: is this machine, and this case, ready for the cycle? `python -m plugin.check case.yml`

finding        what a check says; a check that breaks down says that
subject        a case's files, each opened once however many checks ask for it
libraries      Python's packages and the MPI, PETSc and HDF5 libraries that they have loaded
machine        processors, memory, disk, GPU
model          the model's program and its launcher, tried with a small program
options        the model's options, and what the cycle needs of them
restart        a restart written and read back
states         earlier states: their fields, times and mesh
geometry       the grid over the mesh
observations   readings in the model's air and in the run's windows
network        weights that belong to the case
needs          memory, disk and time
"""
