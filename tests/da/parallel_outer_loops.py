"""Speeds, biases, correlated errors and Huber's norm on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import make_problem, places
from wind_problem import make_wind

from da.background.biased_transform import BiasedTransform
from da.minimisation.huber import Huber
from da.observation.bias import BiasedOperator
from da.observation.correlated_error import correlated_error
from da.outer_loops import analyse_outer

comm = MPI.COMM_WORLD
kept = {}
wind = make_wind(comm)
mine = wind.innovation[wind.operator.rows]
transform = BiasedTransform(wind.transform, np.array([1.0, 2.0, 0.5]), comm)
operator = BiasedOperator(wind.operator, wind.station[wind.operator.rows], 3, comm)
plain = make_problem(comm, "tsvd", 8)
biased = BiasedTransform(plain.transform, np.array([1.0, 2.0]), comm)
stations = BiasedOperator(plain.operator, (np.arange(40) % 3 - 1)[plain.operator.rows], 2, comm)
# the blocks of two variables reach over all ranks; of the speeds the first four are correlated, the rest are alone
correlated = correlated_error(plain.std, *places(plain.index), 8.0, plain.operator.rows, comm, nugget=0.05)
at, block = np.outer(np.arange(15.0), [2.0, 0.0, 0.0]), np.maximum(np.arange(15), 3)
correlated_speeds = correlated_error(wind.std, at, block, 8.0, wind.operator.rows, comm, nugget=0.05)
runs = {
    "speed": (wind.transform, wind.operator, wind.error, mine, None),
    "speed_bias": (transform, operator, wind.error, mine, None),
    "speed_huber": (wind.transform, wind.operator, wind.error, mine, Huber(1.0)),
    "huber": (*plain.arguments, Huber(1.0)),
    "huber_correlated": (*plain.arguments[:2], correlated, plain.arguments[3], Huber(1.0, 0.5)),
    "speed_huber_correlated": (wind.transform, wind.operator, correlated_speeds, mine, Huber(1.0)),
    "bias": (biased, stations, plain.error, plain.arguments[3], None),
}
for name, (u, h, r, d, huber) in runs.items():
    found = analyse_outer(u, h, r, d, comm, huber=huber, loops=60, tolerance=1e-11)
    assert all(np.array_equal(found.control, other) for other in comm.allgather(found.control))
    increment = u.state_increment(found.increment) if hasattr(u, "bias") else found.increment
    kept[f"{name}_control"] = found.control
    kept[f"{name}_increment"] = np.concatenate(comm.allgather(increment))
    if huber is not None:
        counted = huber.counted(d - h.observe(found.increment), r)
        kept[f"{name}_counted"] = np.concatenate(comm.allgather(counted.solve(d)))
    kept[f"{name}_told"] = np.array([found.chi_squared, found.residual.rms, found.trace[-1].cost])
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
