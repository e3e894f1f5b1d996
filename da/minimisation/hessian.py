"""The Hessian of J_o, A = (HU)ᵀ R⁻¹ (HU): what analyses with the same sensors share.

G = R^{-1/2} H U has a row for each observation. Where U and H are linear, the minimisation needs only
A = GᵀG = (HU)ᵀ R⁻¹ (HU), s × s, and of an innovation (HU)ᵀ R⁻¹ d, s numbers (Arcucci et al. 2019). A is made once, by
blocks of observations. G itself is kept where it is much smaller than the modes; where it would be a second copy of
them, products with it are computed by the modes instead.
"""

import numpy as np
from mpi4py import MPI
from scipy.linalg import LinAlgError, cholesky

from da.background.transform import Transform
from da.observation.diagonal_error import DiagonalError
from da.observation.error import ObservationError
from da.observation.operator import ObservationOperator

_KEPT = 0.5  # G is kept for fewer observations than this part of the state's values


class ObservationHessian:
    """The Hessian of J_o, A = (HU)ᵀ R⁻¹ (HU), and products with what it is made of.

    It remembers what it has made: A, its Cholesky factors, and G where that is kept. Methods and properties are
    collective; `prepare` does all that can be done before.

    Parameters
    ----------
    transform : U, linear
    operator : H, linear
    error : R
    comm : MPI communicator

    Cost, in terms of n values of the state, M observations, s modes, on p ranks (8 bytes are a float64; float32
    modes take 4; half of it on two ranks, and so on):

        prepare   once: M s² FLOPs and one pass over the rows of U that H touches; s³/3 FLOPs on each rank
        pull      8 M s / p bytes and 2 M s / p FLOPs with G, otherwise 8 n s / p bytes and 2 n s / p FLOPs
        one evaluation of J in the minimisation: 8 s² bytes and 2 s² FLOPs, no message
    """

    def __init__(
        self, transform: Transform, operator: ObservationOperator, error: ObservationError, comm: MPI.Comm
    ) -> None:
        self.transform, self.operator, self.error, self.comm = transform, operator, error, comm
        self.keeps = operator.n_observations < _KEPT * operator.n_state
        self.whitened: np.ndarray | None = None  # G, (M_local, s), once it is made and if it is kept
        self._information: np.ndarray | None = None
        self._roots: dict[float, np.ndarray | None] = {}

    @property
    def information(self) -> np.ndarray:
        """A = (HU)ᵀ R⁻¹ (HU), (s, s), the same on every rank to the last bit."""
        if self._information is None:
            self._information = self._summed()
        return self._information

    def root(self, weight: float) -> np.ndarray | None:
        """Lower triangle L with L Lᵀ = a I + A, (s, s); None where rounding leaves A no Cholesky factor."""
        if weight not in self._roots:
            hessian = self.information.copy()
            hessian[np.diag_indices_from(hessian)] += weight
            try:
                self._roots[weight] = cholesky(hessian, lower=True, overwrite_a=True, check_finite=False)
            except LinAlgError:
                self._roots[weight] = None
        return self._roots[weight]

    def prepare(self, weight: float = 1.0) -> None:
        """Make now what a first analysis would make: A, its root for this factor of J_b, and G where it is kept."""
        self.root(weight)
        if self.keeps:
            self._made_whitened()

    def misfit(self, innovation: np.ndarray, control: np.ndarray) -> np.ndarray:
        """R^{-1/2} (d − H U w), (M_local,)."""
        if not control.any():
            return self.error.whiten(innovation)
        if self.keeps:
            return self.error.whiten(innovation) - self._made_whitened() @ control
        return self.error.whiten(self._departure(innovation, control))

    def misfit_and_pull(self, innovation: np.ndarray, control: np.ndarray) -> tuple[float, np.ndarray]:
        """‖d − H U w‖²_{R⁻¹}, and (HU)ᵀ R⁻¹ (d − H U w), (s,); one pass over the modes at w = 0."""
        if self.keeps:
            misfit = self.misfit(innovation, control)
            summed = np.append(self._made_whitened().T @ misfit, misfit @ misfit)
            self.comm.Allreduce(MPI.IN_PLACE, summed)
            return float(summed[-1]), summed[:-1]
        departure = self._departure(innovation, control)
        solved = self.error.solve(departure)
        return self.comm.allreduce(float(departure @ solved)), self.transform.adjoint(self.operator.adjoint(solved))

    def _departure(self, innovation: np.ndarray, control: np.ndarray) -> np.ndarray:
        return innovation - self.operator.observe(self.transform.apply(control)) if control.any() else innovation

    def _made_whitened(self) -> np.ndarray:
        """G, kept if it is small."""
        if self.whitened is not None:
            return self.whitened
        whitened = self.error.whiten(self.transform.operator_product(self.operator))
        if self.keeps:
            self.whitened = whitened
        return whitened

    def _summed(self) -> np.ndarray:
        n = self.transform.n_control
        summed = np.zeros((n, n))
        if self.keeps or not isinstance(self.error, DiagonalError):
            whitened = self._made_whitened()
            summed += whitened.T @ whitened
        else:
            for rows, block in self.transform.operator_product_in_blocks(self.operator):
                whitened = DiagonalError(self.error.std_local[rows]).whiten(block)
                summed += whitened.T @ whitened
        self.comm.Reduce(MPI.IN_PLACE if self.comm.rank == 0 else summed, summed)
        self.comm.Bcast(summed)
        return summed
