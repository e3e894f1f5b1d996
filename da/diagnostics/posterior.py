"""Analysis errors from the Hessian of J, and how much of the analysis the observations determine.

Where U and H are linear the analysis' errors have the covariance U C Uᵀ with C = (a I + A)⁻¹, the inverse
of the s × s Hessian; A = (HU)ᵀ R⁻¹ (HU) is that of
:class:`da.minimisation.hessian.ObservationHessian`. They are as right as B and R: where these are guesses, so are the
errors (:mod:`da.diagnostics.desroziers` checks B and R).

No n × n matrix is made: a standard deviation is the norm of a row of U T with T Tᵀ = C, so that all n of
them cost 2 n s² FLOPs and one pass over the modes.
"""

from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from petsc4py import PETSc
from scipy.linalg import eigh

from coupling.common.collective import refuse_together
from da.background.linear_transform import LinearTransform
from da.background.transform import RowTransform
from da.observation.matrix_operator import MatrixOperator

_BLOCK = 1 << 19  # values in a block of rows; it and its product stay in the processor's last cache


@dataclass(frozen=True)
class Posterior:
    """Covariance C = (a I + A)⁻¹ of the control's errors, by the eigenvectors of A = E Λ Eᵀ.

    eigenvalues : (s,) λ of A in falling order, none negative: how much better than the background the observations
        know each direction; a is as well as the background
    eigenvectors : (s, s) E, one for each column
    weight : a, factor of ½ wᵀw in J
    """

    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    weight: float

    @property
    def root(self) -> np.ndarray:
        """(s, s) T = E (a + Λ)^{-1/2}, so that T Tᵀ = C."""
        return self.eigenvectors / np.sqrt(self.weight + self.eigenvalues)

    @property
    def covariance(self) -> np.ndarray:
        """(s, s) C, by 2 s³ FLOPs each time."""
        root = self.root
        return root @ root.T

    @property
    def degrees_of_freedom(self) -> float:
        """tr A (a I + A)⁻¹ = Σ λ / (a + λ): how many of the s numbers of the control the observations determine.

        Degrees of freedom for signal (Rodgers 2000, section 2.4; Fisher 2003, ECMWF Tech. Memo. 397).
        """
        return float(np.sum(self.eigenvalues / (self.weight + self.eigenvalues)))

    @property
    def entropy_reduction(self) -> float:
        """½ Σ ln(1 + λ / a): the information in the observations, in nats (Rodgers 2000, section 2.5)."""
        return float(0.5 * np.sum(np.log1p(self.eigenvalues / self.weight)))


def posterior(information: np.ndarray, weight: float = 1.0) -> Posterior:
    """Errors of analyses with the same U, H and R.

    Parameters
    ----------
    information : (s, s) A, symmetric, as `ObservationHessian.information`
    weight : a, factor of ½ wᵀw in J

    Returns
    -------
    Posterior

    Raises
    ------
    ValueError
        if A is not square, finite, or has an eigenvalue that is negative beyond rounding; if a is not positive
    """
    information = np.asarray(information, dtype=np.float64)
    _check(information, weight)
    if information.size == 0:
        return prior(0, weight)
    values, vectors = eigh(0.5 * (information + information.T))
    # A is a sum of squares: what is below zero is rounding
    if values[0] < -1e-10 * max(values[-1], weight):
        raise ValueError(f"information matrix with an eigenvalue of {values[0]:.3g}, expected none below zero")
    return Posterior(np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1]), float(weight))


def marginal(of: Posterior, n: int) -> Posterior:
    """The Posterior of the first n numbers of a control, whatever the others are, as those of a state beside biases.

    Its eigenvectors are the first n rows, (n, s); degrees of freedom and entropy are those of all s.
    """
    return Posterior(of.eigenvalues, of.eigenvectors[:n], of.weight)


def prior(n_control: int, weight: float = 1.0) -> Posterior:
    """The Posterior without observations: C = I / a."""
    return Posterior(np.zeros(n_control), np.eye(n_control), float(weight))


def state_std(of: Posterior, transform: RowTransform) -> np.ndarray:
    """Standard deviation of the errors of each value of the state on the grid; nothing collective.

    Parameters
    ----------
    of : Posterior
    transform : RowTransform, U; of a transform with biases its `inner`, and the `marginal` of as many modes

    Returns
    -------
    (n_local,) in the state's units
    """
    result, root = np.empty(transform.n_local), of.root
    for rows in _blocks(transform.n_local, transform.n_control):
        result[rows] = row_norms(transform.rows(rows), root)
    return result


