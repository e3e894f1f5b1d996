"""What all windows of an ensemble's run share: the space of the analysis, the gates and the background's modes."""

from collections.abc import Callable
from dataclasses import dataclass

from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.simulation.simulation import Restart, Simulation
from plugin.case.configuration import ConfigurationError, CycleCase
from plugin.ensemble.parameters import Parameters, check_targets, parameters_of
from plugin.run.drivers import simulation_of
from plugin.state.grid import make_grid_of
from plugin.state.transfer import Transfer, variables_of
from plugin.window.background.latent import Latent, read_latent
from plugin.window.background.of_case import Background, background, close_all, plan_of, states_of
from plugin.window.gates.apply import Gates, make_gates


@dataclass(frozen=True)
class Setting:
    """What all windows share.

    simulation : whose restarts the model takes and leaves
    transfer : between meshes and the grid
    gates : Gates
    background : modes and what is made of them; None where nothing asks for them
    parameters : the unknown numbers of the model, which may be none
    latent : the network through which members are analysed; None where the method is another
    """

    simulation: Simulation
    transfer: Transfer
    gates: Gates
    background: Background | None
    parameters: Parameters
    latent: Latent | None = None


def method_of(case: CycleCase) -> str:
    """Name of the analysis' method: as the case has it, or else by whether it localises."""
    return case.analysis.method or ("etkf" if case.background.localisation is None else "letkf")


def make_setting(case: CycleCase, first: Restart, begins: bool, comm: MPI.Comm, said: Callable[[str], None]) -> Setting:
    """The Setting of a case. Collective.

    Parameters
    ----------
    case : CycleCase with an ensemble
    first : what the run starts from
    begins : whether members are to be made, which may need modes
    comm : MPI communicator
    said : as in `plugin.window.background.of_case.background`

    Raises
    ------
    ConfigurationError
        if the modes cannot be made, the network's file is of another case, the model's options have no place for a
        parameter, or neither the start nor earlier states have the fields that are analysed
    FileError, MeshError
        if states cannot be read, lack a variable, or do not fit the grid
    """
    assert case.ensemble is not None
    simulation = simulation_of(case.model)
    boundary = simulation.boundary
    parameters = parameters_of(case.parameters, first.time, case.cycle.window)
    on_rank_0(lambda: check_targets(parameters, first, simulation), comm)
    modes = (begins and case.ensemble.start.source == "modes") or method_of(case) == "hybrid"
    if modes or case.background.variables:  # anamorphoses may be made of the states
        made = background(case, comm, case.run / "cache", said)
        transfer, gates = made.transfer, make_gates(case.gates, made.transfer, boundary)
        return Setting(simulation, transfer, gates, made, parameters, _latent(case, transfer, comm))
    transfer = _transfer(case, first, simulation, comm)
    return Setting(
        simulation,
        transfer,
        make_gates(case.gates, transfer, boundary),
        None,
        parameters,
        _latent(case, transfer, comm),
    )


def _latent(case: CycleCase, transfer: Transfer, comm: MPI.Comm) -> Latent | None:
    """The network of a method that has one. Collective."""
    return read_latent(case, transfer, comm) if method_of(case) == "latent" else None


def _transfer(case: CycleCase, first: Restart, simulation: Simulation, comm: MPI.Comm) -> Transfer:
    """Between meshes and the grid, without modes. Collective."""
    if case.background.snapshots:
        plan = plan_of(case.background.snapshots, comm)
        state = next(states_of(case, plan))
        close_all(plan)
    elif first.fields:
        state = simulation.read_fields(first, comm)
    else:
        raise ConfigurationError(
            f"model.start: {first.path} is a cold start, whose fields are in no file; name earlier states "
            "(background.snapshots), on whose mesh the grid is laid, or start from a checkpoint"
        )
    cache = case.run / "cache"
    mesh = next(iter(state.fields.values())).mesh
    grid = make_grid_of(case, mesh, comm, cache)
    return Transfer(grid, variables_of(case.variables, state), comm, cache)
