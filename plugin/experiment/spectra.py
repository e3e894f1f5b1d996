"""Energy spectra of fields on the grid along x: how much of the small scales an analysis has."""

from collections.abc import Sequence

import numpy as np


def lines_in_the_air(part: np.ndarray) -> tuple[slice, np.ndarray]:
    """Where along x there is air at all, and the lines of which all points there take part.

    Values that are the same in all states take no part, as at a boundary or upstream of a plume: planes at either end
    in which fewer than half as many values take part as in the fullest plane are left out.

    Parameters
    ----------
    part : (C, nx, ny, nz) bool, where a value takes part

    Returns
    -------
    slice of x, and (C, ny, nz) bool
    """
    counts = np.asarray(part).sum(axis=(0, 2, 3))
    there = np.flatnonzero((counts > 0) & (2 * counts >= counts.max()))
    along = slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0)
    return along, np.asarray(part)[:, along].all(axis=1) & bool(len(there))


def band_energies(fields: np.ndarray, lines: np.ndarray, spacing: float, shortest: Sequence[float]) -> np.ndarray:
    """Energy of fields in bands of wavelengths along x, summed over lines.

    Each line loses its mean and is tapered by a Hann window, since its ends do not meet.

    Parameters
    ----------
    fields : (k, C, nx, ny, nz)
    lines : (C, ny, nz) bool, those that count
    spacing : of neighbours along x [m]
    shortest : shortest wavelength of each band [m], falling; the first band has no longest, and what is shorter than
        the last belongs to none

    Returns
    -------
    (k, bands) in squares of the fields' units, of no further scale

    Raises
    ------
    ValueError
        if no line counts, wavelengths do not fall, or a band has no wavenumber on this grid
    """
    if not lines.any():
        raise ValueError("no line of the grid along x lies wholly in the air")
    if any(a <= b for a, b in zip(shortest, shortest[1:], strict=False)):
        raise ValueError(f"wavelengths {', '.join(f'{w:g}' for w in shortest)} m, expected falling ones")
    along = np.moveaxis(np.asarray(fields, np.float64), 2, -1)[:, lines]  # (k, lines, nx)
    count = along.shape[-1]
    tapered = (along - along.mean(axis=-1, keepdims=True)) * np.hanning(count)
    power = (np.abs(np.fft.rfft(tapered, axis=-1)) ** 2).sum(axis=1)[:, 1:]
    wavelength = 1.0 / np.fft.rfftfreq(count, spacing)[1:]
    longest, energies = np.inf, []
    for least in shortest:
        # a grid's shortest wavelength, two spacings, is rounded
        within = (wavelength >= least * (1.0 - 1e-9)) & (wavelength < longest)
        if not within.any():
            raise ValueError(f"no wave along x, of {count} points {spacing:g} m apart, is {least:g} m long or more")
        energies.append(power[:, within].sum(axis=1))
        longest = least * (1.0 - 1e-9)
    return np.stack(energies, axis=1)
