"""Surfaces and sensors as a picture, drawn by a process of its own: without OpenGL VTK may crash."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coupling.simulation.launch import clean_environment, package_environment
from plugin.report.scene.surfaces import Surface

_LIMIT = 60.0  # s


def rendered(surfaces: Sequence[Surface], sensors: np.ndarray) -> tuple[bytes, str]:
    """A picture of surfaces and sensors on a transparent background.

    Parameters
    ----------
    surfaces : the ground first
    sensors : (k, 3) [m]

    Returns
    -------
    bytes of a PNG and ""; or no bytes, and why there is no picture
    """
    arrays: dict[str, np.ndarray] = {"sensors": sensors, "colours": np.array([surface.colour for surface in surfaces])}
    for k, surface in enumerate(surfaces):
        arrays |= {f"points{k}": surface.points, f"triangles{k}": surface.triangles}
    with tempfile.TemporaryDirectory() as folder:
        scene, picture = Path(folder) / "scene.npz", Path(folder) / "picture.png"
        np.savez(scene, **arrays)  # type: ignore[arg-type]  # numpy's stubs take a name of ours for allow_pickle
        words = [sys.executable, "-m", "plugin.report.scene.render", str(scene), str(picture)]
        try:
            environment = clean_environment(folder, package_environment())
            ended = subprocess.run(words, check=False, env=environment, capture_output=True, text=True, timeout=_LIMIT)
        except subprocess.TimeoutExpired:
            return b"", f"no picture within {_LIMIT:g} s"
        if ended.returncode == 0:
            return picture.read_bytes(), ""
    if ended.returncode < 0:
        return b"", f"VTK ended by {signal.Signals(-ended.returncode).name}"
    return b"", (ended.stderr.strip().splitlines() or ["VTK said nothing"])[-1]
