"""What the checks of a case look at: its files, each opened once however many checks ask for it."""

from dataclasses import dataclass, field
from pathlib import Path

from mpi4py import MPI

from coupling.fluidity.checkpoint import open_restart, read_fields
from plugin.case.configuration import Case
from plugin.check.finding import NotKnown
from plugin.readings.of_case import readings_of
from plugin.run.drivers import forecast_model
from plugin.state.transfer import Transfer, variables_of
from plugin.window.background import make_grid_of, plan_of, states_of

ALONE = MPI.COMM_SELF


@dataclass(frozen=True)
class Subject:
    """A case. Each property raises what is wrong with it once, and NotKnown after that.

    case : Case
    scratch : folder to write to, as visible to the model as the run's own
    """

    case: Case
    scratch: Path
    _known: dict = field(default_factory=dict, repr=False)
    _failed: set = field(default_factory=set, repr=False)

    @property
    def restart(self):
        """coupling.fluidity.checkpoint.FluidityRestart of the case's start."""
        return self._once("the model's start", lambda: open_restart(self.case.model.start))

    @property
    def plan(self):
        """[(series, step)] of the earlier states."""
        return self._once("the earlier states", lambda: plan_of(self.case.background.snapshots, ALONE))

    @property
    def earlier(self):
        """The first of the earlier states."""
        plan = self.plan
        return self._once("an earlier state", lambda: next(states_of(self.case, plan)))

    @property
    def mesh(self):
        """The mesh of the earlier states, on which the cycle lays its grid."""
        return next(iter(self.earlier.fields.values())).mesh

    @property
    def transfer(self):
        """Transfer of the case's grid and variables."""
        earlier, mesh = self.earlier, self.mesh
        return self._once("the grid", lambda: self._transfer(earlier, mesh))

    @property
    def state(self):
        """The state the case starts from, its analysed fields; an earlier one where that is in no file."""
        names, restart = self.transfer.field_names, self.restart
        if not set(names) <= set(restart.fields):
            return self.earlier
        return self._once("the state of the start", lambda: read_fields(restart, ALONE, names))

    @property
    def readings(self):
        """Observations of the case's file."""
        return self._once("the readings", lambda: readings_of(self.case))

    @property
    def trial(self):
        """Wall-clock seconds of one time step of the model, run as the cycle will run it, start-up included."""
        restart = self.restart
        return self._once("the model's time step", lambda: self._trial(restart))

    def _transfer(self, earlier, mesh):
        cache = self.case.run / "cache"
        grid = make_grid_of(self.case, mesh, ALONE, cache if cache.is_dir() else None)
        return Transfer(grid, variables_of(self.case.variables, earlier), ALONE)

    def _trial(self, start):
        until = start.time + start.timestep
        return forecast_model(self.case.model).run(start, until, self.scratch / "trial", ALONE).seconds

    def _once(self, name, make):
        if name in self._failed:
            raise NotKnown(f"{name} cannot be had, see above")
        if name not in self._known:
            try:
                self._known[name] = make()
            except Exception:
                self._failed.add(name)
                raise
        return self._known[name]
