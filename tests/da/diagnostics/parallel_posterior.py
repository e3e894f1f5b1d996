"""Errors, influence and sensors to come on the ranks that run this, gathered into one file: FILE."""

import sys

import numpy as np
from mpi4py import MPI
from small_problem import N, make_problem

from da.analysis import analyse
from da.diagnostics.influence import influence
from da.diagnostics.left_out import left_out, without_neighbourhoods
from da.diagnostics.posterior import metric, posterior, state_std
from da.diagnostics.sensor_placement import next_sensors
from da.minimisation.hessian import ObservationHessian
from da.observation.correlated_error import correlated_error
from da.observation.matrix_operator import selection

comm = MPI.COMM_WORLD
problem = make_problem(comm, "tsvd", 10, [5, 1, 0, 2])
transform, operator, error, innovation = problem.arguments
everything = selection(np.arange(N)[::-1], problem.rows.stop - problem.rows.start, comm)
place = np.column_stack([problem.index, np.zeros((40, 2))]).astype(float)
of_groups = correlated_error(problem.std, place, problem.index % 2, 10.0, operator.rows, comm)
kept = {}
for name, r in (("diagonal", error), ("correlated", of_groups)):
    hessian = ObservationHessian(transform, operator, r, comm)
    of = posterior(hessian.information)
    found = analyse(transform, operator, r, innovation, comm)
    residual = innovation - operator.observe(found.increment)
    told = influence(of, transform, operator, r, residual)
    without = without_neighbourhoods(of, transform, operator, r, place[operator.rows], 12.0, comm)
    kept[f"{name}_neighbourhoods"] = np.concatenate(comm.allgather(left_out(without, r, residual, comm)))
    for part in ("influence", "left_out", "standardised"):
        kept[f"{name}_{part}"] = np.concatenate(comm.allgather(getattr(told, part)))
    kept[f"{name}_state"] = np.concatenate(comm.allgather(state_std(of, transform)))
    candidates = transform.operator_product(everything) / (0.1 * 200.0)
    placed = next_sensors(of, candidates, 4, comm, metric(transform))
    kept[f"{name}_chosen"], kept[f"{name}_total"] = placed.chosen, placed.total
    kept[f"{name}_gain"] = np.concatenate(comm.allgather(placed.first_gain))
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
