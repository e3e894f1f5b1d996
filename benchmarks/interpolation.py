"""P and Q against vtkProbeFilter, mesh to grid and back, in one run.

    python -m benchmarks.interpolation [MESH.msh | DUMP.vtu] [--shape 91 85 32] [--json FILE]

vtkProbeFilter searches again for every snapshot; P and Q are built once for a mesh and then applied.
One scalar field, one thread. The limit of applying P is reading its entries once: 12 bytes each
(8 of weight, 4 of column) plus the vectors; the last lines compare with it by a copy of as many bytes
in the same run (which stays in the caches; rows of four entries do not keep a core busy).
"""

import argparse
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonDataModel import vtkDataSet, vtkImageData
from vtkmodules.vtkFiltersCore import vtkProbeFilter

from coupling.fluidity.msh import read_msh
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points, interpolation, multiply
from coupling.geometry.mesh import Mesh, join_pieces
from coupling.vtk.vtu import as_grid, read_state

COMM = MPI.COMM_SELF


def timed(function: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Median wall-clock time of a call [s] and its last result."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        result = function()
        times.append(time.perf_counter() - began)
    return float(np.median(times)), result


def load(path: Path) -> Mesh:
    """The mesh of a .msh file or a dump."""
    if path.suffix == ".msh":
        read = read_msh(path)
        return join_pieces([(0, read.points, read.cells, np.zeros(len(read.cells), bool))], 1, COMM)
    return next(iter(read_state(path, COMM, time=0.0).fields.values())).mesh


def probe(source: vtkDataSet, values: np.ndarray, targets: vtkDataSet) -> np.ndarray:
    """One snapshot by vtkProbeFilter."""
    array = numpy_to_vtk(values, deep=False)
    array.SetName("value")
    source.GetPointData().AddArray(array)
    filter_ = vtkProbeFilter()
    filter_.SetInputData(targets)
    filter_.SetSourceData(source)
    filter_.Update()
    return np.asarray(filter_.GetOutput().GetPointData().GetArray("value")).copy()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("mesh", nargs="?", type=Path, default=Path("examples/street/street.msh"))
    parser.add_argument("--shape", nargs=3, type=int, default=(91, 85, 32))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    mesh = load(arguments.mesh)
    grid = make_grid(mesh.bounds(COMM), shape=tuple(arguments.shape))
    locate, inside = timed(lambda: fluid_points(grid, mesh, COMM), 3)
    grid = grid.with_fluid(inside)
    build, both = timed(lambda: interpolation(mesh, "point", grid, COMM), 3)
    values = np.random.default_rng(0).standard_normal(mesh.n_nodes)
    apply_p, on_grid = timed(lambda: multiply(both.to_grid, values), 51)
    apply_q, _ = timed(lambda: multiply(both.to_mesh, on_grid), 51)

    image = vtkImageData()
    image.SetDimensions(*grid.shape)
    image.SetOrigin(*grid.origin)
    image.SetSpacing(*grid.spacing)
    source = as_grid(mesh.points, mesh.cells)
    probe_p, probed = timed(lambda: probe(source, values, image), 5)
    probe_q, _ = timed(lambda: probe(image, on_grid.reshape(grid.shape).transpose(2, 1, 0).ravel(), source), 5)
    difference = np.abs(probed.reshape(grid.shape[::-1]).transpose(2, 1, 0).ravel() - on_grid)[grid.fluid_points]

    entries = int(both.to_grid.getInfo()["nz_used"])
    moved = 12 * entries + 8 * (mesh.n_nodes + 2 * grid.n_points)
    block = np.ones(moved // 16)
    copy, _ = timed(block.copy, 51)
    figures = {
        "machine": platform.processor() or platform.machine(),
        "nodes": mesh.n_nodes,
        "cells": mesh.n_cells,
        "grid": list(grid.shape),
        "build_seconds": locate + build,
        "apply_P_seconds": apply_p,
        "apply_Q_seconds": apply_q,
        "probe_mesh_to_grid_seconds": probe_p,
        "probe_grid_to_mesh_seconds": probe_q,
        "ratio_P": probe_p / apply_p,
        "ratio_Q": probe_q / apply_q,
        "median_difference": float(np.median(difference)),
        "P_bytes_moved": moved,
        "P_over_copy_of_as_many_bytes": apply_p / copy,
    }
    for name, value in figures.items():
        print(f"{name:32} {value:.4g}" if isinstance(value, float) else f"{name:32} {value}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
