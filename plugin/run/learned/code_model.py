"""A state on the mesh and its code, a step later.

With f and g of a network, F the dynamics of its codes, P and Q between mesh and grid, x a state and z its code,

    z' = F(z),    x' = x + Q [ g(z') − g(z) − (1 − ρ) (P x − g(z)) ].

Only a change comes back from the grid, as in an analysis: what the code does not hold of a state, P x − g(z), and what
the grid does not see of it stay as they are. With ρ < 1 the first of the two falls by that factor in each step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0, refuse_together
from coupling.geometry.grid import Grid
from coupling.geometry.interpolation import fluid_points
from coupling.geometry.mesh import State
from da.window.dynamics import CodeDynamics
from models.decoder import DecoderError, ParallelDecoder, decodes, parallel_decoder
from models.files import AUTOENCODER, ModelFileError, load, load_arrays
from models.inference import fast_passes
from plugin.state.transfer import Transfer, variables_of


@dataclass(frozen=True)
class CodeModel:
    """What a step needs.

    transfer : Transfer between mesh and the network's grid
    decoder : ParallelDecoder
    mean : (n_local,) of the training states, in the state's units
    dynamics : F
    rest : ρ, part of what the code does not hold that is left after a step
    """

    transfer: Transfer
    decoder: ParallelDecoder
    mean: np.ndarray
    dynamics: CodeDynamics
    rest: float

    def code_of(self, state: State) -> np.ndarray:
        """f(P x): (m,) on every rank. Collective."""
        return self.decoder.encode(self.transfer.to_grid(state) - self.mean)

    def forecast(self, state: State, code: np.ndarray, times: Sequence[float]) -> Iterator[tuple[State, np.ndarray]]:
        """States and their codes at the ends of successive steps. Collective.

        state : to begin with; fields that are not the network's stay as they are
        code : (m,) of it
        times : of the steps' ends [s]

        DecoderError on every rank if a code is no longer finite
        """
        decoded = self.decoder.apply(code)
        for time in times:
            code = self.dynamics.step(code)
            if not np.all(np.abs(code) < np.finfo(self.decoder.dtype).max):
                raise DecoderError(f"the dynamics came to codes at {time:g} s that are not finite")
            later = self.decoder.apply(code)
            change = later - decoded
            if self.rest < 1.0:
                change -= (1.0 - self.rest) * (self.transfer.to_grid(state) - self.mean - decoded)
            state, decoded = State(time, {**state.fields, **self.transfer.added(state, change)}), later
            yield state, code


def code_model(
    network: Path, name: str | None, dynamics: CodeDynamics, rest: float, state: State, comm: MPI.Comm
) -> CodeModel:
    """A network and dynamics of its codes, made ready for states on a mesh. Collective.

    Parameters
    ----------
    network : file of an autoencoder
    name : of the network where it is a user's own, as its file must have it; None for one of the zoo
    dynamics, rest : as in `CodeModel`
    state : on the mesh
    comm : MPI communicator

    Raises
    ------
    ModelFileError
        on every rank, if the file is broken, or the network was made for another geometry
    MeshError
        if the state lacks one of the network's variables
    """
    model, facts, problem = None, None, None
    if decodes(comm):
        try:
            model, about = load(network, None if name is None else {"name": name}, AUTOENCODER)
            facts = about["variables"], _grid(about["grid"], np.asarray(model.mask))
        except (OSError, ValueError, KeyError, TypeError) as error:
            problem = str(error) if isinstance(error, ModelFileError) else f"{network}: is damaged: {error!r}"
    refuse_together(problem, comm, ModelFileError)
    names, grid = comm.bcast(facts, root=0)
    transfer = Transfer(grid, variables_of(names, state), comm)
    mesh = state[transfer.variables[0].field].mesh
    if not np.array_equal(fluid_points(grid, mesh, comm), grid.fluid_points):
        raise ModelFileError(
            f"{network}: the network was made for another geometry: other points of its grid lie in the air of this "
            "mesh; train one with states of this mesh"
        )
    n = grid.n_points * len(names)
    shapes: dict[str, tuple[int | None, ...]] = {"mean": (n,), "scale": (n,)}
    arrays = on_rank_0(lambda: load_arrays(network, tuple(shapes), shapes), comm)
    rows = grid.rows(comm)
    mine = slice(rows.start * len(names), rows.stop * len(names))
    decoder = parallel_decoder(model, arrays["scale"][mine], comm, faster=fast_passes)
    return CodeModel(transfer, decoder, np.asarray(arrays["mean"][mine]), dynamics, rest)


def _grid(about: dict[str, Any], mask: np.ndarray) -> Grid:
    origin, spacing, shape = (tuple(about[name]) for name in ("origin", "spacing", "shape"))
    return Grid(origin, spacing, shape, mask.reshape(shape) > 0, about.get("reconstruction", "constant"))
