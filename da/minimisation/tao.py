"""TAO's limited-memory quasi-Newton methods, set up for costs of data assimilation.

The options database belongs to the user: what stands there wins over our defaults, and what we put
there is taken away as soon as the solver has read it.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc

METHODS = ("lmvm", "blmvm", "bqnls")
REASONS = {number: name for name, number in vars(PETSc.TAO.Reason).items() if not name.startswith("_")}


def solver(
    n: int, comm: MPI.Comm, method: str, gradient_tolerance: float, max_iterations: int, memory: int, prefix: str
) -> tuple[PETSc.TAO, PETSc.Vec]:
    """A TAO solver that has read its options, and its solution vector. Collective.

    Parameters
    ----------
    n : length of the vector
    comm : MPI communicator
    method : one of METHODS
    gradient_tolerance : of the norm, relative to the first
    max_iterations, memory : as in `da.minimisation.minimise.minimise`
    prefix : of the PETSc options

    Returns
    -------
    PETSc.TAO, PETSc.Vec; both are the caller's to destroy
    """
    vector = PETSc.Vec().createMPI(n, comm=comm)
    tao = PETSc.TAO().create(comm)
    tao.setType(method)
    tao.setOptionsPrefix(prefix)
    tao.setSolution(vector)
    # PETSc's other test, ‖∇f‖ relative to f, would depend on the constant in f
    tao.setTolerances(gatol=0.0, grtol=0.0, gttol=gradient_tolerance)
    tao.setMaximumIterations(max_iterations)
    tao.setMaximumFunctionEvaluations(-1)
    with default_options(prefix, quasi_newton_defaults(method, memory)):
        tao.setFromOptions()
    return tao, vector


def whole(vector: PETSc.Vec, comm: MPI.Comm) -> np.ndarray:
    """(n,) all of a PETSc Vec on every rank. Collective."""
    ranges = np.asarray(vector.getOwnershipRanges())
    values = np.empty(ranges[-1])
    comm.Allgatherv(vector.array_r, [values, (np.diff(ranges), ranges[:-1]), MPI.DOUBLE])
    return values


def quasi_newton_defaults(method: str, memory: int) -> dict[str, str | int]:
    """Options of the L-BFGS methods that differ from TAO's own, {name without prefix: value}.

    TAO starts the Hessian from a diagonal that it learns. On ill-conditioned quadratics, the usual
    shape of J, that takes ten times the evaluations and more, or ends in a line-search failure (PETSc
    3.18). The scalar yᵀs / yᵀy (Liu & Nocedal 1989) does not.
    """
    return {f"tao_{method}_mat_lmvm_scale_type": "scalar", f"tao_{method}_mat_lmvm_hist_size": memory}


@contextmanager
def default_options(prefix: str, defaults: Mapping[str, str | int]) -> Iterator[None]:
    """Have defaults in the options database where the user has set nothing; take them away at the end.

    The matrix of `lmvm` does not learn its solver's prefix (PETSc 3.18 reads `-tao_lmvm_mat_…`
    whatever the prefix), so each value stands there with and without it.

    Parameters
    ----------
    prefix : of the solver, ends in "_"
    defaults : {name without prefix: value}
    """
    database, before = PETSc.Options(), {}
    try:
        for name, value in defaults.items():
            for own in (prefix + name, name):
                before[own] = database.getString(own) if database.hasName(own) else None
            known = [before[own] for own in (prefix + name, name) if before[own] is not None]
            for own in (prefix + name, name):
                database.setValue(own, known[0] if known else value)
        yield
    finally:
        for own, earlier in before.items():
            if earlier is None:
                database.delValue(own)
            else:
                database.setValue(own, earlier)
