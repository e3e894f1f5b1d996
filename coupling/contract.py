"""What the cycle asks of a forecast model, as checks for a driver's tests: begin here to write a driver.

    from coupling.contract import PROMISES, make_trial

    @pytest.fixture(scope="module")
    def trial(tmp_path_factory):
        model = driver()
        start = model.simulation.open_restart("case")
        return make_trial(model, start, (0.5, 1.0), tmp_path_factory.mktemp("trial"), MPI.COMM_SELF)

    @pytest.mark.parametrize("promise", PROMISES)
    def test_it_keeps_its_promises(promise, trial):
        promise(trial)

What a driver needs, in the order in which it is written:

1. a restart, with the properties of :class:`~coupling.simulation.simulation.Restart`;
2. functions that open, read, write and list it, and a series of states, in a
   :class:`~coupling.simulation.simulation.Simulation`;
3. a model with this `simulation` and with `run` (:class:`~coupling.simulation.forecast.ForecastModel`), which starts
   the program by :func:`coupling.simulation.launch.launch` and checks its end by :mod:`coupling.simulation.endings`.

:mod:`coupling.fluidity.simulation` and :mod:`coupling.fluidity.driver` do so for Fluidity; docs/simulation.md has a
page of code that does so for a model with files of its own.

A trial is four forecasts; each promise is a function of the trial that asserts one thing, so that each fails by itself.
How a model fails is no part of it: test that separately (`ForecastModel` says which error is expected).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.geometry.mesh import Field, State
from coupling.simulation.endings import NEAR, has_arrived
from coupling.simulation.forecast import Forecast, ForecastModel
from coupling.simulation.launch import ModelError
from coupling.simulation.simulation import Restart


@dataclass(frozen=True)
class Trial:
    """Forecasts of one model, and what is needed to judge them.

    model : the driver
    start, times : the restart, and the two times [s] that forecasts went to
    folder : holds the forecasts' folders first, uninterrupted, later and edited
    comm : MPI communicator
    tolerance : by which values may differ, relative to the largest; 0 asks for the same bits
    first : from `start` until the first time
    uninterrupted : from `start` until the second
    later : from `first`'s restart until the second
    edit : the field that was changed in `first`'s restart; `edited` went on from there until the second time
    before : {file: hash} of the start's folder before anything ran
    """

    model: ForecastModel[Any]
    start: Restart
    times: tuple[float, float]
    folder: Path
    comm: MPI.Comm
    tolerance: float
    first: Forecast
    uninterrupted: Forecast
    later: Forecast
    edit: Field
    edited: Forecast
    before: dict[str, str]


def make_trial(
    model: ForecastModel[Any],
    start: Restart,
    times: tuple[float, float],
    folder: Path,
    comm: MPI.Comm,
    *,
    field: str | None = None,
    tolerance: float = 0.0,
) -> Trial:
    """Run the four forecasts. Collective.

    Parameters
    ----------
    model : the driver
    start : a checkpoint or a cold start
    times : two times [s] after the start's, rising; a few time steps apart are enough
    folder : for what is written, there already
    comm : MPI communicator
    field : name of a field to change by a factor of 1.5; the first scalar of the checkpoint if left out. It should not
        be zero everywhere, nor prescribed at a boundary with another value than zero
    tolerance : see `Trial`

    Returns
    -------
    Trial
    """
    before = on_rank_0(lambda: _hashes(start.folder), comm)
    first = model.run(start, times[0], folder / "first", comm)
    uninterrupted = model.run(start, times[1], folder / "uninterrupted", comm)
    later = model.run(first.restart, times[1], folder / "later", comm)
    fields = first.state.fields
    scalars = [name for name in sorted(fields) if fields[name].components == 1]
    name = field or scalars[0]
    edit = fields[name].replaced(1.5 * fields[name].values)
    restart = model.simulation.write_restart(first.restart, folder / "restart", comm, {name: edit})
    edited = model.run(restart, times[1], folder / "edited", comm)
    return Trial(model, start, times, folder, comm, tolerance, first, uninterrupted, later, edit, edited, before)


def arrives(trial: Trial) -> None:
    """Each forecast ends with the first step that reaches its time, and gives state, checkpoint, folder and seconds."""
    for name, until in (("first", trial.times[0]), ("uninterrupted", trial.times[1]), ("later", trial.times[1])):
        forecast = getattr(trial, name)
        step = forecast.restart.timestep
        time = forecast.state.time
        assert has_arrived(time, until, step), f"{name}: at {time:g} s, {until:g} s was asked for"
        assert abs(forecast.restart.time - time) <= NEAR * step, (
            f"{name}: its checkpoint is of {forecast.restart.time:g} s"
        )
        assert set(forecast.state.fields) == set(forecast.restart.fields), (
            f"{name}: state and checkpoint differ in fields"
        )
        assert Path(forecast.folder).samefile(trial.folder / name), f"{name}: its folder is {forecast.folder}"
        assert forecast.seconds > 0.0, f"{name}: took {forecast.seconds} s"
        for field in forecast.state.fields.values():
            assert _everywhere(np.isfinite(field.values).all(), trial.comm), f"{name}: {field.name} is not finite"


def leaves_a_checkpoint(trial: Trial) -> None:
    """The checkpoint holds the state's values, in the files that its options name."""
    for forecast in (trial.first, trial.uninterrupted):
        _same(trial.model.simulation.read_fields(forecast.restart, trial.comm), forecast.state, trial, "the checkpoint")


