"""Where a next sensor would help most: python -m plugin.sensors case.yml -n 5 --variable Tracer

The background, the state and the readings of the case's first window are taken as `plugin.verify` takes them. Each
candidate is a reading of one variable at a point of the grid in the air; the one that takes most off the
total variance of the analysis is chosen, then the next beside it. Nothing needs to be measured for that: only
the modes, H and the errors count, and the localisation if there is one. Exit code 2 is bad input.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import whole_file
from coupling.geometry.grid import Grid
from da.diagnostics.posterior import metric, posterior
from da.diagnostics.sensor_placement import next_sensors
from da.minimisation.hessian import ObservationHessian
from da.observation.matrix_operator import selection, stacked
from plugin.case.configuration import ConfigurationError, read_cycle_case
from plugin.run.job import read_words, run_job
from plugin.run.progress import Progress
from plugin.window.analysis_cache import CachedResult
from plugin.window.background.localisation import linear_part, localised
from plugin.window.set_up import SetUp, set_up

_SEED = 20
_CANDIDATES, _LOCALISED = 20000, 2000  # localised, each place costs a column as long as the state


@dataclass(frozen=True)
class Proposal:
    """Sensors in the order in which they are to be placed.

    place : (k, 3) [m]
    total : (k + 1,) total variance of the analysis before and after each of them, over that of the background
    candidate : (K, 3) [m] all places that were tried
    gain : (K,) part of the background's total variance that each would take off if it came first
    """

    place: np.ndarray
    total: np.ndarray
    candidate: np.ndarray
    gain: np.ndarray


def propose(
    of: SetUp, variable: str, error: float, n: int, comm: MPI.Comm, candidates: int | None = None, only: bool = False
) -> Proposal:
    """Choose n places for sensors of a variable. Collective.

    Parameters
    ----------
    of : SetUp, the sensors that are there
    variable : name of what the new ones read
    error : standard deviation of their errors, in the variable's units
    n : how many
    comm : MPI communicator
    candidates : places tried at most; of more grid points so many are drawn, with a seed. None for 20,000, or 2,000
        where covariances fall with distance
    only : count the variance of this variable only; else each variable's in its own units

    Returns
    -------
    Proposal, the same on every rank

    Raises
    ------
    ConfigurationError
        if the variable is not analysed, the error is not positive, or there are fewer places than sensors
    """
    transfer, transform = of.background.transfer, of.background.transform
    names = [v.name for v in transfer.variables]
    if variable not in names:
        raise ConfigurationError(f"sensors of {variable!r}, which is not analysed; variables are {names}")
    if not (np.isfinite(error) and error > 0.0):
        raise ConfigurationError(f"error {error!r} of a sensor, expected a positive standard deviation")
    if not isinstance(transfer.grid, Grid):
        raise ConfigurationError("sensors are placed at points of a grid; the case has grid: {space: mesh}")
    column, m = names.index(variable), len(names)
    points = np.flatnonzero(transfer.grid.fluid_points)
    taper = of.background.taper
    if candidates is None:
        candidates = _LOCALISED if taper is not None and taper.falls_with_distance else _CANDIDATES
    if len(points) > candidates:
        points = np.sort(np.random.default_rng(_SEED).choice(points, candidates, replace=False))
    if not 1 <= n <= len(points):
        raise ConfigurationError(f"{n} sensors for {len(points)} places")
    rows = transfer.grid.rows(comm)
    mine = (points[(points >= rows.start) & (points < rows.stop)] - rows.start) * m + column
    # each variable in its own units, which a localised U has no scale for
    scale = np.ones(transfer.n_local) if transform.scale is None else transform.scale
    counts = (scale > 0.0) & ((np.arange(len(scale)) % m == column) | (not only))
    weight = np.divide(1.0, scale**2, out=np.zeros(len(counts)), where=counts)
    background = float(np.trace(metric(transform, weight)))
    there, new = linear_part(of.reading_operator.operator), selection(points * m + column, transfer.n_local, comm)
    # U as an analysis of all these readings has it; what none of them sees of B stays as it is
    u = localised(transform, taper, stacked([there, new], comm), (), CachedResult(), comm)
    slope = transfer.slopes_on_grid(of.state)[mine]  # readings are in the variable's own units
    sensitivity = slope[:, None] * u.rows(mine) / error
    valued = metric(u, weight)
    errors = posterior(ObservationHessian(u, of.operator, of.error, comm).information)
    placed = next_sensors(errors, sensitivity, n, comm, valued)
    total = background - float(np.trace(valued)) + placed.total
    gain = np.concatenate(comm.allgather(placed.first_gain)) / background
    places = transfer.grid.coordinates(points)
    return Proposal(places[placed.chosen], total / background, places, gain)


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.sensors", description="Where a next sensor would help.")
    parser.add_argument("case", type=Path, help="case file (YAML)")
    parser.add_argument("-n", type=int, default=5, help="how many sensors")
    parser.add_argument("--variable", help="what they read; the case's first variable if left out")
    parser.add_argument("--error", type=float, help="standard deviation of their errors; else the readings' median")
    parser.add_argument("--only", action="store_true", help="count the errors of this variable only")
    parser.add_argument(
        "--candidates", type=int, help="places tried at most: 20,000, or 2,000 with background.localisation"
    )
    parser.add_argument("--map", type=Path, metavar="FILE.npz", help="keep what each place would gain")
    words = read_words(parser, argv, comm)
    case, progress = read_cycle_case(words.case), Progress(comm)
    of = set_up(case, comm)
    variable = words.variable or of.background.transfer.variables[0].name
    error = words.error
    if error is None:
        read = of.readings.error[of.readings.variable == variable]
        if len(read) == 0:
            raise ConfigurationError(f"--error is missing, and there is no reading of {variable!r} to take it from")
        error = float(np.median(read))
    proposal = propose(of, variable, error, words.n, comm, words.candidates, words.only)
    progress.say(
        f"{len(of.readings)} readings leave {proposal.total[0]:.2%} of the background's variance; "
        f"sensors of {variable}, error {error:g}, {len(proposal.candidate)} places"
    )
    for k, place in enumerate(proposal.place, 1):
        x, y, z = place
        progress.say(f"{k:>4}  x {x:.4g}  y {y:.4g}  z {z:.4g} m   leaves {proposal.total[k]:.2%}")
    if words.map is not None:
        on_rank_0(lambda: _keep(words.map, proposal), comm)
    return 0


def _keep(path, proposal):
    with whole_file(path) as beside, open(beside, "wb") as file:
        np.savez(file, place=proposal.candidate, gain=proposal.gain, chosen=proposal.place, total=proposal.total)


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
