"""Localised background errors: what a sample of states says about distant places is mostly noise, and is tapered away.

Of B = V Vᵀ, from S states, the covariances of the leading modes V_k stay as they are, because they are patterns of the
whole domain; those of the rest V_r are multiplied by a taper T that falls with distance (Houtekamer & Mitchell 2001;
Hamill, Whitaker & Snyder 2001), and all of them by a factor C for each pair of variables:

    B_loc = C ∘ (V_k V_kᵀ + T ∘ V_r V_rᵀ)

T is Gaspari & Cohn's function (1999, eq. 4.10) of √(δ_h²/L_h² + δ_z²/L_z²) with δ_h, δ_z the distances across and along
the vertical; it is zero from two lengths on. Where all variables have the same lengths, Schur's theorem makes B_loc a
covariance; lengths of their own make it nearly one, and directions of negative variance are left out.

B_loc has no square root with a few columns, but an analysis needs only what its readings see of it. With

    D⁻¹ H B_loc Hᵀ D⁻¹ = E Λ Eᵀ,    U = B_loc Hᵀ D⁻¹ E Λ^{-1/2}

with D the standard deviations at the readings, H U Uᵀ Hᵀ and U Uᵀ Hᵀ equal those of B_loc, so that the analysis, the
Hessian and the influence of each reading are those of B_loc to rounding (the representers of Bennett 1992, made
orthonormal). U has a column for each independent reading and is made once while the sensors stay.

For M readings that use P values of the state, n_local rows and s modes on this rank:

    memory  8 n_local M bytes for U, 8 P (s + M) bytes for what H uses of V, the same on every rank
    FLOPs   2 n_local P s for the covariances, some 20 n_local P for the taper, 2 n_local M² for U
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from mpi4py import MPI
from scipy.sparse import csr_matrix

from coupling.common.collective import refuse_together
from da.background.linear_transform import LinearTransform
from da.background.modes import Modes
from da.background.spectrum import positive_eigenpairs
from da.observation.correlation import gaspari_cohn
from da.observation.matrix_operator import MatrixOperator

_BLOCK = 1 << 20  # covariances computed at once
_STEPS = 1 << 15  # of the table of T; between them T is linear, to within some 1e-7 of it for lengths as 1 to 10

Places = tuple[np.ndarray, np.ndarray]  # (n, 3) positions [m], (n,) numbers of variables


@dataclass(frozen=True)
class Ladder:
    """Several lengths at once, each with a weight: what is kept of covariances where no one length is known.

    For variables a and b,

        T_ab(r) = Σ_k √(w_ka w_kb) G(r / L_k),    r² = δ_h² + (δ_z / aspect)²

    with Gaspari & Cohn's function G, which is one for an infinite length. It is a covariance whatever the weights: each
    addend is G's times one of rank one. Weights of a variable sum to one at most; what is missing to one is the part of
    the variance that is left out of increments.

    lengths : (K,) across the vertical [m], np.inf for covariances as they are
    aspect : length along the vertical over that across
    weights : (K, v) of each variable, not negative, their sum at most one

    ValueError if an array does not fit the others or holds what cannot be
    """

    lengths: np.ndarray
    aspect: float
    weights: np.ndarray

    def __post_init__(self) -> None:
        if np.ndim(self.weights) != 2 or len(self.weights) != len(self.lengths):
            raise ValueError(
                f"weights of shape {np.shape(self.weights)}, expected a row for {len(self.lengths)} lengths"
            )
        if not (np.all(np.asarray(self.lengths) > 0.0) and self.aspect > 0.0):
            raise ValueError("a localisation length is not positive")
        if np.any(self.weights < 0.0) or np.any(self.weights.sum(axis=0) > 1.0 + 1e-9):
            raise ValueError("weights of lengths are negative, or their sum is above one")

    @property
    def reach(self) -> float:
        """Distance [m] from which only covariances without a length are left."""
        finite = self.lengths[np.isfinite(self.lengths)]
        return 2.0 * float(finite.max()) if len(finite) else 1.0

    @cached_property
    def _tables(self) -> dict[bytes, np.ndarray]:
        return {}

    def _pair(self, a: int, b: int) -> np.ndarray:
        return np.sqrt(self.weights[:, a] * self.weights[:, b])

    def _table(self, a: int, b: int) -> np.ndarray:
        """T_ab at _STEPS + 1 distances up to the reach, and once more beyond."""
        weights = self._pair(a, b)
        key = weights.tobytes()
        if key not in self._tables:
            at = np.linspace(0.0, self.reach, _STEPS + 1)
            values = sum(w * gaspari_cohn(at / length) for w, length in zip(weights, self.lengths, strict=True))
            self._tables[key] = np.append(values, values[-1:])
        return self._tables[key]

    def of_distance(self, a: int, b: int, distance: np.ndarray) -> np.ndarray:
        """T_ab at distances [m]."""
        table, place = self._table(a, b), np.minimum(distance * (_STEPS / self.reach), float(_STEPS))
        below = place.astype(np.int32)
        lower = table[below]
        return lower + (place - below) * (table[below + 1] - lower)

    def factors(self, here: Places, there: Places, between: np.ndarray) -> np.ndarray:
        """T of each pair of values, (n, n_other); zero where the factor `between` their variables, (v, v), is zero."""
        result = np.zeros((len(here[1]), len(there[1])))
        for a in np.unique(here[1]):
            rows = np.flatnonzero(here[1] == a)
            for b in np.unique(there[1]):
                if between[a, b] == 0.0:
                    continue
                columns = np.flatnonzero(there[1] == b)
                distance = self.distances(here[0][rows], there[0][columns])
                result[np.ix_(rows, columns)] = self.of_distance(a, b, distance)
        return result

    def distances(self, one: np.ndarray, other: np.ndarray) -> np.ndarray:
        """(n, n_other) r of places [m]."""
        squared = (one[:, None, 2] - other[None, :, 2]) ** 2 / self.aspect**2
        for axis in (0, 1):
            squared += (one[:, None, axis] - other[None, :, axis]) ** 2
        return np.sqrt(squared, out=squared)

    def half_distance(self, variable: int) -> float:
        """Distance [m] across the vertical where T of a variable is half of what it is at none; np.inf if nowhere."""
        table = self._table(variable, variable)
        below = np.flatnonzero(table < 0.5 * table[0])
        return float(below[0] * self.reach / _STEPS) if len(below) else np.inf


@dataclass(frozen=True)
class Taper:
    """Which covariances are kept, and how much of them.

    position : (n_local, 3) place of each of this rank's values [m]
    variable : (n_local,) number of each value's variable, 0 … v − 1
    horizontal, vertical : (v,) lengths of each variable [m]; np.inf for no taper. Between two variables the root of
        the squares' mean counts, and covariances fall by the overlap of Gaussians of both lengths
    between : (v, v) symmetric factor of covariances of two variables, in [0, 1], one on the diagonal
    untapered : k, leading modes whose covariances are not tapered by distance
    ladder : Ladder whose weighted lengths count in place of `horizontal` and `vertical`, which are np.inf then; or None

    ValueError if an array does not fit the others or holds what cannot be.
    """

    position: np.ndarray
    variable: np.ndarray
    horizontal: np.ndarray
    vertical: np.ndarray
    between: np.ndarray
    untapered: int = 0
    ladder: Ladder | None = None

    def __post_init__(self) -> None:
        n, v = len(self.variable), len(self.horizontal)
        if np.shape(self.position) != (n, 3):
            raise ValueError(f"positions of shape {np.shape(self.position)}, expected ({n}, 3)")
        if np.shape(self.vertical) != (v,) or np.shape(self.between) != (v, v):
            raise ValueError(f"lengths and factors do not fit {v} variables")
        if not (np.all(np.asarray(self.horizontal) > 0.0) and np.all(np.asarray(self.vertical) > 0.0)):
            raise ValueError("a localisation length is not positive")
        if self.untapered < 0:
            raise ValueError(f"{self.untapered} leading modes, expected none or more")
        if self.ladder is not None and np.shape(self.ladder.weights)[1] != v:
            raise ValueError(f"weights of lengths for {np.shape(self.ladder.weights)[1]} variables, expected {v}")
        check_between(self.between)

    @property
    def falls_with_distance(self) -> bool:
        """Whether there is a length; if not, `between` alone makes covariances smaller."""
        given = np.isfinite(self.horizontal).any() or np.isfinite(self.vertical).any()
        return self.ladder is not None or bool(given)

    def factors(self, other: "Taper") -> tuple[np.ndarray, np.ndarray]:
        """C and T of this rank's values with those of another Taper: (n, n_other) each, to be read only."""
        if self.ladder is not None:
            here, there = (self.position, self.variable), (other.position, other.variable)
            return self._of_pairs(self.between, other), self.ladder.factors(here, there, self.between)
        squared = np.zeros((len(self.variable), len(other.variable)))
        overlap: Any = 1.0
        for axes, length in (((0, 1), self.horizontal), ((2,), self.vertical)):
            table, joint = _joint_lengths(length, len(axes))
            if np.all(np.isinf(table)):
                continue
            apart = sum((self.position[:, None, axis] - other.position[None, :, axis]) ** 2 for axis in axes)
            squared += apart / self._of_pairs(table**2, other)
            overlap = overlap * self._of_pairs(joint, other)
        return self._of_pairs(self.between, other), overlap * gaspari_cohn(np.sqrt(squared))

    def _of_pairs(self, table: np.ndarray, other: "Taper") -> np.ndarray:
        """A (v, v) table's entry for each pair of values, (n, n_other); a view of one number where all are the same."""
        table = np.asarray(table, dtype=np.float64)
        if np.all(table == table.flat[:1]):
            return np.broadcast_to(table.flat[:1], (len(self.variable), len(other.variable)))
        return table[self.variable[:, None], other.variable[None, :]]

    def rows(self, chosen: Any) -> "Taper":
        """The Taper of some of the values: a slice or numbers of rows."""
        return replace(self, position=self.position[chosen], variable=self.variable[chosen])

    def gathered(self, chosen: np.ndarray, comm: MPI.Comm) -> "Taper":
        """The Taper of each rank's chosen values, in the order of the ranks, the same on every rank. Collective."""
        parts = comm.allgather((self.position[chosen], self.variable[chosen]))
        position, variable = (np.concatenate(part) for part in zip(*parts, strict=True))
        return replace(self, position=position, variable=variable)

    def refuse_other_modes(self, inner: LinearTransform) -> None:
        """ValueError on every rank if the modes of a transform do not fit. Collective."""
        problem = None
        if len(self.variable) != inner.n_local:
            problem = f"taper of {len(self.variable)} values, expected {inner.n_local} like the modes' rows"
        elif self.untapered > inner.n_control:
            problem = f"{self.untapered} leading modes without taper, but there are {inner.n_control} modes"
        refuse_together(problem, inner.comm)


