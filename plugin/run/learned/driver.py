"""The driver of learned dynamics: from a restart of a simulation to a later one, without running the simulation.

Its restarts are those of the simulation that it stands in for, which can go on from them, and the other way round. The
fields that the network knows are advanced; all others stay as they are.

FOLDER/NAME_k.vtu           the network's fields after k steps, in pieces NAME_k.pvtu
FOLDER/restart/             the restart at the end
FOLDER/restart/codes.json   the code there, see :mod:`plugin.run.learned.carried_codes`
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.common.files import FileError, file_hash, whole_folder
from coupling.geometry.mesh import Field, MeshError, State, of_elements
from coupling.simulation.endings import NEAR, check_finite, has_arrived, is_ahead
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import ModelError
from coupling.simulation.simulation import Restart, Simulation, WriteLater
from coupling.vtk.dumps import write_dump
from da.window.dynamics import CodeDynamics
from models.decoder import DecoderError
from models.dynamics.files import load_dynamics
from models.dynamics.linear import LinearDynamics
from models.files import ModelFileError
from plugin.case.configuration import ConfigurationError
from plugin.case.network import LearnedSection
from plugin.run.learned.carried_codes import keep_code, kept_code
from plugin.run.learned.code_model import CodeModel, code_model


@dataclass(frozen=True)
class LearnedModel:
    """A forecast model, see :class:`coupling.simulation.forecast.ForecastModel`; made by `learned_model`.

    simulation : Simulation whose restarts it takes and leaves
    settings : LearnedSection
    dynamics : F
    step : s, of F
    fingerprint : hash of the file of the dynamics
    """

    simulation: Simulation
    settings: LearnedSection
    dynamics: CodeDynamics
    step: float
    fingerprint: str
    _ready: dict[int, CodeModel] = field(default_factory=dict, repr=False)

    def run(self, start: Restart, until: float, folder: Path, comm: MPI.Comm) -> Forecast:
        """See `ForecastModel`. It computes on the ranks of `comm` itself."""
        began, folder = time.perf_counter(), Path(folder).absolute()
        times = self._times(start, until)
        if on_rank_0(folder.exists, comm):
            raise FileExistsError(f"{folder} is there already; remove it or choose another folder")
        files = self.simulation.restart_files
        try:
            state = self.simulation.read_fields(start, comm)
            model = self._model(state, start, comm)
            code = on_rank_0(
                lambda: kept_code(start.folder, files(start), self.fingerprint, model.decoder.n_latent), comm
            )
            code = model.code_of(state) if code is None else code
            with whole_folder(folder, comm) as beside:
                self._dump(state, model, beside / f"{start.name}_0", comm)
                for number, reached in enumerate(model.forecast(state, code, times), 1):
                    state, code = reached
                    self._dump(state, model, beside / f"{start.name}_{number}", comm)
                check_finite(state.fields, comm, lambda: f"; {self.settings.dynamics} led there from {start.path}")
                changes = {name: state[name] for name in model.transfer.field_names}
                inside = self._write_later(start, beside / "restart", comm, changes, state.time)
                on_rank_0(lambda: keep_code(inside.folder, code, files(inside), self.fingerprint), comm)
        except (ModelFileError, DecoderError, MeshError) as error:
            raise ModelError(f"the learned model cannot go on from {start.path}: {error}") from error
        restart = self.simulation.open_restart(folder / inside.path.relative_to(beside))
        return Forecast(restart, state, folder, time.perf_counter() - began)

    @property
    def _write_later(self) -> WriteLater:
        assert self.simulation.write_later is not None  # `learned_model` has refused others
        return self.simulation.write_later

    def _times(self, start: Restart, until: float) -> list[float]:
        """The ends of the steps [s]."""
        if not is_ahead(until, start.time, start.timestep):
            raise ModelError(f"asked to run until {until:g} s from {start.path}, which is at {start.time:g} s already")
        count = math.ceil((until - start.time - NEAR * start.timestep) / self.step)
        times = [start.time + k * self.step for k in range(1, count + 1)]
        if not has_arrived(times[-1], until, start.timestep):
            raise ModelError(
                f"{self.settings.dynamics}: has steps of {self.step:g} s, which lead from {start.time:g} s to "
                f"{times[-1]:g} s, and not to {until:g} s; give windows that are multiples of its step"
            )
        return times

    def _model(self, state: State, start: Restart, comm: MPI.Comm) -> CodeModel:
        """The network, read once. Collective."""
        if not state.fields:
            raise FileError(f"{start.path}: has no fields, a learned model begins with a checkpoint")
        key = comm.py2f()
        if key not in self._ready:
            of = self.settings
            self._ready[key] = code_model(of.network, of.name, self.dynamics, of.rest, state, comm)
        return self._ready[key]

    def _dump(self, state: State, model: CodeModel, path: Path, comm: MPI.Comm) -> None:
        fields = {name: state[name] for name in model.transfer.field_names}
        write_dump(State(state.time, on_one_mesh(fields)), path, comm)


def on_one_mesh(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Fields on the mesh with the most nodes, whose cells must be those of the others' meshes in the same order.

    A continuous field goes to a discontinuous mesh as it is at the corners of its cells.

    MeshError if the cells are others
    """
    meshes = {of.mesh.fingerprint: of_elements(of.mesh, "a dump") for of in fields.values()}
    finest = max(meshes.values(), key=lambda mesh: mesh.n_nodes)
    result = {}
    for name, of in fields.items():
        mesh, values = meshes[of.mesh.fingerprint], of.values
        if mesh.shape is not finest.shape or mesh.cells.shape != finest.cells.shape:
            raise MeshError(f"{name} is on other cells than the rest; a dump holds fields on one mesh")
        if mesh is not finest and of.location == "point":
            values = np.zeros((finest.n_nodes, *of.values.shape[1:]))
            values[finest.cells] = of.values[mesh.cells]
        result[name] = Field(name, finest, values, of.location)
    return result


def learned_model(settings: LearnedSection, simulation: Simulation) -> LearnedModel:
    """The driver that a case asks for.

    Raises
    ------
    ConfigurationError
        if the files of network and dynamics are not there or do not belong together, the dynamics have a memory, or
        the simulation's restarts cannot be written by another program
    """
    if simulation.write_later is None:
        raise ConfigurationError(
            f"model.learned.of: a restart of {simulation.name} is written by its own program alone; give fluidity, or "
            "a driver whose simulation has write_later"
        )
    try:
        expected = {"network": file_hash(settings.network)}
        dynamics, about = load_dynamics(settings.dynamics, expected)
        step = float(about["step"])
    except OSError as error:
        raise ConfigurationError(f"model.learned.network: {settings.network}: {error.strerror}") from error
    except ModelFileError as error:
        raise ConfigurationError(f"model.learned.dynamics: {error}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(
            f"model.learned.dynamics: {settings.dynamics}: does not say its step; train it by plugin.train --dynamics"
        ) from error
    if not (isinstance(dynamics, LinearDynamics) or dynamics.n_memory == 0):
        raise ConfigurationError(
            f"model.learned.dynamics: {settings.dynamics}: is recurrent, and a restart holds no memory of earlier "
            "states; train with kind: linear or residual"
        )
    return LearnedModel(simulation, settings, dynamics, step, file_hash(settings.dynamics))
