"""A small assimilation problem, the same for any number of ranks, and its dense solution."""

from dataclasses import dataclass

import numpy as np

from da.background.linear_transform import LinearTransform
from da.background.modes import reduced_modes, truncated_modes
from da.background.scaling import variable_scaling
from da.observation.diagonal_error import diagonal_error
from da.observation.matrix_operator import selection

VARIABLES = ("speed", "tracer")
N_POINTS, N_SAMPLES, N_OBSERVED = 150, 24, 40
N = N_POINTS * len(VARIABLES)


@dataclass(frozen=True)
class Problem:
    """What an analysis is made of, and whole arrays to check it against."""

    snapshots: np.ndarray
    index: np.ndarray
    std: np.ndarray
    innovation: np.ndarray
    rows: slice
    transform: LinearTransform
    operator: object
    error: object

    @property
    def arguments(self):
        return self.transform, self.operator, self.error, self.innovation[self.operator.rows]


def whole_snapshots():
    """(N, N_SAMPLES): a few smooth waves, noise, and two variables of unlike units."""
    rng = np.random.default_rng(7)
    x = np.linspace(0.0, 1.0, N_POINTS)[:, None]
    waves = np.concatenate([np.sin((k + 1) * np.pi * x + k) / (k + 1) for k in range(8)], axis=1)
    fields = [waves @ rng.normal(size=(8, N_SAMPLES)) + 0.05 * rng.normal(size=(N_POINTS, N_SAMPLES)) for _ in range(2)]
    units = np.array([3.0, 200.0])
    return (np.stack(fields, axis=1) * units[:, None] + 10.0).reshape(N, N_SAMPLES)


def rows_of(comm, shares=None):
    """This rank's run of rows, whole points; `shares` cuts unevenly, zero gives a rank nothing."""
    shares = np.ones(comm.size) if shares is None else np.resize(np.asarray(shares, float), comm.size)
    cut = np.concatenate([[0], np.round(np.cumsum(shares) / shares.sum() * N_POINTS)]).astype(int) * len(VARIABLES)
    return slice(cut[comm.rank], cut[comm.rank + 1])


def make_problem(comm, kind="reduced", truncation=None, shares=None, std=0.1):
    """The problem with its rows split over a communicator."""
    rng = np.random.default_rng(11)
    snapshots, rows = whole_snapshots(), rows_of(comm, shares)
    scaling = variable_scaling(snapshots[rows], VARIABLES, comm)
    scaled = scaling.divide(snapshots[rows])
    modes = reduced_modes(scaled, comm) if kind == "reduced" else truncated_modes(scaled, comm, truncation)
    index = rng.choice(N, N_OBSERVED, replace=False)
    whole_scale = np.concatenate(comm.allgather(scaling.scale))
    spread = std * (1.0 + rng.random(N_OBSERVED)) * whole_scale[index]
    innovation = whole_scale[index] * rng.normal(size=N_OBSERVED)
    operator = selection(index, rows.stop - rows.start, comm)
    return Problem(
        snapshots=snapshots,
        index=index,
        std=spread,
        innovation=innovation,
        rows=rows,
        transform=LinearTransform(modes, scaling.scale, comm),
        operator=operator,
        error=diagonal_error(spread, operator.rows),
    )


def places(index):
    """((M, 3) where in the domain the readings are [m], 0 to 15 along x; (M,) number of their variable)."""
    along = (index // len(VARIABLES)) / 10.0
    return np.stack([along, 0.0 * along, 0.0 * along], axis=1), index % len(VARIABLES)


def dense(problem):
    """(U, H) as whole matrices; the problem must lie on one rank."""
    selecting = np.zeros((len(problem.index), N))
    selecting[np.arange(len(problem.index)), problem.index] = 1.0
    return problem.transform.scale[:, None] * problem.transform.modes.vectors, selecting


def dense_control(problem, weight=1.0):
    """w of the normal equations, (a I + UᵀHᵀR⁻¹HU) w = UᵀHᵀR⁻¹d."""
    u, h = dense(problem)
    g = h @ u / problem.std[:, None]
    return np.linalg.solve(weight * np.eye(u.shape[1]) + g.T @ g, g.T @ (problem.innovation / problem.std))


def relative_difference(a, b):
    """‖a − b‖ / ‖b‖."""
    return np.linalg.norm(a - b) / np.linalg.norm(b)
