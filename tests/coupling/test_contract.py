"""The contract of forecast models: a good model keeps it, and each promise fails for a model that breaks it."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mpi4py import MPI
from places import DATA

from coupling import contract
from coupling.common.files import whole_folder
from coupling.contract import PROMISES, make_trial
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart, read_fields, write_restart
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.mesh import State
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import ModelError
from coupling.simulation.simulation import Simulation
from coupling.vtk.dumps import write_dump

COMM = MPI.COMM_SELF


@dataclass
class Fading:
    """A model in which everything fades, and what is wrong with it."""

    defect: str = ""
    runs: int = 0
    simulation: Simulation = FLUIDITY

    def run(self, start, until, folder, comm):
        self.runs += 1
        steps = math.ceil((until - start.time) / start.timestep - 1e-3)
        if steps < 1 and self.defect != "any time":
            raise ModelError("not ahead")
        if self.defect == "any folder" and Path(folder).exists():
            return None
        if self.defect == "stops early":
            steps -= 1
        if self.defect == "writes to its start":
            (start.folder / f"{start.name}.stat").write_text(f"{self.runs}")
            (start.options).write_bytes(start.options.read_bytes() + b"\n")
        first = read_fields(start, comm)
        if self.defect == "forgets edits":
            first = State(first.time, {name: of.replaced(0.0 * of.values + 1.0) for name, of in first.fields.items()})
        left = 0.5 + (0.01 * self.runs if self.defect == "never the same" else 0.0)
        fields = {name: of.replaced(left**steps * of.values) for name, of in first.fields.items()}
        last = State(first.time + steps * start.timestep, fields)
        with whole_folder(Path(folder), comm) as beside:
            for number, state in enumerate((first, last)):
                if self.defect != "no last dump" or number == 0:
                    write_dump(_tracer_alone(state), beside / f"fading_{number}", comm)
            written = fields if self.defect != "another checkpoint" else first.fields
            write_restart(
                start, beside / "checkpoint", comm, written, edit=lambda tree: self._told(tree, start, last.time)
            )
        return Forecast(open_restart(Path(folder) / "checkpoint/restart.flml"), last, Path(folder), 1.0)

    def _told(self, tree, start, time):
        flml.set_option(tree, "timestepping/current_time", float(time))
        if self.defect == "names grow":
            flml.set_option(tree, "simulation_name", f"{start.name}_again")


def _tracer_alone(state):
    return State(state.time, {"Tracer": state["Tracer"]})


def trial(folder, data, defect=""):
    options = data / "adaptive" / "mini_3_checkpoint.flml"
    start = write_restart(open_restart(options), folder / "start", COMM)
    times = start.time + start.timestep, start.time + 2 * start.timestep
    return make_trial(Fading(defect), start, times, folder, COMM, field="Tracer")


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    data = DATA
    return trial(tmp_path_factory.mktemp("good"), data)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_a_good_model_keeps_it(promise, good):
    promise(good)


@pytest.mark.parametrize(
    ("promise", "defect"),
    [
        ("arrives", "stops early"),
        ("leaves_a_checkpoint", "another checkpoint"),
        ("leaves_dumps", "no last dump"),
        ("repeats_the_uninterrupted_run", "never the same"),
        ("goes_on_from_an_edited_restart", "forgets edits"),
        ("leaves_its_start_alone", "writes to its start"),
        ("keeps_its_names", "names grow"),
        ("refuses_what_cannot_be", "any folder"),
        ("refuses_what_cannot_be", "any time"),
    ],
)
def test_a_broken_promise_fails(promise, defect, fluidity_data, tmp_path):
    with pytest.raises(AssertionError):
        getattr(contract, promise)(trial(tmp_path, fluidity_data, defect))


def test_a_tolerance_is_of_the_largest_value(good):
    off = {name: of.replaced(of.values * (1.0 + 1e-9)) for name, of in good.later.state.fields.items()}
    moved = replace(good, later=replace(good.later, state=State(good.later.state.time, off)))
    with pytest.raises(AssertionError, match="the restarted run: .* is off by"):
        contract.repeats_the_uninterrupted_run(moved)
    contract.repeats_the_uninterrupted_run(replace(moved, tolerance=1e-8))
