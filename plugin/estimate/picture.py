"""The posterior of parameters as a picture: marginals with the prior's, and a map of a place."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from coupling.common.files import whole_file
from coupling.geometry.grid import Grid
from coupling.geometry.points import MeshPoints
from da.ensemble.prior import Prior, values
from plugin.ensemble.parameters import Parameters

_PRIOR, _POSTERIOR = "0.6", "C0"
_FAR = 3.5  # standard deviations that a marginal shows
_LEVELS = (0.5, 0.95)  # parts of the posterior within the lines of a map
_ACROSS = 3  # panels in a row


def draw(
    path: Path,
    parameters: Parameters,
    prior: np.ndarray,
    posterior: np.ndarray,
    place: tuple[str, str] | None,
    sensors: np.ndarray,
    grid: Grid | MeshPoints,
) -> None:
    """Write the picture, a PNG. Not collective.

    Parameters
    ----------
    path : Path
    parameters : Parameters, P rows
    prior, posterior : (P, N) unbounded, of the members
    place : two parameters that are x and y, for a map
    sensors : (k, 3) places [m]
    grid : whose points outside the air are shaded in the map
    """
    labels = parameters.labels
    panels = len(labels) + (place is not None)
    rows = -(-panels // _ACROSS)
    figure, axes = plt.subplots(
        rows,
        min(_ACROSS, panels),
        figsize=(4.0 * min(_ACROSS, panels), 3.2 * rows),
        layout="constrained",
        squeeze=False,
    )
    every = axes.ravel()
    for axis, label, of, before, after in zip(every, labels, parameters.priors, prior, posterior, strict=False):
        _marginal(axis, label, of, before, after)
    if place is not None:
        _map(every[len(labels)], parameters, prior, posterior, place, sensors, grid)
    for axis in every[panels:]:
        axis.set_visible(False)
    every[0].legend(fontsize="small")
    with whole_file(path) as beside:
        figure.savefig(beside, dpi=150, format="png")
    plt.close(figure)


def density(prior: Prior, mean: float, std: float, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """(x, density of x) where z is normal with this mean and standard deviation, and x = prior.value(z).

    std : above zero
    """
    z = mean + std * np.linspace(-_FAR, _FAR, n)
    x = prior.value(z)
    slope = np.gradient(x, z)
    of_z = np.exp(-0.5 * ((z - mean) / std) ** 2) / (std * np.sqrt(2.0 * np.pi))
    shown = slope > 0.0  # a uniform's ends are flat within rounding
    return x[shown], of_z[shown] / slope[shown]


def _marginal(axis: Any, label: str, prior: Prior, before: np.ndarray, after: np.ndarray) -> None:
    axis.fill_between(*density(prior, 0.0, 1.0), color=_PRIOR, alpha=0.4, linewidth=0.0, label="prior")
    spread = float(np.std(after, ddof=1))
    if spread > 0.0:
        axis.plot(*density(prior, float(after.mean()), spread), color=_POSTERIOR, label="posterior")
    axis.plot(prior.value(after), np.zeros(len(after)), "|", color=_POSTERIOR, markersize=12.0)
    axis.plot(prior.value(before), np.zeros(len(before)), "|", color=_PRIOR, markersize=7.0)
    axis.set(xlabel=label, yticks=[], ylim=(0.0, None))


def _map(
    axis: Any,
    parameters: Parameters,
    prior: np.ndarray,
    posterior: np.ndarray,
    place: tuple[str, str],
    sensors: np.ndarray,
    grid: Grid | MeshPoints,
) -> None:
    of = [parameters.labels.index(name) for name in place]
    priors = [parameters.priors[k] for k in of]
    if isinstance(grid, Grid):
        _buildings(axis, grid, sensors)
    axis.plot(*values(priors, prior[of]), ".", color=_PRIOR, markersize=4.0)
    axis.plot(*values(priors, posterior[of]), ".", color=_POSTERIOR, markersize=4.0)
    around = np.linspace(0.0, 2.0 * np.pi, 200)
    circle = np.stack([np.cos(around), np.sin(around)])
    left, scale, _ = np.linalg.svd(np.cov(posterior[of]))
    for level in _LEVELS:
        size = np.sqrt(-2.0 * np.log(1.0 - level))
        line = posterior[of].mean(axis=1, keepdims=True) + size * (left * np.sqrt(scale)) @ circle
        axis.plot(*values(priors, line), color=_POSTERIOR, linewidth=1.0)
    axis.plot(sensors[:, 0], sensors[:, 1], "^", color="C3", markersize=4.0)
    title = f"{' and '.join(f'{100 * level:.0f} %' for level in _LEVELS)} lie within the lines"
    axis.set(xlabel=f"{place[0]} [m]", ylabel=f"{place[1]} [m]", aspect="equal", title=title)
    axis.title.set_size("small")


def _buildings(axis: Any, grid: Grid, sensors: np.ndarray) -> None:
    """Shade what is no air at the sensors' height."""
    heights = grid.origin[2] + grid.spacing[2] * np.arange(grid.shape[2])
    level = int(np.argmin(np.abs(heights - np.median(sensors[:, 2]))))
    (x, y), (dx, dy) = grid.origin[:2], grid.spacing[:2]
    nx, ny = grid.shape[:2]
    box = (x - dx / 2, x + (nx - 0.5) * dx, y - dy / 2, y + (ny - 0.5) * dy)
    solid = ~grid.fluid.reshape(grid.shape)[:, :, level]
    axis.imshow(np.where(solid, 1.0, np.nan).T, origin="lower", extent=box, cmap="Greys", vmin=0.0, vmax=2.0)
