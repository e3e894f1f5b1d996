"""Fluidity as the plugin sees it: its restarts, dumps, options and boundaries in one bundle."""

from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
from lxml import etree
from mpi4py import MPI

from coupling.archive.series import open_series
from coupling.common.collective import on_rank_0
from coupling.fluidity import options as flml
from coupling.fluidity.boundary import (
    Boundary,
    check_linear,
    check_surfaces,
    held_components,
    held_squares,
    read_boundary,
)
from coupling.fluidity.checkpoint import (
    FluidityRestart,
    open_restart,
    read_fields,
    restart_files,
    write_restart,
    wrong_processes,
)
from coupling.fluidity.divergence import DivergenceFree, divergence_free
from coupling.fluidity.nodes import check_nodes, check_time
from coupling.fluidity.option_paths import number_at
from coupling.fluidity.parallel import doubtful_processes
from coupling.fluidity.remarks import remarks, write_fixed
from coupling.geometry.mesh import AnyMesh, Field, MeshError, of_elements
from coupling.geometry.points import MeshPoints
from coupling.simulation.boundary import BoundaryOperators
from coupling.simulation.endings import is_ahead
from coupling.simulation.parameters import PARAMETERS
from coupling.simulation.simulation import Simulation

_STATES = (".vtu", ".pvtu", ".msh", ".halo")


def _holds_states(path: Path) -> bool:
    return path.name.endswith(_STATES)


def _check_start(restart: FluidityRestart, comm: MPI.Comm) -> None:
    on_rank_0(lambda: check_time(restart), comm)
    check_nodes(restart, comm)


def _number_at(restart: FluidityRestart, place: str) -> float:
    return float(number_at(flml.read_options(restart.options), place, restart.options).text or "")


def _unread(restart: FluidityRestart, names: Collection[str]) -> dict[str, str]:
    """Those that no Python function of the options speaks of; one may read them by way of a module of the user's."""
    codes = [code.text or "" for code in flml.read_options(restart.options).getroot().iter("string_value")]
    text = "\n".join(code for code in codes if PARAMETERS in code)
    advice = 'a Python function of the options reads it by json.load(open("{}"))["{}"]; docs/parameters.md has one'
    return {name: advice.format(PARAMETERS, name) for name in names if name not in text}


def _check_held(restart: FluidityRestart, name: str) -> None:
    asking = f"{restart.options}: boundary conditions of {name}"
    check_surfaces(held_components(restart, name), restart, asking)
    check_linear(restart, name)


def _read_boundary(restart: FluidityRestart, mesh: AnyMesh, comm: MPI.Comm) -> Boundary:
    return read_boundary(restart, of_elements(mesh, "a gate"), comm)


def _points_on(boundary: Boundary, surfaces: Collection[int]) -> np.ndarray:
    return boundary.points[boundary.nodes_on(surfaces)]


def _divergence_free(
    boundary: Boundary, restart: FluidityRestart, of: Field, mass: np.ndarray, comm: MPI.Comm, points: MeshPoints
) -> DivergenceFree:
    mesh = of_elements(of.mesh, "gates.divergence_free")
    if mesh.shape.degree != 1:
        raise MeshError(
            f"gates.divergence_free: {of.name} is on {mesh.shape.name}, expected linear cells; leave it out"
        )
    squares = held_squares(boundary, mesh, held_components(restart, of.name), comm)
    return divergence_free(mesh, mass, squares, comm, points)


def _write_later(
    restart: FluidityRestart, folder: str | Path, comm: MPI.Comm, changes: Mapping[str, Field], time: float
) -> FluidityRestart:
    def edit(tree: etree._ElementTree) -> None:
        flml.set_option(tree, "timestepping/current_time", float(time))
        finish = flml.option(tree, "timestepping/finish_time", float, restart.options)
        if finish is not None and not is_ahead(finish, time, restart.timestep):  # as after a run of the model's own
            flml.set_option(tree, "timestepping/finish_time", 2.0 * time - restart.time)

    return write_restart(restart, folder, comm, changes, edit=edit)


FLUIDITY = Simulation(
    name="Fluidity",
    open_restart=open_restart,
    read_fields=read_fields,
    write_restart=write_restart,
    restart_files=restart_files,
    open_series=open_series,
    holds_states=_holds_states,
    wrong_processes=wrong_processes,
    doubtful_processes=doubtful_processes,
    check_start=_check_start,
    number_at=_number_at,
    unread=_unread,
    boundary=BoundaryOperators(check_surfaces, _check_held, _read_boundary, _points_on, _divergence_free),
    version_words=("-V",),
    remarks=remarks,
    write_fixed=write_fixed,
    write_later=_write_later,
)
