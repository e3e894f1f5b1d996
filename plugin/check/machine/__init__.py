"""The machine.

libraries   Python's packages and the MPI, PETSc and HDF5 libraries that they have loaded
processors  processors and memory of each node, and a GPU
"""
