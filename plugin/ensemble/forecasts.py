"""Forecasts of all members: groups of ranks run models at the same time, and a member that fails is tried once more."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import raise_together
from coupling.common.waiting import wait_asleep
from coupling.simulation.forecast import Forecast, ForecastModel
from coupling.simulation.launch import ModelError
from coupling.simulation.simulation import Restart
from plugin.case.configuration import ConfigurationError
from plugin.run.rank_groups import RankGroup
from plugin.run.recovery import Beginning, forecast_from
from plugin.window.gates.apply import Gates
from plugin.window.gates.mesh_operators import MeshOperators
from plugin.window.refusals import wrong_step

Prepare = Callable[[Restart, int, Path, MPI.Comm], Restart]


@dataclass(frozen=True)
class MemberForecast:
    """What the run of one member left.

    restart : its checkpoint; time : of its last dump [s]
    folder : of dumps, checkpoint and logs
    seconds : wall-clock time of the model [s]
    recovery : what the ledger records of a second try; None where the first was good
    """

    restart: Restart
    time: float
    folder: Path
    seconds: float
    recovery: dict[str, str] | None


@dataclass(frozen=True)
class Forecasts:
    """Forecasts of N members.

    good : {member: MemberForecast}
    failed : {member: why}, of those that failed also from their background
    """

    good: Mapping[int, MemberForecast]
    failed: Mapping[int, str]


def groups_of(at_once: int | None, members: int, comm: MPI.Comm) -> RankGroup:
    """The ranks in groups, each of which runs one model at a time. Collective.

    ConfigurationError if there are fewer ranks than models at once
    """
    if at_once is not None and at_once > comm.size:
        raise ConfigurationError(
            f"ensemble.at_once: {at_once} models at the same time need {at_once} ranks of the plugin to start them, "
            f"there are {comm.size}; start with mpirun -n {at_once}, or leave at_once out"
        )
    count = min(at_once or comm.size, members)
    number = comm.rank * count // comm.size
    return RankGroup(comm.Split(number, comm.rank), number, count)


def forecast_members(
    beginnings: Sequence[Beginning],
    until: float,
    model: ForecastModel,
    gates: Gates,
    folders: Sequence[Path],
    group: RankGroup,
    comm: MPI.Comm,
    say: Callable[[str], None],
    half: bool = False,
    prepare: Prepare | None = None,
) -> Forecasts:
    """Run all members until a time. Collective.

    Parameters
    ----------
    beginnings : Beginning of each member
    until : s
    model : ForecastModel
    gates : Gates, whose limits forecasts must keep
    folders : of the members in this window
    group : RankGroup of this rank
    comm : MPI communicator of all
    say : function of a text
    half : a member that fails is tried again with half of its last increment, not with none
    prepare : function of a restart, the member's number, a folder that is not there yet and a communicator, which gives
        the restart that the model is started from

    Returns
    -------
    Forecasts

    Raises
    ------
    FileError, OSError
        on every rank, if files of a restart are missing or broken, or cannot be written
    """
    own_gates = _within(gates, group.comm)
    said: list[str] = []
    outcomes: dict[int, MemberForecast | str] = {}
    problem: Exception | None = None
    try:
        for member in group.share(range(len(beginnings))):
            outcomes[member] = _of_member(
                member, beginnings[member], until, model, own_gates, folders[member], group.comm, said.append, half,
                prepare,
            )  # fmt: skip
    except (OSError, ValueError) as error:  # of files, which no other start would mend
        problem = error
    wait_asleep(comm)
    raise_together(problem, comm)
    everyones: dict[int, MemberForecast | str] = {}
    for part, texts in comm.allgather((outcomes, said if group.comm.rank == 0 else [])):
        everyones |= part
        for text in texts:
            say(text)
    good = {m: everyones[m] for m in sorted(everyones)}
    return Forecasts(
        {m: of for m, of in good.items() if isinstance(of, MemberForecast)},
        {m: of for m, of in good.items() if isinstance(of, str)},
    )


def _of_member(member, beginning, until, model, gates, folder, comm, say, half, prepare):
    """A member's MemberForecast, or why it has none. Collective over its group."""
    tries = 0

    def run(start: Restart) -> Forecast:
        nonlocal tries
        tries += 1
        if prepare is not None:
            start = prepare(start, member, folder / f"start-{tries}", comm)
        forecast = model.run(start, until, folder / "forecast", comm)
        gates.check(forecast.state, "the model ended well but in its forecast", ModelError)
        if problem := wrong_step(forecast.restart):
            raise ModelError(f"{problem}; the model ended well, but nothing can go on from its checkpoint")
        return forecast

    def said(text: str) -> None:
        say(f"member {member + 1}: {text}")

    try:
        forecast, recovery = forecast_from(
            beginning, run, "half" if half else "background", folder, model.simulation, comm, said
        )
    except ModelError as failure:
        return str(failure).partition("\n")[0]
    return MemberForecast(forecast.restart, forecast.state.time, forecast.folder, forecast.seconds, recovery)


def _within(gates: Gates, comm: MPI.Comm) -> Gates:
    """The gates for states of a group's ranks; only `check` is asked of them."""
    transfer = replace(gates.transfer, comm=comm, cache=None, _made={}, _sensors={})
    return replace(gates, transfer=transfer, tools=MeshOperators(comm, gates.tools.boundary))
