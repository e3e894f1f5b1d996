"""What the cycle asks of a forecast model, as checks for the tests of a driver.

    from coupling.contract import PROMISES, make_trial

    @pytest.fixture(scope="module")
    def trial(tmp_path_factory):
        start = open_restart("case.flml")
        return make_trial(MyModel(), start, (0.5, 1.0), tmp_path_factory.mktemp("trial"), MPI.COMM_SELF)

    @pytest.mark.parametrize("promise", PROMISES)
    def test_it_keeps_its_promises(promise, trial):
        promise(trial)

A trial is four forecasts; each promise is a function of it that asserts, so that every one is told by itself. How a
model fails is no part of it: provoke that in tests of your own (:class:`coupling.simulation.forecast.ForecastModel` tells how it
is to be told).
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.archive.series import open_series
from coupling.common.collective import on_rank_0
from coupling.fluidity.checkpoint import FluidityRestart, read_fields, write_restart
from coupling.geometry.mesh import Field, State
from coupling.simulation.forecast import Forecast, ForecastModel
from coupling.simulation.launch import ModelError

_NEAR = 1e-3  # times this near, in time steps, are the same


@dataclass(frozen=True)
class Trial:
    """Forecasts of one model, and what is needed to judge them.

    model : the driver
    start, times : the restart, and the two times [s] that forecasts went to
    folder : holds the forecasts' folders first, whole, later and edited
    comm : MPI communicator
    tolerance : by which values may differ, relative to the largest; 0 asks for the same bits
    first : from `start` until the first time
    whole : from `start` until the second
    later : from `first`'s restart until the second
    edit : the field that was changed in `first`'s restart; `edited` went on from there until the second time
    before : {file: hash} of the start's folder before anything ran
    """

    model: ForecastModel
    start: FluidityRestart
    times: tuple[float, float]
    folder: Path
    comm: MPI.Comm
    tolerance: float
    first: Forecast
    whole: Forecast
    later: Forecast
    edit: Field
    edited: Forecast
    before: dict[str, str]


def make_trial(model, start, times, folder, comm, *, field=None, tolerance=0.0):
    """Run the four forecasts. Collective.

    Parameters
    ----------
    model : ForecastModel
    start : FluidityRestart, a checkpoint or a cold start
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
    whole = model.run(start, times[1], folder / "whole", comm)
    later = model.run(first.restart, times[1], folder / "later", comm)
    fields = first.state.fields
    scalars = [name for name in sorted(fields) if fields[name].components == 1]
    name = field or scalars[0]
    edit = fields[name].replaced(1.5 * fields[name].values)
    restart = write_restart(first.restart, folder / "restart", comm, {name: edit})
    edited = model.run(restart, times[1], folder / "edited", comm)
    return Trial(model, start, tuple(times), folder, comm, tolerance, first, whole, later, edit, edited, before)


def arrives(trial):
    """Each forecast ends with the first step that reaches its time, and tells state, checkpoint, folder and seconds."""
    for name, until in (("first", trial.times[0]), ("whole", trial.times[1]), ("later", trial.times[1])):
        forecast = getattr(trial, name)
        step = forecast.restart.timestep
        time = forecast.state.time
        assert until - _NEAR * step <= time < until + step, f"{name}: at {time:g} s, {until:g} s was asked for"
        assert abs(forecast.restart.time - time) <= _NEAR * step, (
            f"{name}: its checkpoint is of {forecast.restart.time:g} s"
        )
        assert set(forecast.state.fields) == set(forecast.restart.fields), (
            f"{name}: state and checkpoint differ in fields"
        )
        assert Path(forecast.folder).samefile(trial.folder / name), f"{name}: its folder is {forecast.folder}"
        assert forecast.seconds > 0.0, f"{name}: took {forecast.seconds} s"
        for of in forecast.state.fields.values():
            assert _everywhere(np.isfinite(of.values).all(), trial.comm), f"{name}: {of.name} is not finite"


def leaves_a_checkpoint(trial):
    """The checkpoint holds the state's values, in the files that its options name."""
    for forecast in (trial.first, trial.whole):
        _same(read_fields(forecast.restart, trial.comm), forecast.state, trial, "the checkpoint")


def leaves_dumps(trial):
    """Dumps lie in the folder from the start's time to the state's: readings within a window are compared with them."""
    with open_series(trial.later.folder, trial.comm) as dumps:
        began, ended = dumps.times[0], dumps.times[-1]
        step = trial.first.restart.timestep
        assert abs(began - trial.first.state.time) <= _NEAR * step, f"the first dump is of {began:g} s"
        assert ended == trial.later.state.time, (
            f"the last dump is of {ended:g} s, the state {trial.later.state.time:g} s"
        )
        last = dumps.read(len(dumps) - 1)
    _same(last, _dumped(trial.later.state, last, trial), trial, "the last dump")


def repeats_the_uninterrupted_run(trial):
    """Stopped and restarted on the way it ends as in one go."""
    assert trial.whole.state.time == trial.later.state.time
    _same(trial.later.state, trial.whole.state, trial, "the restarted run")


def goes_on_from_an_edited_restart(trial):
    """What is changed in the checkpoint is what the model begins with; all else is as it was."""
    with open_series(trial.edited.folder, trial.comm) as dumps:
        began = dumps.read(0)
    expected = State(began.time, {**trial.first.state.fields, trial.edit.name: trial.edit})
    _same(began, _dumped(expected, began, trial), trial, "the first dump after an edit")
    name = trial.edit.name
    moved = trial.edited.state[name].values != trial.later.state[name].values
    assert not _everywhere(not moved.any(), trial.comm), f"the edit of {name} made no difference"


def leaves_its_start_alone(trial):
    """The files of a start are never written to."""
    after = on_rank_0(lambda: _hashes(trial.start.folder), trial.comm)
    changed = [name for name in trial.before if after.get(name) != trial.before[name]]
    assert not changed, f"the model changed {changed[0]} of its start"


def keeps_its_names(trial):
    """Names do not grow with every restart: a cycle has hundreds of them."""
    names = {forecast.restart.name for forecast in (trial.first, trial.later, trial.edited)}
    assert len(names) == 1, f"the simulation is named {sorted(names)}"
    later, edited = (
        on_rank_0(lambda of=of: sorted(_hashes(of.folder)), trial.comm) for of in (trial.later, trial.edited)
    )
    assert later == edited, f"files are named by what a run started from: {sorted(set(later) ^ set(edited))}"


def refuses_what_cannot_be(trial):
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
    return State(state.time, {name: of for name, of in state.fields.items() if name in dump.fields})


def _same(found, expected, trial, what):
    """Every field of `expected` has the same values in `found`, which may hold more of them."""
    for name, of in expected.fields.items():
        assert name in found.fields, f"{what} lacks {name}; it has {sorted(found.fields)}"
        mine, other = _at_corners(found[name]), _at_corners(of)
        assert _everywhere(mine.shape == other.shape, trial.comm), f"{what} has other cells for {name}"
        largest = trial.comm.allreduce(float(np.abs(other).max(initial=0.0)), MPI.MAX)
        off = trial.comm.allreduce(float(np.abs(mine - other).max(initial=0.0)), MPI.MAX)
        assert off <= trial.tolerance * largest, (
            f"{what}: {name} is off by {off:.3g}, its largest value is {largest:.3g}"
        )


def _at_corners(field):
    """Values that can be compared between continuous and discontinuous files of a mesh."""
    return field.values[field.mesh.cells] if field.location == "point" else field.values


def _everywhere(here, comm):
    return comm.allreduce(bool(here), MPI.LAND)


def _hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file()
    }
