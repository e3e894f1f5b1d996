"""Unknown numbers of the model: one row for each, a column for each member, analysed with the state.

Rows are unbounded, standard normal under the prior (`da.ensemble.prior`). A parameter of several values in time has a
row for each. `numbers_of` has what a member's model is to find, and where.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import FileError
from coupling.simulation.parameters import PARAMETERS, Numbers, Series
from coupling.simulation.simulation import Restart, Simulation, carries
from da.ensemble.ensemble import EnsembleUpdate
from da.ensemble.prior import LogNormal, Normal, Prior, Uniform, draws, values
from da.ensemble.wander import STAYS, Wander, first_order, kept_apart, random_walk, wandered
from plugin.case.configuration import ConfigurationError
from plugin.case.parameters import ParameterSection, PriorSection, WanderSection

_SEED = 0x70617261  # beside the members' own draws of a window
UpdateBy = Callable[[tuple[str, ...] | None], EnsembleUpdate | None]


@dataclass(frozen=True)
class Parameters:
    """The case's parameters, P rows.

    sections : {name: ParameterSection}, in the order of the case file
    names : (P,) name of each row's parameter
    labels : (P,) name of each row: wind_speed, or gust[2] of several in time
    priors, wanders : (P,) of each row
    floor : (P,) least spread [standard deviations of the prior]
    correlation : (P, P) under the prior
    times : {name: times of its values [s]} of those in time
    """

    sections: Mapping[str, ParameterSection]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    priors: tuple[Prior, ...]
    wanders: tuple[Wander, ...]
    floor: np.ndarray
    correlation: np.ndarray
    times: Mapping[str, tuple[float, ...]]

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, name: str) -> list[int]:
        """The rows of a parameter."""
        return [row for row, of in enumerate(self.names) if of == name]


def parameters_of(sections: Mapping[str, ParameterSection], start: float, window: float) -> Parameters:
    """The rows of a case's parameters.

    Parameters
    ----------
    sections : of the case file
    start : time of the run's start [s]
    window : time between analyses [s]
    """
    names, labels, times = list[str](), list[str](), dict[str, tuple[float, ...]]()
    for name, section in sections.items():
        if (in_time := section.in_time) is None:
            names, labels = [*names, name], [*labels, name]
            continue
        first = start if in_time.start is None else in_time.start
        times[name] = tuple(np.linspace(first, first + in_time.over, in_time.coefficients).tolist())
        names += [name] * in_time.coefficients
        labels += [f"{name}[{k}]" for k in range(in_time.coefficients)]
    correlation = np.eye(len(names))
    for name, at in times.items():
        rows = [row for row, of in enumerate(names) if of == name]
        apart = np.abs(np.subtract.outer(at, at))
        time = sections[name].in_time.correlation  # type: ignore[union-attr]  # those in `times` have it
        correlation[np.ix_(rows, rows)] = np.exp(-apart / time)
    return Parameters(
        sections,
        tuple(names),
        tuple(labels),
        tuple(_prior(sections[name].prior) for name in names),
        tuple(_wander(sections[name].wander, window) for name in names),
        np.array([sections[name].floor for name in names]),
        correlation,
        times,
    )


def _prior(section: PriorSection) -> Prior:
    if section.normal is not None:
        return Normal(*section.normal)
    return LogNormal(*section.lognormal) if section.lognormal is not None else Uniform(*(section.uniform or (0, 1)))


def _wander(section: WanderSection | None, window: float) -> Wander:
    if section is None:
        return STAYS
    if section.random_walk is not None:
        return random_walk(section.random_walk)
    assert section.ar1 is not None
    return first_order(section.ar1.time, window, section.ar1.spread)


def check_targets(parameters: Parameters, start: Restart, simulation: Simulation) -> None:
    """See that the model's settings have the numbers that parameters replace.

    ConfigurationError with the key of the first that is not there, and the nearest place that is
    """
    for name in parameters.sections:
        if problem := target_problem(parameters, name, start, simulation):
            raise ConfigurationError(problem)


def target_problem(parameters: Parameters, name: str, start: Restart, simulation: Simulation) -> str | None:
    """Why the model's settings have no place for a parameter; None if they have."""
    option = parameters.sections[name].to.option
    if option is None:
        return None
    if simulation.number_at is None:
        return (
            f"parameters.{name}.to: {simulation.name} has no options with numbers of their own; let the model read "
            f"{PARAMETERS}: key `to: {{file: {PARAMETERS}}}`"
        )
    in_time = parameters.sections[name].in_time is not None
    if in_time and simulation.series_at is None:
        return (
            f"parameters.{name}: an option of {simulation.name} is one number; let the model read values in time from "
            f"{PARAMETERS}: key `to: {{file: {PARAMETERS}}}`"
        )
    try:
        if in_time and simulation.series_at is not None:
            simulation.series_at(start, option)
        else:
            simulation.number_at(start, option)
    except FileError as error:
        return f"parameters.{name}.to: {error}"
    return None


