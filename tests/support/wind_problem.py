"""A small problem with wind speeds, biases and plain readings, over any number of ranks, and its dense twin."""

from types import SimpleNamespace

import numpy as np
from petsc4py import PETSc
from small_problem import N, make_problem

from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import MatrixOperator
from da.observation.speed import CALM, SpeedOperator

N_SPEED, N_LINEAR = 9, 6


def make_wind(comm, truncation=6):
    """Speeds of three components each, then linear readings; dense L, U and the rest beside."""
    rng = np.random.default_rng(21)
    problem = make_problem(comm, "tsvd", truncation)
    k = 3 * N_SPEED + N_LINEAR
    matrix = np.zeros((k, N))
    for row in matrix:
        row[2 * rng.choice(N // 2, 4, replace=False)] = rng.random(4) / 4.0
    # the third component of the first speeds is not analysed: H sees its background only
    matrix[[2, 5]] = 0.0
    background = rng.normal(size=k) * 4.0
    reading = np.concatenate([np.repeat(np.arange(N_SPEED), 3), N_SPEED + np.arange(N_LINEAR)])
    # each rank takes whole readings, in shuffled rows of L
    m = N_SPEED + N_LINEAR
    cut = [m * r // comm.size for r in range(comm.size + 1)]
    first, end = cut[comm.rank], cut[comm.rank + 1]
    mine = rng.permutation(k)
    mine = mine[(reading[mine] >= first) & (reading[mine] < end)]
    row, column = np.nonzero(matrix[mine])
    start = np.concatenate([[0], np.cumsum(np.count_nonzero(matrix[mine], axis=1))]).astype(PETSc.IntType)
    petsc = PETSc.Mat().createAIJ(
        ((len(mine), None), (problem.rows.stop - problem.rows.start, None)),
        csr=(start, column.astype(PETSc.IntType), matrix[mine][row, column]),
        comm=comm,
    )
    petsc.assemble()
    is_speed = np.arange(m) < N_SPEED
    operator = SpeedOperator(MatrixOperator(petsc), background[mine], reading[mine] - first, is_speed[first:end])
    std = 0.3 + 0.3 * rng.random(m)
    truth, noise = rng.normal(size=truncation), rng.normal(size=m)

    def observe(increment):
        """h of a whole increment, dense."""
        value, base = matrix @ increment + background, background
        speed = [np.sqrt((v[: 3 * N_SPEED].reshape(-1, 3) ** 2).sum(axis=1) + CALM**2) for v in (value, base)]
        return np.concatenate([speed[0] - speed[1], (value - base)[3 * N_SPEED :]])

    scaled = np.concatenate(comm.allgather(problem.transform.apply(truth)))
    innovation = observe(scaled) + std * noise
    return SimpleNamespace(
        transform=problem.transform,
        operator=operator,
        error=diagonal_error(std, operator.rows),
        innovation=innovation,
        std=std,
        matrix=matrix,
        background=background,
        observe=observe,
        rows=problem.rows,
        station=np.arange(m) % 4 - 1,
    )
