"""A state of a real run with random background errors, and readings of it, for the tests of the analysis."""

import numpy as np
from places import DATA

from coupling.fluidity.checkpoint import open_restart, read_fields
from coupling.geometry.grid import make_grid
from coupling.geometry.interpolation import fluid_points
from da.background.linear_transform import LinearTransform
from da.background.modes import Modes
from da.observation.observations import Observations
from plugin.state.transfer import Transfer, values_at, variables_of
from plugin.window.background.of_case import Background

N_MODES = 6
OUTSIDE = 11  # the reading inside a building


def make_background(comm, run="parallel"):
    """(Background, State), the same on any number of ranks."""
    state = read_fields(open_restart(DATA / run / "mini_3_checkpoint.flml"), comm)
    mesh = state["Tracer"].mesh
    grid = make_grid(mesh.bounds(comm), shape=(9, 7, 5))
    grid = grid.with_fluid(fluid_points(grid, mesh, comm))
    transfer = Transfer(grid, variables_of(["Tracer", "Velocity.x", "Velocity.y"], state), comm)
    place = grid.coordinates(np.arange(grid.n_points)) / 100.0
    rng = np.random.default_rng(2)
    waves = [np.sin(place @ rng.normal(size=3) + rng.random(3)[:, None]).T.ravel() for _ in range(N_MODES)]
    rows = grid.rows(comm)
    mine = np.column_stack(waves)[3 * rows.start : 3 * rows.stop]
    modes = Modes(np.ascontiguousarray(mine), None, np.zeros(len(mine)), N_MODES, "reduced")
    return Background(transfer, LinearTransform(modes, 0.3 * np.ones(len(mine)), comm), modes), state


def make_readings(background, state, speeds=False, seed=3):
    """Twelve readings, half a unit or so from the model; the last one is inside a building."""
    rng = np.random.default_rng(seed)
    position = rng.uniform([10, 10, 5], [110, 190, 70], (12, 3))
    position[OUTSIDE] = [130.0, 155.0, 10.0]
    names = ["Tracer", "Velocity.x", "Velocity.y", "Velocity.speed" if speeds else "Tracer"]
    variable = np.array(names)[np.arange(12) % 4]
    value, _ = values_at(state, background.transfer, position, variable)
    return Observations(
        np.full(12, state.time),
        position,
        variable,
        value + 0.3 * rng.normal(size=12),
        0.1 + 0.1 * rng.random(12),
        np.array(["a", "b", "c"])[np.arange(12) % 3],
        np.array(["cup", ""])[np.arange(12) % 2],
    )