def check_between(between: np.ndarray) -> None:
    """ValueError unless factors between variables are symmetric, in [0, 1], one on the diagonal, and a covariance."""
    between = np.asarray(between, dtype=np.float64)
    if not np.array_equal(between, between.T) or np.any(between < 0.0) or np.any(np.diag(between) != 1.0):
        raise ValueError("factors between variables are not symmetric, not in [0, 1], or not one on the diagonal")
    if len(between) and np.linalg.eigvalsh(between)[0] < -1e-10:
        raise ValueError(
            "no covariance has these factors between variables: what each of two variables shares with a third, they "
            "share with each other; give that pair a factor as well"
        )


def _joint_lengths(length: np.ndarray, dimensions: int) -> tuple[np.ndarray, np.ndarray]:
    """(v, v) lengths of pairs, and the overlap of Gaussians of both in that many dimensions."""
    a, b = np.asarray(length, float)[:, None], np.asarray(length, float)[None, :]
    with np.errstate(invalid="ignore"):
        joint = np.sqrt(0.5 * (a**2 + b**2))
        overlap = (a * b / joint**2) ** (0.5 * dimensions)
    # both infinite: one; one of them infinite: nothing that falls off shares anything with what does not
    both = np.isinf(a) & np.isinf(b)
    return joint, np.where(both, 1.0, np.where(np.isinf(joint), 0.0, overlap))


