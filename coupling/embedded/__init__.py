"""The embedded forecast model: a small program that can stand in for Fluidity.

    python -m coupling.embedded [-l] case.flml            or under mpirun
    python -m coupling.embedded.decompose mesh.msh N      to cut a mesh for N processes

It reads a subset of Fluidity's options (:mod:`.grammar`, :mod:`.options`; what it does not know, it
refuses), meshes and halos, and leaves dumps and checkpoints under Fluidity's names. Its restarts keep
Fluidity's contract, good and bad: same nodes in the same order or exit code 16; edited fields come
back bit for bit; an untouched restart repeats the run bit for bit where time steps are exact in binary;
halo values are not refreshed on reading; NaN is accepted.

Its physics is that of a street, much simplified: tracers are transported and diffused (:mod:`.transport`) by a
velocity that relaxes, with a time scale of its own, to a mass-consistent wind around the buildings
(:mod:`.wind`). There is no momentum equation and no pressure, so there are no wakes. The velocity has a
memory only so that an analysed velocity has an effect; one that is not free of divergence conserves
constants and bounds, but not the tracer's mass.

Python in an options file is executed, as in Fluidity: run only files that you trust.

It is a program of its own, which `coupling.fluidity.driver` starts like Fluidity; only its tests import it.
"""