def leaves_dumps(trial: Trial) -> None:
    """Dumps lie in the folder from the start's time to the state's: readings within a window are compared with them."""
    with trial.model.simulation.open_series(trial.later.folder, trial.comm) as dumps:
        began, ended = dumps.times[0], dumps.times[-1]
        step = trial.first.restart.timestep
        assert abs(began - trial.first.state.time) <= NEAR * step, f"the first dump is of {began:g} s"
        assert ended == trial.later.state.time, (
            f"the last dump is of {ended:g} s, the state {trial.later.state.time:g} s"
        )
        last = dumps.read(len(dumps) - 1)
    _same(last, _dumped(trial.later.state, last, trial), trial, "the last dump")


def repeats_the_uninterrupted_run(trial: Trial) -> None:
    """Stopped and restarted on the way, it ends as it does without a stop."""
    assert trial.uninterrupted.state.time == trial.later.state.time
    _same(trial.later.state, trial.uninterrupted.state, trial, "the restarted run")


def goes_on_from_an_edited_restart(trial: Trial) -> None:
    """The model begins with what was changed in the checkpoint; all else is as it was."""
    with trial.model.simulation.open_series(trial.edited.folder, trial.comm) as dumps:
        began = dumps.read(0)
    expected = State(began.time, {**trial.first.state.fields, trial.edit.name: trial.edit})
    _same(began, _dumped(expected, began, trial), trial, "the first dump after an edit")
    name = trial.edit.name
    moved = trial.edited.state[name].values != trial.later.state[name].values
    assert not _everywhere(not moved.any(), trial.comm), f"the edit of {name} made no difference"


def leaves_its_start_alone(trial: Trial) -> None:
    """The files of a start are never written to."""
    after = on_rank_0(lambda: _hashes(trial.start.folder), trial.comm)
    changed = [name for name in trial.before if after.get(name) != trial.before[name]]
    assert not changed, f"the model changed {changed[0]} of its start"


def keeps_its_names(trial: Trial) -> None:
    """Names do not grow with every restart: a cycle has hundreds of them."""
    names = {forecast.restart.name for forecast in (trial.first, trial.later, trial.edited)}
    assert len(names) == 1, f"the simulation is named {sorted(names)}"
    later = on_rank_0(lambda: sorted(_hashes(trial.later.folder)), trial.comm)
    edited = on_rank_0(lambda: sorted(_hashes(trial.edited.folder)), trial.comm)
    assert later == edited, f"files are named by what a run started from: {sorted(set(later) ^ set(edited))}"


def refuses_what_cannot_be(trial: Trial) -> None:
    """A folder that is there, and a time that is not ahead, are errors before anything runs, on every rank."""
    _refused(FileExistsError, trial, trial.times[0], trial.first.folder)
    folder = trial.folder / "not ahead"
    _refused(ModelError, trial, trial.start.time, folder)
    assert not on_rank_0(folder.exists, trial.comm), "a folder was made for a run that cannot be"


PROMISES = (
    arrives,
    leaves_a_checkpoint,
    leaves_dumps,
    repeats_the_uninterrupted_run,
    goes_on_from_an_edited_restart,
    leaves_its_start_alone,
    keeps_its_names,
    refuses_what_cannot_be,
)


def _refused(error, trial, until, folder):
    try:
        trial.model.run(trial.start, until, folder, trial.comm)
    except error:
        return
    raise AssertionError(f"a run until {until:g} s in {folder} was not refused; {error.__name__} was expected")


def _dumped(state, dump, trial):
    """The fields of a state that are in its dump, which may leave some out, but not what is analysed."""
    assert trial.edit.name in dump.fields, f"dumps lack {trial.edit.name}; they have {sorted(dump.fields)}"
    return State(state.time, {name: field for name, field in state.fields.items() if name in dump.fields})


def _same(state: State, expected: State, trial: Trial, what: str) -> None:
    """Every field of `expected` has the same values in `state`, which may have more fields."""
    for name, field in expected.fields.items():
        assert name in state.fields, f"{what} lacks {name}; it has {sorted(state.fields)}"
        values, wanted = _at_corners(state[name]), _at_corners(field)
        assert _everywhere(values.shape == wanted.shape, trial.comm), f"{what} has other cells for {name}"
        largest = trial.comm.allreduce(float(np.abs(wanted).max(initial=0.0)), MPI.MAX)
        off = trial.comm.allreduce(float(np.abs(values - wanted).max(initial=0.0)), MPI.MAX)
        assert off <= trial.tolerance * largest, (
            f"{what}: {name} is off by {off:.3g}, its largest value is {largest:.3g}"
        )


def _at_corners(field):
    """Values that can be compared between continuous and discontinuous files of a mesh, and of other degrees."""
    if field.location == "cell":
        return field.values
    return field.values[field.mesh.cells[:, : field.mesh.shape.n_corners]]


def _everywhere(here, comm):
    return comm.allreduce(bool(here), MPI.LAND)


def _hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
