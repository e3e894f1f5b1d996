"""What the readings see of a control space, G = R^{-1/2} H U, without G itself; cost and gain in it.

A part of U is [c_1 ∘ X, …, c_J ∘ X], columns X modulated by patterns c_j (Buehner 2005; Bishop & Hodyss 2009), so a
part of G is L⁻¹ [c_1 ∘ Y, …, c_J ∘ Y] with the patterns at the readings, Y = H X in units of the readings' standard
deviations, and L the root of their errors' correlations. What is not modulated has one pattern of ones. Readings are
few and complete on every rank, and so is all of this.

For M readings and s = Σ k J numbers of a control, products with G or Gᵀ cost some 2 M s FLOPs, and 2 M² where errors
are correlated. The eigenpairs that make a gain of it are those of G Gᵀ = L⁻¹ (Σ C Cᵀ ∘ Y Yᵀ) L⁻ᵀ, M × M, or of GᵀG,
s × s, whichever is smaller: some 10 min(M, s)³ FLOPs on rank 0.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.linalg import eigh

from da.observation.error import ObservationError

_BLOCK = 1 << 20  # values of G made at once


@dataclass(frozen=True)
class ObservedPart:
    """[c_1 ∘ Y, …, c_J ∘ Y]; in a control a column's patterns follow one another.

    columns : (M, k) Y, in units of the readings' standard deviations
    patterns : (M, J) c_j at the readings
    """

    columns: np.ndarray
    patterns: np.ndarray

    @property
    def n_control(self) -> int:
        """k J."""
        return self.columns.shape[1] * self.patterns.shape[1]

    def observe(self, controls: np.ndarray) -> np.ndarray:
        """(k J, q) → (M, q)."""
        j, q = self.patterns.shape[1], controls.shape[1]
        weighted = self.columns @ controls.reshape(-1, j * q)
        return np.asarray(np.einsum("mj,mjq->mq", self.patterns, weighted.reshape(-1, j, q)))

    def adjoint(self, values: np.ndarray) -> np.ndarray:
        """The transpose: (M, q) → (k J, q)."""
        j, q = self.patterns.shape[1], values.shape[1]
        modulated = (self.patterns[:, :, None] * values[:, None, :]).reshape(-1, j * q)
        return (self.columns.T @ modulated).reshape(-1, q)

    def rows(self, chosen: slice) -> np.ndarray:
        """(m, k J) some rows of the matrix."""
        columns, patterns = self.columns[chosen], self.patterns[chosen]
        return (columns[:, :, None] * patterns[:, None, :]).reshape(len(columns), -1)


@dataclass(frozen=True)
class ObservedSubspace:
    """G = L⁻¹ [G_1, G_2, …] of one part or more, for one control vector that has theirs one after another.

    parts : ObservedPart
    decorrelation : (M, M) L⁻¹; None where errors are independent
    """

    parts: Sequence[ObservedPart]
    decorrelation: np.ndarray | None = None

    @property
    def n_control(self) -> int:
        """s."""
        return sum(part.n_control for part in self.parts)

    @property
    def n_readings(self) -> int:
        """M."""
        return len(self.parts[0].columns)

    def observe(self, controls: np.ndarray) -> np.ndarray:
        """G W: (s,) or (s, q) → (M,) or (M, q)."""
        columns = controls.reshape(len(controls), -1)
        seen = sum(part.observe(own) for part, own in zip(self.parts, self.split(columns), strict=True))
        return self._decorrelated(np.asarray(seen)).reshape(-1, *controls.shape[1:])

    def adjoint(self, values: np.ndarray) -> np.ndarray:
        """Gᵀ Z: (M,) or (M, q) → (s,) or (s, q)."""
        columns = values.reshape(len(values), -1)
        if self.decorrelation is not None:
            columns = self.decorrelation.T @ columns
        return np.concatenate([part.adjoint(columns) for part in self.parts]).reshape(-1, *values.shape[1:])

    def split(self, controls: np.ndarray) -> list[np.ndarray]:
        """Each part's share of controls, (s, …)."""
        return np.split(controls, np.cumsum([part.n_control for part in self.parts])[:-1])

    def covariance(self) -> np.ndarray:
        """G Gᵀ, (M, M): the background's at the readings, in units of their errors."""
        m = self.n_readings
        summed = np.zeros((m, m))
        for part in self.parts:
            summed += (part.patterns @ part.patterns.T) * (part.columns @ part.columns.T)
        return self._decorrelated(self._decorrelated(summed).T)

    def information(self) -> np.ndarray:
        """GᵀG, (s, s), by blocks of readings where errors are independent."""
        summed = np.zeros((self.n_control, self.n_control))
        step = max(1, _BLOCK // max(1, self.n_control)) if self.decorrelation is None else self.n_readings
        for first in range(0, self.n_readings, step):
            rows = slice(first, first + step)
            block = self._decorrelated(np.concatenate([part.rows(rows) for part in self.parts], axis=1))
            summed += block.T @ block
        return summed

    def _decorrelated(self, columns: np.ndarray) -> np.ndarray:
        return columns if self.decorrelation is None else self.decorrelation @ columns


def observed_subspace(parts: Sequence[ObservedPart], error: ObservationError) -> ObservedSubspace:
    """G of parts in units of the readings' standard deviations, for errors that are correlated or not."""
    return ObservedSubspace(parts, error.whiten(np.diag(error.std_local)) if len(error.blocks) else None)


@dataclass(frozen=True)
class SubspaceCost:
    """J(w) = ½ wᵀw + ½ ‖d − G w‖², as `da.minimisation.minimise.QuadraticCost`; nothing collective.

    subspace : G
    innovation : (M,) d, in units of the readings' errors
    """

    subspace: ObservedSubspace
    innovation: np.ndarray

    linear = True

    @property
    def n_control(self) -> int:
        """s."""
        return self.subspace.n_control

    def background(self, control: np.ndarray) -> float:
        """J_b = ½ wᵀw."""
        return 0.5 * float(control @ control)

    def misfit(self, control: np.ndarray) -> np.ndarray:
        """d − G w, (M,)."""
        return self.innovation - self.subspace.observe(control)

    def value_and_gradient(self, control: np.ndarray) -> tuple[float, np.ndarray]:
        """J(w) and ∇J(w) = w − Gᵀ (d − G w)."""
        misfit = self.misfit(control)
        return self.background(control) + 0.5 * float(misfit @ misfit), control - self.subspace.adjoint(misfit)

    def hessian_product(self, direction: np.ndarray) -> np.ndarray:
        """(I + GᵀG) p, (s,)."""
        return direction + self.subspace.adjoint(self.subspace.observe(direction))


@dataclass(frozen=True)
class Spectrum:
    """Functions of GᵀG and G Gᵀ, from their common eigenvalues.

    values : (r,) λ, zero or above
    vectors : (r, r) of G Gᵀ where `of_readings`, otherwise of GᵀG
    of_readings : whether r is M; otherwise it is s
    """

    subspace: ObservedSubspace
    values: np.ndarray
    vectors: np.ndarray
    of_readings: bool

    @property
    def degrees_of_freedom(self) -> float:
        """For signal, tr G Gᵀ (I + G Gᵀ)⁻¹."""
        return float(np.sum(self.values / (1.0 + self.values)))

    def gain(self, function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
        """f(GᵀG) Gᵀ Z = Gᵀ f(G Gᵀ) Z: (M,) or (M, q) → (s,) or (s, q)."""
        factors = function(self.values).reshape(-1, *(1,) * (values.ndim - 1))
        if self.of_readings:
            return self.subspace.adjoint(self.vectors @ (factors * (self.vectors.T @ values)))
        return np.asarray(self.vectors @ (factors * (self.vectors.T @ self.subspace.adjoint(values))))


def spectrum(subspace: ObservedSubspace, comm: MPI.Comm) -> Spectrum:
    """Eigenpairs of the smaller of G Gᵀ and GᵀG, the same on every rank to the last bit. Collective."""
    of_readings, pairs = subspace.n_readings < subspace.n_control, None
    if comm.rank == 0:
        pairs = eigh(subspace.covariance() if of_readings else subspace.information())
    values, vectors = comm.bcast(pairs)
    return Spectrum(subspace, np.maximum(values, 0.0), vectors, of_readings)


def kalman(eigenvalues: np.ndarray) -> np.ndarray:
    """f of the Kalman gain, Gᵀ (I + G Gᵀ)⁻¹."""
    return 1.0 / (1.0 + eigenvalues)


def square_root(eigenvalues: np.ndarray) -> np.ndarray:
    """f of the gain that leaves anomalies with the analysis's covariance, (1 − (1 + λ)^{-1/2}) / λ.

    With D = I + G Gᵀ it is that of Whitaker & Hamill 2002 (eq. 10), Gᵀ D^{-1/2} (D^{1/2} + I)⁻¹.
    """
    # 1 − 1/√(1 + λ) = λ / (√(1 + λ) (1 + √(1 + λ))): without a difference of nearly equal numbers
    root = np.sqrt(1.0 + eigenvalues)
    return 1.0 / (root * (1.0 + root))
