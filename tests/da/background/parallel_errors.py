"""What is wrong on one rank is raised on all of them."""

import numpy as np
import pytest
from mpi4py import MPI
from small_problem import make_problem
from wind_problem import make_wind

from da.background.linear_transform import LinearTransform
from da.background.modes import reduced_modes, truncated_modes
from da.background.scaling import variable_scaling
from da.diagnostics.trust import observation_cost
from da.minimisation.cost import CostFunction
from da.minimisation.minimise import MinimisationError, minimise
from da.observation.speed import SpeedOperator

comm = MPI.COMM_WORLD
last = comm.rank == comm.size - 1
rng = np.random.default_rng(comm.rank)

for make in (reduced_modes, truncated_modes):
    snapshots = rng.normal(size=(4, 6))
    if last:
        snapshots[2, 5] = np.nan
    with pytest.raises(ValueError, match="number 5 "):
        make(snapshots, comm)
    with pytest.raises(ValueError, match=r"\[5, 6\] snapshots on the ranks"):
        make(rng.normal(size=(4, 5 if last else 6)), comm)

with pytest.raises(ValueError, match=rf"mask of shape \(3,\).* \(rank {comm.size - 1}\)"):
    variable_scaling(rng.normal(size=(4, 6)), ("u", "v"), comm, np.ones(3 if last else 2, bool))

problem = make_problem(comm)
innovation = problem.innovation[problem.operator.rows].copy()
if last:
    innovation[0] = np.nan
with pytest.raises(ValueError, match="innovation of observation"):
    CostFunction(problem.transform, problem.operator, problem.error, innovation, comm)

modes, n_local = problem.transform.modes, len(problem.transform.scale)
with pytest.raises(ValueError, match=rf"scale of shape \(3,\).* \(rank {comm.size - 1}\)"):
    LinearTransform(modes, np.ones(3 if last else n_local), comm)

speeds = make_wind(comm).operator
with pytest.raises(ValueError, match="has 3 rows of L"):
    SpeedOperator(speeds.components, speeds.background, speeds.reading, speeds.is_speed & (comm.rank > 0))

with pytest.raises(ValueError, match="departures of shape"):
    observation_cost(problem.operator, problem.error, problem.arguments[3][1 if last else 0 :], comm)

with pytest.raises(MinimisationError, match="DIVERGED_MAXITS"):
    minimise(CostFunction(*problem.arguments, comm), comm, max_iterations=2)
