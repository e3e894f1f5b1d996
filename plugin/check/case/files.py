"""The files of a case, each opened once however many checks ask for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.geometry.mesh import AnyMesh, State
from coupling.simulation.simulation import Restart, Simulation
from da.observation.observations import Observations
from plugin.case.configuration import CycleCase
from plugin.check.finding import Unavailable
from plugin.ensemble.parameters import Parameters, numbers_of, parameters_of
from plugin.readings.of_case import readings_of
from plugin.run.drivers import forecast_model, simulation_of
from plugin.state.grid import make_grid_of
from plugin.state.transfer import Transfer, variables_of
from plugin.window.background.of_case import plan_of, states_of

ALONE = MPI.COMM_SELF


class CaseFiles:
    """A case and its files. A property raises its error once, and Unavailable after that.

    case : CycleCase
    scratch : folder to write to, visible to the model like the run's own
    """

    def __init__(self, case: CycleCase, scratch: Path) -> None:
        self.case, self.scratch = case, scratch
        self.left_out: list[str] = []  # what was said of readings
        self._opened: dict[str, Any] = {}
        self._failed: set[str] = set()

    @property
    def simulation(self) -> Simulation:
        """Whose files the case's driver takes."""
        return self._once("the model's driver", lambda: simulation_of(self.case.model))

    @property
    def restart(self) -> Restart:
        """The restart the case starts from."""
        open_restart = self.simulation.open_restart
        return self._once("the model's start", lambda: open_restart(self.case.model.start))

    @property
    def parameters(self) -> Parameters:
        """The unknown numbers of the model."""
        case, restart = self.case, self.restart
        return self._once("the parameters", lambda: parameters_of(case.parameters, restart.time, case.cycle.window))

    @property
    def plan(self) -> list:
        """[(series, step)] of the earlier states."""
        return self._once("the earlier states", lambda: plan_of(self.case.background.snapshots, ALONE))

    @property
    def earlier(self) -> State:
        """The first of the earlier states; where the case names none, what it starts from."""
        if not self.case.background.snapshots:
            restart = self.restart
            return self._once("the state of the start", lambda: self.simulation.read_fields(restart, ALONE))
        plan = self.plan
        return self._once("an earlier state", lambda: next(states_of(self.case, plan)))

    @property
    def mesh(self) -> AnyMesh:
        """The mesh of the earlier states, on which the cycle lays its grid."""
        return next(iter(self.earlier.fields.values())).mesh

    @property
    def transfer(self) -> Transfer:
        """Of the case's grid and variables."""
        earlier, mesh = self.earlier, self.mesh
        return self._once("the grid", lambda: self._transfer(earlier, mesh))

    @property
    def state(self) -> State:
        """The analysed fields that the case starts from; an earlier state where these are in no file."""
        names, restart = self.transfer.field_names, self.restart
        if not set(names) <= set(restart.fields):
            return self.earlier
        return self._once("the state of the start", lambda: self.simulation.read_fields(restart, ALONE, names))

    @property
    def readings(self) -> Observations:
        """Those of the case's file."""
        return self._once("the readings", lambda: readings_of(self.case, self.left_out.append))

    @property
    def trial(self) -> float:
        """Wall-clock time of one time step of the model, run as the cycle will run it, start-up included [s]."""
        restart = self.restart
        return self._once("the model's time step", lambda: self._trial(restart))

    def _transfer(self, earlier: State, mesh: AnyMesh) -> Transfer:
        cache = self.case.run / "cache"
        grid = make_grid_of(self.case, mesh, ALONE, cache if cache.is_dir() else None)
        return Transfer(grid, variables_of(self.case.variables, earlier), ALONE)

    def _trial(self, start: Restart) -> float:
        until = start.time + start.timestep
        if len(unknown := self.parameters):  # its options may read what only members have
            middle = numbers_of(unknown, np.zeros(len(unknown)))
            start = self.simulation.write_restart(start, self.scratch / "member", ALONE, numbers=middle)
        return forecast_model(self.case.model).run(start, until, self.scratch / "trial", ALONE).seconds

    def _once(self, name: str, make: Callable[[], Any]) -> Any:
        if name in self._failed:
            raise Unavailable(f"{name} cannot be read, see above")
        if name not in self._opened:
            try:
                self._opened[name] = make()
            except Exception:
                self._failed.add(name)
                raise
        return self._opened[name]