def localised_transform(inner: LinearTransform, taper: Taper, operator: MatrixOperator) -> LinearTransform:
    """U whose analyses of these readings are those of B_loc. Collective.

    Parameters
    ----------
    inner : LinearTransform of the unlocalised B; its modes in order of falling variance where `taper.untapered` is set
    taper : Taper of the values of an increment
    operator : MatrixOperator, H of the readings; of wind speeds, the components'

    Returns
    -------
    LinearTransform, a column for each independent reading. Its own U Uᵀ lacks the variance that no reading sees

    Raises
    ------
    ValueError
        on every rank, if taper and modes do not fit, or more leading modes are asked for than there are
    """
    comm, n_local = inner.comm, inner.n_local
    taper.refuse_other_modes(inner)
    columns, weights = observed_columns(operator, comm)
    values, observed = _observed_rows(inner, taper, operator, columns, comm)
    reduced = _covariance(values, observed, values, observed) @ weights.T
    root = comm.bcast(representer_root(weights @ reduced) if comm.rank == 0 else None)
    projection = np.asarray(weights.T @ root)  # (P, columns of U)
    vectors = np.empty((n_local, root.shape[1]))
    step = max(1, _BLOCK // max(1, len(columns)))
    for first in range(0, n_local, step):
        rows = slice(first, min(first + step, n_local))
        vectors[rows] = _covariance(inner.rows(rows), taper.rows(rows), values, observed) @ projection
    modes = Modes(vectors, None, np.zeros(n_local), inner.modes.n_samples, "localised")
    return LinearTransform(modes, None, comm)


def _covariance(values: np.ndarray, taper: Taper, others: np.ndarray, other_taper: Taper) -> np.ndarray:
    """B_loc between two sets of values, from their rows of V: (n, s), (P, s) → (n, P)."""
    k = taper.untapered
    between, distance = taper.factors(other_taper)
    covariance = distance * (values[:, k:] @ others[:, k:].T)
    if k:
        covariance += values[:, :k] @ others[:, :k].T
    return between * covariance


def representer_root(observed: np.ndarray) -> np.ndarray:
    """Z with Z Zᵀ the inverse of H B Hᵀ, (M, M), without directions of no variance: (M, m).

    Readings are in units of their own standard deviations meanwhile, so that rounding in those of large numbers does
    not reach those of small ones.
    """
    spread = np.sqrt(np.maximum(np.diag(observed), 0.0))
    unit = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0.0)
    eigenvalues, vectors = positive_eigenpairs(0.5 * unit[:, None] * (observed + observed.T) * unit)
    return unit[:, None] * vectors / np.sqrt(eigenvalues)


def observed_columns(operator: MatrixOperator, comm: MPI.Comm) -> tuple[np.ndarray, csr_matrix]:
    """Numbers of the values that H uses, rising, (P,), and H in terms of them, (M, P); the same on every rank."""
    start, column, weight = operator.matrix.getValuesCSR()
    parts = comm.allgather((np.diff(start), column, weight))
    counts, column, weight = (np.concatenate(part) for part in zip(*parts, strict=True))
    columns, position = np.unique(column, return_inverse=True)
    start = np.concatenate([[0], np.cumsum(counts)])
    return columns, csr_matrix((weight, position, start), (len(counts), len(columns)))


def _observed_rows(
    inner: LinearTransform, taper: Taper, operator: MatrixOperator, columns: np.ndarray, comm: MPI.Comm
) -> tuple[np.ndarray, Taper]:
    """Rows of scale · V and the Taper of the values that H uses, on every rank: each has its own, in their order."""
    first, end = operator.matrix.getOwnershipRangeColumn()
    mine = columns[(columns >= first) & (columns < end)] - first
    return np.concatenate(comm.allgather(inner.rows(mine))), taper.gathered(mine, comm)
