"""Localised background errors for many readings: modes modulated by the patterns of the taper.

:mod:`da.background.localisation` needs a column for each reading. Where readings are many, the taper itself is written
as T ≈ C Cᵀ with a few smooth patterns c_j, and

    B_loc = Σ_g f_g ∘ V_k V_kᵀ ∘ f_gᵀ + Σ_j c_j ∘ V_r V_rᵀ ∘ c_jᵀ,    U = [f_g ∘ V_k, c_j ∘ V_r]

has J columns for each mode that is tapered (Buehner 2005; Bishop & Hodyss 2009). With the factors between variables
taken in, c_j differs from variable to variable; f_g are those factors' patterns alone, one where nothing is tapered
between variables.

C comes from a lattice of anchors at half a length (Nyström's method): T between the values and the anchors, times the
inverse root of T at the anchors, without directions below a hundredth of the largest eigenvalue; rows are then divided
by their norms, so that variances stay as they are. C Cᵀ is a covariance whatever the lengths, within some 0.03 of T.

Where nothing falls with distance C is f, and U is exact. It is never formed. For n_local rows, s modes and J patterns,
on this rank:

    memory  8 n_local J bytes for C, and an s J × s J Hessian
    FLOPs   2 n_local s J for U w or Uᵀ δx
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from mpi4py import MPI

from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper
from da.background.spectrum import positive_eigenpairs
from da.observation.matrix_operator import MatrixOperator
from da.observation.operator import ObservationOperator

_SPACING = 0.5  # of the anchors, in lengths
_LEAST = 0.01  # of the largest eigenvalue of T at the anchors
_MOST_ANCHORS = 5000  # their matrix is dense
_BLOCK = 1 << 20  # values of a block of rows


@dataclass(frozen=True)
class ModulatedTransform:
    """U of a localised B, for linear H that is a matrix.

    inner : LinearTransform of the unlocalised B
    leading : (n_local, G) f, patterns of the k leading modes
    tapered : (n_local, J) c, patterns of the others
    untapered : k
    """

    inner: LinearTransform
    leading: np.ndarray
    tapered: np.ndarray
    untapered: int

    linear = True

    @property
    def comm(self) -> MPI.Comm:
        """Communicator of the rows."""
        return self.inner.comm

    @property
    def n_local(self) -> int:
        """Values of the state on this rank."""
        return self.inner.n_local

    @property
    def n_control(self) -> int:
        """k G + (s − k) J, length of a control: a mode's patterns follow one another."""
        return self._n_leading + (self.inner.n_control - self.untapered) * self.tapered.shape[1]

    @property
    def _n_leading(self) -> int:
        return self.untapered * self.leading.shape[1]

    @property
    def content(self) -> tuple[np.ndarray, ...]:
        """The numbers that determine U: this rank's arrays."""
        return (*self.inner.content, self.leading, self.tapered, np.array([self.untapered]))

    def apply(self, control: np.ndarray) -> np.ndarray:
        """U w: (n_control,) → (n_local,) in the state's units."""
        result = np.empty(self.n_local)
        for rows in self._blocks():
            values = self.inner.rows(rows)
            result[rows] = 0.0
            for modes, patterns, numbers in self._parts():
                weights = control[numbers].reshape(-1, patterns.shape[1])
                result[rows] += np.einsum("ij,ij->i", values[:, modes] @ weights, patterns[rows])
        return result

    def adjoint(self, increment: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """Uᵀ δx: (n_local,) → (n_control,), summed over the ranks; `at` is ignored. Collective."""
        control = np.zeros(self.n_control)
        for rows in self._blocks():
            values = self.inner.rows(rows)
            for modes, patterns, numbers in self._parts():
                control[numbers] += (values[:, modes].T @ (patterns[rows] * increment[rows, None])).ravel()
        self.comm.Allreduce(MPI.IN_PLACE, control)
        return control

    def tangent(self, direction: np.ndarray, at: np.ndarray | None = None) -> np.ndarray:
        """U p, like `apply`; `at` is ignored."""
        return self.apply(direction)

    def rows(self, chosen: Any) -> np.ndarray:
        """(k, n_control) float64 rows of U, in the state's units; `chosen` is a slice or numbers of this rank's."""
        values = self.inner.rows(chosen)
        products = [values[:, modes, None] * patterns[chosen][:, None, :] for modes, patterns, _ in self._parts()]
        # a rank may be asked for none of its rows
        return np.concatenate([part.reshape(len(values), part.shape[1] * part.shape[2]) for part in products], axis=1)

    def operator_product(self, operator: ObservationOperator) -> np.ndarray:
        """H U: (M_local, n_control), from the rows that H uses. Collective."""
        return _matrix(operator).observe_rows(self.rows, self.n_control)

    def operator_product_in_blocks(self, operator: ObservationOperator) -> Iterator[tuple[slice, np.ndarray]]:
        """H U by blocks of H's rows: slices of this rank's rows and their (k, n_control). Collective."""
        return _matrix(operator).observe_rows_in_blocks(self.rows, self.n_control)

    def _parts(self) -> tuple[tuple[slice, np.ndarray, slice], ...]:
        """Modes, their patterns, and their numbers in a control: of the leading modes, and of the others."""
        k, n = self.untapered, self._n_leading
        return (
            (slice(0, k), self.leading, slice(0, n)),
            (slice(k, None), self.tapered, slice(n, None)),
        )

    def _blocks(self) -> Iterator[slice]:
        step = max(1, _BLOCK // max(1, self.inner.n_control))
        return (slice(first, first + step) for first in range(0, self.n_local, step))


def _matrix(operator: ObservationOperator) -> MatrixOperator:
    if not isinstance(operator, MatrixOperator):
        raise ValueError(f"{type(operator).__name__} has no matrix; linearise the operator first")
    return operator


def modulated_transform(inner: LinearTransform, taper: Taper) -> ModulatedTransform:
    """U of the localised B, whatever is observed. Collective.

    Parameters
    ----------
    inner : LinearTransform of the unlocalised B; its modes in order of falling variance where `taper.untapered` is set
    taper : Taper of the values of an increment

    Raises
    ------
    ValueError
        on every rank, if taper and modes do not fit, more leading modes are asked for than there are, or lengths are
        so short that the lattice of anchors is too large
    """
    taper.refuse_other_modes(inner)
    leading = _between_variables(taper)[taper.variable]
    tapered = taper_patterns(taper, inner.comm).at(taper) if taper.falls_with_distance else leading
    return ModulatedTransform(inner, leading, tapered, taper.untapered)


@dataclass(frozen=True)
class TaperPatterns:
    """Smooth patterns c_j with C Cᵀ ≈ T ∘ (factors between variables), at any place of the domain.

    anchors : Taper of every variable at each point of a lattice over the domain, the same on every rank; None where
        nothing falls with distance
    projection : (anchors, J) from factors with the anchors to patterns; without anchors (variables, J), the patterns
        themselves
    """

    anchors: Taper | None
    projection: np.ndarray

    @property
    def n_patterns(self) -> int:
        """J."""
        return self.projection.shape[1]

    def at(self, taper: Taper) -> np.ndarray:
        """(k, J) patterns at a Taper's k values, each row of norm one, so that variances stay; nothing collective.

        ValueError if a value lies so far outside the domain that no anchor is near
        """
        if self.anchors is None:
            return self.projection[taper.variable]
        patterns = np.empty((len(taper.variable), self.n_patterns))
        step = max(1, _BLOCK // len(self.anchors.variable))
        for first in range(0, len(patterns), step):
            rows = slice(first, first + step)
            between, distance = taper.rows(rows).factors(self.anchors)
            patterns[rows] = (between * distance) @ self.projection
        norm = np.linalg.norm(patterns, axis=1)
        if len(far := np.flatnonzero(norm == 0.0)):
            place = ", ".join(f"{x:g}" for x in taper.position[far[0]])
            raise ValueError(f"({place}) m lies outside the domain whose covariances are tapered")
        return patterns / norm[:, None]


def taper_patterns(taper: Taper, comm: MPI.Comm) -> TaperPatterns:
    """The patterns of a taper; its leading modes do not count. Collective.

    Raises
    ------
    ValueError
        on every rank, if lengths are so short that the lattice of anchors is too large
    """
    if not taper.falls_with_distance:
        return TaperPatterns(None, _between_variables(taper))
    anchors = _anchors(taper, comm)
    between, distance = anchors.factors(anchors)
    values, vectors = positive_eigenpairs(between * distance)
    kept = values > _LEAST * values.max()
    return TaperPatterns(anchors, comm.bcast(vectors[:, kept] / np.sqrt(values[kept]) if comm.rank == 0 else None))


def _between_variables(taper: Taper) -> np.ndarray:
    """(variables, G) F with F Fᵀ the factors between variables alone."""
    between, vectors = np.linalg.eigh(np.asarray(taper.between, np.float64))
    kept = between > 1e-12 * between[-1]
    return np.asarray(vectors[:, kept] * np.sqrt(between[kept]))


def _anchors(taper: Taper, comm: MPI.Comm) -> Taper:
    """The Taper of every variable at each point of a lattice over the domain, the same on every rank. Collective."""
    low, high = np.full(3, np.inf), np.full(3, -np.inf)
    if len(taper.position):
        low, high = taper.position.min(axis=0), taper.position.max(axis=0)
    comm.Allreduce(MPI.IN_PLACE, low, MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, high, MPI.MAX)
    shortest = [min(taper.horizontal), min(taper.horizontal), min(taper.vertical)]
    counts = [int(np.ceil((b - a) / (_SPACING * length))) + 1 for a, b, length in zip(low, high, shortest, strict=True)]
    n_variables = len(taper.horizontal)
    if (n := int(np.prod(counts)) * n_variables) > _MOST_ANCHORS:
        raise ValueError(
            f"lengths of {shortest[0]:g} and {shortest[2]:g} m need a lattice of {n} points over the domain to taper "
            f"the covariances of so many readings, expected at most {_MOST_ANCHORS}; use longer lengths, or fewer "
            "readings (thinning, superobservations)"
        )
    axes = [
        np.linspace(a, b, count) if count > 1 else np.array([0.5 * (a + b)])
        for a, b, count in zip(low, high, counts, strict=True)
    ]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    position = np.repeat(lattice, n_variables, axis=0)
    variable = np.tile(np.arange(n_variables), len(lattice))
    return Taper(position, variable, taper.horizontal, taper.vertical, taper.between)