def unread(parameters: Parameters, start: Restart, simulation: Simulation) -> dict[str, str]:
    """{name: what to do} of those that go to parameters.json and that nothing seems to read; it may not be seen."""
    return simulation.unread(start, [name for name, section in parameters.sections.items() if section.to.file])


def first_values(parameters: Parameters, members: int, seed: int) -> np.ndarray:
    """(P, N) of the first window, under the prior."""
    if len(parameters) == 0:
        return np.empty((0, members))
    return draws(members, parameters.correlation, np.random.default_rng([seed, 0, _SEED]))


def analysed_values(parameters: Parameters, prior: np.ndarray, update_by: UpdateBy) -> np.ndarray:
    """Parameters after an analysis: (P, N) → (P, N), never localised. Collective.

    update_by : the EnsembleUpdate by readings of some fields only, None for all; None where there are no such readings
    """
    if len(parameters) == 0:
        return prior
    asked = [parameters.sections[name].readings for name in parameters.names]
    groups = dict.fromkeys(None if of is None else tuple(sorted(of)) for of in asked)
    after = np.array(prior)
    for group in groups:
        rows = [row for row, of in enumerate(asked) if (None if of is None else tuple(sorted(of))) == group]
        if (update := update_by(group)) is not None:
            after[rows] = update.parameters(prior[rows])
    return kept_apart(after, parameters.floor)


def next_values(parameters: Parameters, analysed: np.ndarray, seed: int, window: int) -> np.ndarray:
    """(P, N) of the window after `window`: they wander from what its analysis made of them."""
    if len(parameters) == 0:
        return analysed
    rng = np.random.default_rng([seed, window, _SEED])
    return wandered(analysed, parameters.wanders, parameters.correlation, rng)


def numbers_of(parameters: Parameters, unbounded: np.ndarray) -> Numbers:
    """What a member's model is to find: (P,) of its column."""
    x = values(parameters.priors, np.asarray(unbounded)[:, None])[:, 0]
    options, entries = dict[str, float | Series](), dict[str, float | Series]()
    for name, section in parameters.sections.items():
        own = x[parameters.rows(name)].tolist()
        value = Series(parameters.times[name], tuple(own)) if section.in_time is not None else own[0]
        if section.to.option is not None:
            options[section.to.option] = value
        else:
            entries[name] = value
    return Numbers(options, entries)


def statistics(parameters: Parameters, unbounded: np.ndarray) -> dict[str, dict[str, float]]:
    """{label: mean, std and quantiles of the members' values, in the parameters' units}."""
    of_members = values(parameters.priors, unbounded)
    return {
        label: {
            "mean": float(row.mean()),
            "std": float(row.std(ddof=1)),
            **{f"q{round(100 * part):02d}": float(q) for part, q in zip(PARTS, np.quantile(row, PARTS), strict=True)},
        }
        for label, row in zip(parameters.labels, of_members, strict=True)
    }


PARTS = (0.05, 0.25, 0.5, 0.75, 0.95)  # quantiles of tables


def prepared(
    parameters: Parameters, unbounded: np.ndarray, simulation: Simulation
) -> Callable[[Restart, int, Path, MPI.Comm], Restart] | None:
    """What gives each member's model its numbers, whatever restart it is started from; None where there are none.

    A restart that has them already is used as it is, any other is copied with them. unbounded : (P, N)
    """
    if len(parameters) == 0:
        return None

    def prepare(start: Restart, member: int, folder: Path, comm: MPI.Comm) -> Restart:
        numbers = numbers_of(parameters, unbounded[:, member])
        if on_rank_0(lambda: carries(simulation, start, numbers), comm):
            return start
        return simulation.write_restart(start, folder, comm, numbers=numbers)

    return prepare