def mesh_std(of: Posterior, transform: RowTransform, to_mesh: PETSc.Mat, column: int, n_columns: int) -> np.ndarray:
    """Standard deviation of the errors of one variable on the mesh, rows of Q U T. Collective.

    The grid's values of a variable are every n_columns-th of the state; Q knows points only.

    Parameters
    ----------
    of : Posterior
    transform : RowTransform, U
    to_mesh : PETSc AIJ (mesh values × grid points), Q
    column : number of the variable; n_columns : variables of a point

    Returns
    -------
    (local mesh values,) in the variable's units

    Raises
    ------
    ValueError
        on every rank, if Q's columns are not the grid points
    """
    points = len(range(column, transform.n_local, n_columns))
    columns, problem = to_mesh.getLocalSize()[1], None
    if columns != points:
        problem = f"Q with {columns} columns on this rank, which has {points} grid points"
    refuse_together(problem, transform.comm)
    operator = MatrixOperator(to_mesh)
    result, root = np.empty(operator.rows.stop - operator.rows.start), of.root
    at_points = operator.observe_rows_in_blocks(
        lambda numbers: transform.rows(column + n_columns * numbers), transform.n_control
    )
    for rows, block in at_points:
        result[rows] = row_norms(block, root)
    return result


def metric(transform: RowTransform, weight: np.ndarray | None = None) -> np.ndarray:
    """Uᵀ W U, so that tr W (U C Uᵀ) = tr (Uᵀ W U) C: what the errors of a control are in the state. Collective.

    Parameters
    ----------
    transform : RowTransform, U; without a weight a LinearTransform
    weight : (n_local,) diagonal of W, not negative: zero for what does not count, 1/unit² where variables have unlike
        units; None counts every value in units of the transform's scale

    Returns
    -------
    (s, s), the same on every rank

    Raises
    ------
    ValueError
        on every rank, if the weights do not fit, or one is negative or no number
    """
    refuse_together(_weight_problem(weight, transform.n_local), transform.comm)
    root = np.sqrt(weight) if weight is not None else _per_scale(transform)
    summed = np.zeros((transform.n_control,) * 2)
    for rows in _blocks(transform.n_local, transform.n_control):
        block = root[rows, None] * transform.rows(rows)
        summed += block.T @ block
    transform.comm.Reduce(MPI.IN_PLACE if transform.comm.rank == 0 else summed, summed)
    transform.comm.Bcast(summed)
    return summed


def _per_scale(transform: RowTransform) -> np.ndarray:
    """(n_local,) one over the transform's scale, zero where that is."""
    scale = transform.scale if isinstance(transform, LinearTransform) else None
    if scale is None:
        return np.ones(transform.n_local)
    return np.divide(1.0, scale, out=np.zeros(len(scale)), where=scale > 0.0)


def row_norms(rows: np.ndarray, root: np.ndarray) -> np.ndarray:
    """(k,) ‖g T‖ of each row g: (k, s), (s, s)."""
    product = rows @ root
    return np.sqrt(np.einsum("ij,ij->i", product, product))


def _blocks(n: int, s: int) -> list[slice]:
    step = max(1, _BLOCK // max(1, s))
    return [slice(first, min(first + step, n)) for first in range(0, n, step)]


def _check(information: np.ndarray, weight: float) -> None:
    if information.ndim != 2 or information.shape[0] != information.shape[1]:
        raise ValueError(f"information matrix of shape {information.shape}, expected a square one")
    if not np.isfinite(information).all():
        raise ValueError("information matrix holds a value that is no number; look for it in the modes and in H")
    if not (np.isfinite(weight) and weight > 0.0):
        raise ValueError(f"background weight {weight!r}, expected a positive number; 1 is the usual one")


def _weight_problem(weight: np.ndarray | None, n_local: int) -> str | None:
    if weight is None:
        return None
    if np.shape(weight) != (n_local,):
        return f"weights of shape {np.shape(weight)}, expected ({n_local},) like the state's rows"
    bad = np.flatnonzero(~(np.isfinite(weight) & (np.asarray(weight) >= 0.0)))
    return f"weight {weight[bad[0]]} in row {bad[0]}, expected none below zero" if len(bad) else None
