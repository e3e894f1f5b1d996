"""Training of a case's learned dynamics: python -m plugin.train case.yml --dynamics

The autoencoder of `network.file` must be trained: its file holds the codes of the states, and these are all that is
learnt from. Runs of states are those of the entries of `snapshots`, cut where states are farther apart in time.
"""

from collections.abc import Sequence

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0_asleep
from coupling.common.locks import sole_writer
from models import files
from models.dynamics.files import LINEAR, save_dynamics
from models.dynamics.linear import LinearDynamics, linear_dynamics
from models.dynamics.network import NetworkDynamics
from models.dynamics.training import RollOuts, train_dynamics
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.network import DynamicsSection, NetworkSection
from plugin.run.progress import Progress
from plugin.window.background.observation_encoding import file_hash
from plugin.window.background.of_case import Plan, close_all, fingerprint, plan_of

_SAME = 1e-3  # of a time step: times this near are the same


def train_case_dynamics(case: Case, comm: MPI.Comm, progress: Progress | None = None) -> None:
    """Train a case's learned dynamics and write their file. Collective; one rank computes.

    Raises
    ------
    ConfigurationError
        if case, states and autoencoder do not fit each other, there is a file already, or states are too few
    FileError, OSError
        if states cannot be read, or the file not be written; or another job trains into the same file
    """
    progress = progress or Progress(comm)
    if case.network is None or case.network.dynamics is None:
        raise ConfigurationError("network.dynamics: this section is missing; it names the file")
    network, section = case.network, case.network.dynamics
    with sole_writer(section.file, comm, say=progress.say):
        plan = plan_of(network.training.snapshots or case.background.snapshots, comm)
        try:
            on_rank_0_asleep(lambda: _train(network, section, plan, progress), comm)
        finally:
            close_all(plan)


def _train(network: NetworkSection, section: DynamicsSection, plan: Plan, progress: Progress) -> None:
    if section.file.exists():
        raise ConfigurationError(f"network.dynamics.file: {section.file} is there already; remove it to train anew")
    plan = sorted(plan, key=lambda entry: entry[0].times[entry[1]])
    times = np.array([float(series.times[step]) for series, step in plan])
    codes = _codes(network, plan, times)
    series = {id(one): number for number, one in enumerate({id(one): one for one, _ in plan}.values())}
    label = np.array([series[id(one)] for one, _ in plan])
    step, runs = runs_of(times, label)
    judged = len(times) - max(1, round(network.training.validation * len(times)))
    known, validation = (
        [codes[:, run[part(run)]] for run in runs] for part in (lambda r: r < judged, lambda r: r >= judged)
    )
    try:
        model, told = _model(section, known, validation)
    except ValueError as error:
        raise ConfigurationError(f"network.dynamics: {error}") from error
    about = {
        "step": step,
        "network": file_hash(network.file),
        "training": section.model_dump(mode="json", exclude={"file"}),
    }
    save_dynamics(section.file, model, about)
    progress.say(f"{section.file}: {section.kind}, steps of {step:g} s{told}")


def _codes(network: NetworkSection, plan: Plan, times: np.ndarray) -> np.ndarray:
    """(m, S) of the autoencoder's file, which must be of these states."""
    try:
        found = files.read_about(network.file).get("states")
        arrays = files.load_arrays(network.file, ("codes",), {"codes": (None, len(times))})
    except files.ModelFileError as error:
        raise ConfigurationError(f"network.file: {error}") from error
    expected = fingerprint(plan, times.tolist())
    if found != expected:
        raise ConfigurationError(f"network.file: {network.file} was made with other states; train one for this case")
    return np.asarray(arrays["codes"], np.float64)


def runs_of(times: np.ndarray, label: np.ndarray) -> tuple[float, list[np.ndarray]]:
    """The time between states [s], and runs of numbers of states so far apart.

    times : (S,) rising [s]; label : (S,) number of the series that each is of
    """
    by_series = [np.flatnonzero(label == one) for one in np.unique(label)]
    apart = np.concatenate([np.diff(times[own]) for own in by_series])
    if not np.any(apart > 0.0):
        raise ConfigurationError("network.dynamics: no series has two states; name longer ones in snapshots")
    step = float(np.median(apart[apart > 0.0]))
    runs: list[np.ndarray] = []
    for own in by_series:
        cut = np.flatnonzero(np.abs(np.diff(times[own]) - step) > _SAME * step) + 1
        runs += np.split(own, cut)
    return step, runs


def _model(
    section: DynamicsSection, known: Sequence[np.ndarray], validation: Sequence[np.ndarray]
) -> tuple[LinearDynamics | NetworkDynamics, str]:
    """The model, and what is to be said of its training."""
    if section.kind == LINEAR:
        early, late = (np.concatenate([run[:, of] for run in known], axis=1) for of in (slice(0, -1), slice(1, None)))
        return linear_dynamics(early, late, section.ridge), ""
    recipe = RollOuts(**section.model_dump(exclude={"file", "kind"}))
    trained = train_dynamics(section.kind, known, validation, recipe)
    first, least = trained.history[0, 1], trained.history[trained.epoch, 1]
    return trained.dynamics, f", epoch {trained.epoch}, validation loss {least:.4g}, {first:.4g} by the linear model"
