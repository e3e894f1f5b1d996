"""Leading modes of a covariance that falls with distance, beside a part of that of the whole grid.

With windows w_j whose squares sum to one at each point, states X and a weight α of the whole,

    B = α² X Xᵀ + Σ_j (w_j ∘ X) (w_j ∘ X)ᵀ

is α² + 1 times the sample's covariance at a point, and falls to α² of it between places that no window holds both. A
mode may be as large as the grid where the states ask for that, or of one neighbourhood: S states span few patterns of
the whole, but each neighbourhood has seen far more. The modes are the leading eigenvectors of B, orthonormal, so that
Vᵀ x is the code of the least error for states of this covariance.

B is a product of factors of low rank: each window's components, those of small variance left out. With N of them in all

    memory  4 n N bytes for the whole grid's and some windows' factors, 16 N² for their products
    FLOPs   2 n S² and 10 S³ for each window, 2 n N² at most for the products, 4 N³ for the eigenvectors

Houtekamer & Mitchell 2001, A sequential ensemble Kalman filter for atmospheric data assimilation,
    https://doi.org/10.1175/1520-0493(2001)129<0123:ASEKFF>2.0.CO;2
Hamill & Snyder 2000, A hybrid ensemble Kalman filter-3D variational analysis scheme,
    https://doi.org/10.1175/1520-0493(2000)128<2905:AHEKFV>2.0.CO;2
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy.linalg import eigh

from models.layers.local_modes import Box, common_box

_SMALL = 0.01  # of the n_modes-th largest variance of all windows: components below it are left out


@dataclass(frozen=True)
class Windows:
    """How the covariance falls.

    points : a window's half width along x, y, z, and the distance of their centres; None for one window along an axis
    whole : α, weight of the whole grid's covariance; zero for none
    """

    points: tuple[float | None, float | None, float | None]
    whole: float = 0.0

    def __post_init__(self) -> None:
        if any(of is not None and of < 1 for of in self.points) or self.whole < 0.0:
            raise ValueError(f"windows of {self.points} points, whole {self.whole}; expected 1 or more, and 0 or more")


def windowed_modes(values: np.ndarray, n_modes: int, windows: Windows, small: float = _SMALL) -> np.ndarray:
    """Modes from standardised states.

    Parameters
    ----------
    values : (S, C, nx, ny, nz) float32
    n_modes : number of modes
    windows : Windows
    small : components of less than this part of the n_modes-th largest variance are left out; zero for none

    Returns
    -------
    (C·nx·ny·nz, n_modes) float32, orthonormal, that of the largest variance first

    Raises
    ------
    ValueError
        if the covariance has fewer modes
    """
    channels, shape = values.shape[1], values.shape[2:]
    parts = [_components(values, box, weight) for box, weight in _weights(shape, windows)]
    every = np.sort(np.concatenate([variances for variances, _, _ in parts]))[::-1]
    least = small * every[min(n_modes, len(every)) - 1]
    factors = [(box, np.ascontiguousarray(of[..., own >= least])) for own, box, of in parts]
    factors = [(box, of) for box, of in factors if of.shape[-1]]
    starts = np.cumsum([0, *(of.shape[-1] for _, of in factors)])
    n = int(starts[-1])
    if n < n_modes:
        raise ValueError(f"{n_modes} modes, but {len(values)} states have {n} components in windows; expected fewer")
    gram = np.zeros((n, n))
    for a, b in product(range(len(factors)), repeat=2):
        common = common_box(factors[a][0], factors[b][0])
        if a <= b and common is not None:
            of_a, of_b = (_within(*factors[k], common) for k in (a, b))
            gram[starts[b] : starts[b + 1], starts[a] : starts[a + 1]] = of_b.T @ of_a
    variances, right = eigh(gram, subset_by_index=(n - n_modes, n - 1), overwrite_a=True)  # the lower triangle
    if variances[0] <= 1e-7 * variances[-1]:  # of single-precision products
        raise ValueError(f"{n_modes} modes, but {len(values)} states have fewer in windows; expected fewer")
    right = (right[:, ::-1] / np.sqrt(variances[::-1])).astype(np.float32)
    modes = np.zeros((channels, *shape, n_modes), np.float32)
    for (box, of), first, end in zip(factors, starts[:-1], starts[1:], strict=True):
        modes[(slice(None), *box)] += of @ right[first:end]
    return modes.reshape(-1, n_modes)


def _weights(shape: Sequence[int], windows: Windows) -> list[tuple[Box, np.ndarray]]:
    """The windows' boxes and weights, that of the whole first."""
    x, y, z = (_along(n, half) for n, half in zip(shape, windows.points, strict=True))
    made = [
        ((i, j, k), a[:, None, None] * b[:, None] * c)
        for (i, a), (j, b), (k, c) in product(x, y, z)
    ]  # fmt: skip
    if windows.whole:
        nx, ny, nz = shape
        made.insert(0, ((slice(0, nx), slice(0, ny), slice(0, nz)), np.full((nx, ny, nz), windows.whole)))
    return made


def _along(n: int, half: float | None) -> list[tuple[slice, np.ndarray]]:
    """Windows along one axis: halves of a cosine's wave, whose squares sum to one."""
    if half is None or half >= n:
        return [(slice(0, n), np.ones(n))]
    made = []
    number = np.arange(n)
    for centre in np.arange(-half, n + half, half):
        within = np.flatnonzero(np.abs(number - centre) < half)
        if len(within):
            made.append((slice(int(within[0]), int(within[-1]) + 1), np.cos(0.5 * np.pi * (within - centre) / half)))
    return made


def _components(values: np.ndarray, box: Box, weight: np.ndarray) -> tuple[np.ndarray, Box, np.ndarray]:
    """(k,) variances, the box, and (C, box, k) components times their deviations, of weighted states."""
    weighted = values[(slice(None), slice(None), *box)] * weight.astype(np.float32)
    rows = weighted.reshape(len(values), -1)
    variances, right = eigh((rows @ rows.T).astype(np.float64))
    sound = variances > 1e-7 * max(variances[-1], 1e-30)
    right = right[:, sound].astype(np.float32)
    return variances[sound], box, (rows.T @ right).reshape(*weighted.shape[1:], -1)


def _within(box: Box, factor: np.ndarray, common: Box) -> np.ndarray:
    """(C·points, k) rows of a factor at the points of a box in its own."""
    local = [slice(of.start - own.start, of.stop - own.start) for of, own in zip(common, box, strict=True)]
    return factor[(slice(None), *local)].reshape(-1, factor.shape[-1])
