"""The states a network is trained with: on the grid, standardised, in one file that all ranks read whole samples from.

The archive is read once. Each rank keeps its rows of every state in a scratch file, takes mean and spread of them in
double precision, and writes its part of all samples in single precision. The file stays, under a name that depends
on all that it was made of, for the next network of the same case.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import whole_shared_file
from coupling.common.hdf5 import claim_problem, elsewhere_problem
from coupling.common.locks import sole_writer
from coupling.geometry.grid import Grid
from da.background.scaling import point_scaling, variable_scaling
from da.background.snapshots import collected, row_blocks
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.sections import SeriesSection
from plugin.state.grid import make_grid_of
from plugin.state.transfer import Transfer, variables_of
from plugin.window.background.of_case import close_all, columns_of, plan_of, states_of
from plugin.window.background.snapshots import fingerprint

_BLOCK = 16  # samples that are written at a time
_WAIT = 3600.0  # s for another job to write the samples, where it cannot be seen whether it still runs


class StoredSamples:
    """(S, C, nx, ny, nz) float32 samples of a file, read when a slice of them is asked for."""

    dtype = np.dtype(np.float32)

    def __init__(self, dataset: h5py.Dataset, shape: Sequence[int]) -> None:
        self._dataset = dataset
        self.shape = (*dataset.shape[:2], *shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, run: slice) -> np.ndarray:
        values = self._dataset[run]
        return values.reshape(len(values), *self.shape[1:])


@dataclass(frozen=True)
class TrainingSet:
    """What a network learns from, and what it has to keep of it.

    samples : StoredSamples, (x − mean) / scale in time order; zero where scale is
    mean, scale : (nx·ny·nz·C,) float64 of the states before validation, in the order of `plugin.state.transfer`
    times : (S,) [s]
    n_validation : the last so many are for validation
    grid : Grid
    about : what the states are, as headers of networks' files say it
    """

    samples: StoredSamples
    mean: np.ndarray
    scale: np.ndarray
    times: np.ndarray
    n_validation: int
    grid: Grid
    about: dict

    @property
    def part(self) -> np.ndarray:
        """(C, nx, ny, nz) bool, where a value takes part."""
        shape = self.samples.shape[1:]
        return (self.scale != 0.0).reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2)

    @property
    def zero(self) -> np.ndarray:
        """(C, nx, ny, nz) standardised value of zero; zero where a value takes no part."""
        shape, scale = self.samples.shape[1:], self.scale
        value = np.divide(-self.mean, scale, out=np.zeros_like(scale), where=scale != 0.0)
        return value.reshape(*shape[1:], shape[0]).transpose(3, 0, 1, 2)


def training_set(
    case: Case, comm: MPI.Comm, cache: Path, said: Callable[[str], None] = lambda text: None
) -> TrainingSet:
    """The samples of a case with a `network` section, made, or read if they are there. Collective.

    Parameters
    ----------
    case : Case
    comm : MPI communicator
    cache : folder that keeps interpolations and, unless the case names another, samples
    said : function of a text, called after every tenth of the states read

    Returns
    -------
    TrainingSet

    Raises
    ------
    ConfigurationError
        if the case has no network section, or as `standardised_states`
    FileError, MeshError, OSError
        as `standardised_states`
    """
    if case.network is None:
        raise ConfigurationError("network: this section is missing; it names the network and its file")
    of = case.network.training
    snapshots, folder = of.snapshots or case.background.snapshots, of.scratch or cache
    return standardised_states(
        case, snapshots, of.validation, comm, cache, folder,
        scaling=case.network.scaling, said=said, section="network.training",
    )  # fmt: skip


def standardised_states(
    case: Case,
    snapshots: Sequence[SeriesSection],
    last: float,
    comm: MPI.Comm,
    cache: Path,
    folder: Path,
    *,
    scaling: str,
    said: Callable[[str], None] = lambda text: None,
    section: str,
) -> TrainingSet:
    """States in time order, standardised by those before the last ones; read if they are kept. Collective.

    Parameters
    ----------
    case : Case, for its grid and variables
    snapshots : list of SeriesSection
    last : part of the states, the last in time, that mean and spread know nothing of; one state at least
    comm : MPI communicator
    cache : folder that keeps interpolations
    folder : where the file of samples is kept
    scaling : "variable" or "point"
    said : function of a text, called after every tenth of the states read
    section : of the case file, for messages

    Returns
    -------
    TrainingSet

    Raises
    ------
    ConfigurationError
        if the case has no grid, or the states are too few or do not vary
    FileError, MeshError, OSError
        if states cannot be read, do not fit the grid, or the samples cannot be written
    """
    if case.grid.space == "mesh":
        raise ConfigurationError("grid: samples of states lie on a grid; give shape or spacing, not space: mesh")
    plan = plan_of(snapshots, comm)
    plan.sort(key=lambda entry: entry[0].times[entry[1]])
    times = np.array([float(series.times[step]) for series, step in plan])
    n_last = max(1, round(last * len(plan)))
    if len(plan) - n_last < 2:
        raise ConfigurationError(
            f"{section}: {len(plan)} states, the last {n_last} of them set aside; at least 2 must be left"
        )
    states = states_of(case, plan)
    first = next(states)
    mesh = next(iter(first.fields.values())).mesh
    grid = make_grid_of(case, mesh, comm, cache)
    assert isinstance(grid, Grid)  # of a case without space: mesh, as was checked above
    transfer = Transfer(grid, variables_of(case.variables, first), comm, cache)
    about = {
        "variables": [v.name for v in transfer.variables],
        "grid": grid.description,
        "scaling": scaling,
        "period": [times[0], times[-n_last - 1]],
        "validation period": [times[-n_last], times[-1]],
        "states": on_rank_0(lambda: fingerprint(plan, times.tolist()), comm),
    }
    about = json.loads(json.dumps(about))  # as files keep it: tuples are lists there
    on_rank_0(lambda: folder.mkdir(parents=True, exist_ok=True), comm)
    key = json.dumps({**about, "mask": grid.fingerprint, "mesh": mesh.fingerprint, "validation": n_last})
    path = folder / f"samples-{hashlib.sha256(key.encode()).hexdigest()[:16]}.h5"
    if not on_rank_0(path.exists, comm):
        with sole_writer(path, comm, _WAIT, said):
            if not on_rank_0(path.exists, comm):  # no other job has made it since
                columns = columns_of(transfer, first, states, plan, said)
                collection = collected(columns, transfer.n_local, len(plan), folder)
                _write(path, transfer, collection, n_last, scaling, section, comm)
    close_all(plan)
    try:
        file = h5py.File(path, "r")
        problem = elsewhere_problem(file)
        for name in ("samples", "mean", "scale"):
            if problem is None and (claim := claim_problem(file[name])) is not None:
                problem = f"{name} {claim}"
        if problem is not None:
            raise ConfigurationError(f"{path}: {problem}; remove the file, it is made anew")
        samples = StoredSamples(file["samples"], grid.shape)
        return TrainingSet(samples, file["mean"][:], file["scale"][:], times, n_last, grid, about)
    except (OSError, KeyError) as error:
        raise ConfigurationError(f"{path}: not a whole file of samples ({error}); remove it") from None


def _write(path, transfer, states, n_last, scaling, section, comm):
    """Standardise this rank's rows of all states, (n_local, S), and write them. Collective."""
    grid, variables = transfer.grid, [v.name for v in transfer.variables]
    rows = grid.rows(comm)
    training = states[:, : states.shape[1] - n_last]
    spread = point_scaling if scaling == "point" else variable_scaling
    try:
        scaled = spread(training, variables, comm, grid.fluid_points[rows.start : rows.stop])
    except ValueError as error:
        raise ConfigurationError(f"{section}: {error}") from error
    mean = np.concatenate([np.empty(0), *(training[block].mean(axis=1) for block in row_blocks(training.shape))])
    if comm.size > 1 and not h5py.get_config().mpi:
        raise ConfigurationError(
            f"{path}: h5py was built without MPI and writes from one rank only, there are {comm.size}; "
            "train on one rank, or install h5py on parallel HDF5"
        )
    how = {"driver": "mpio", "comm": comm} if comm.size > 1 else {}
    width, each = len(variables), slice(rows.start, rows.stop)
    with whole_shared_file(path, comm) as beside:
        # tried by one first: an MPI open that fails may leave ranks waiting
        on_rank_0(beside.touch, comm)
        with h5py.File(beside, "w", **how) as file:
            samples = file.create_dataset("samples", (states.shape[1], width, grid.n_points), np.float32)
            for name, values in (("mean", mean), ("scale", scaled.scale)):
                whole = file.create_dataset(name, (grid.n_points * width,), np.float64)
                whole[rows.start * width : rows.stop * width] = values
            for first in range(0, states.shape[1], _BLOCK):
                block = scaled.divide(states[:, first : first + _BLOCK] - mean[:, None])
                block = block.reshape(len(rows), width, -1).transpose(2, 1, 0)
                samples[first : first + _BLOCK, :, each] = np.ascontiguousarray(block, dtype=np.float32)
