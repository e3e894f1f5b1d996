"""From the case's `background.variables` to anamorphoses of its variables."""

from typing import Any

import numpy as np

from da.background.anamorphosis import Anamorphosis, Logarithm, SquareRoot, normal_score
from plugin.case.anamorphosis import VariableSection, check_names, section_of
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError
from plugin.state.transfer import Transfer

_PART = 1e-3  # of the standard deviation: the offset
SAMPLE = 200_000  # values that ranks and standard deviations are taken from


def check_variables(settings: BackgroundSection, transfer: Transfer) -> None:
    """ConfigurationError if a name in `variables` is of no variable that is analysed."""
    try:
        check_names(settings.variables, [v.name for v in transfer.variables])
    except ValueError as error:
        raise ConfigurationError(f"background.{error}") from error


def asked_for(settings: BackgroundSection, transfer: Transfer) -> dict[str, Any]:
    """{variable: what the case asks for}, for the file of modes; without an anamorphosis a variable is not in it."""
    sections = {v.name: section_of(settings.variables, v.name) for v in transfer.variables}
    return {name: of.model_dump(mode="json") for name, of in sections.items() if of is not None}


def make_anamorphoses(
    settings: BackgroundSection, transfer: Transfer, snapshots: np.ndarray
) -> dict[str, Anamorphosis]:
    """{name of a variable: Anamorphosis}, from the snapshots where the case leaves it to them. Collective.

    snapshots : (n_local, S) on the grid, in the variables' units

    Raises
    ------
    ConfigurationError
        if a variable's snapshots give none
    """
    made = {}
    for column, v in enumerate(transfer.variables):
        if (of := section_of(settings.variables, v.name)) is not None:
            try:
                made[v.name] = anamorphosis_of(of, _sample(snapshots, transfer, column))
            except ValueError as error:
                raise ConfigurationError(f"background.variables.{v.name}: {error}") from error
    return made


def anamorphosis_of(of: VariableSection, sample: np.ndarray) -> Anamorphosis:
    """The anamorphosis that a case asks for; ValueError if a sample of the variable's values gives none."""
    lower = -np.inf if of.lower is None else of.lower
    offset = of.offset
    if offset is None:
        offset = _PART * float(np.std(np.maximum(sample, lower)))
        if offset == 0.0:
            bound = "" if of.lower is None else f" above lower: {of.lower:g}"
            raise ValueError(f"does not vary in the snapshots{bound}; leave it out, or give another bound")
    if of.anamorphosis == "quantile":
        return normal_score(sample, lower, offset)
    return {"sqrt": SquareRoot, "log": Logarithm}[of.anamorphosis](lower, offset)


def _sample(snapshots: np.ndarray, transfer: Transfer, column: int) -> np.ndarray:
    """Values of a variable at points all over the air, the same on every rank and on any number of them. Collective."""
    grid, comm, width = transfer.grid, transfer.comm, len(transfer.variables)
    fluid = np.flatnonzero(grid.fluid_points)
    points = fluid[:: max(1, -(-len(fluid) * snapshots.shape[1] // SAMPLE))]
    rows = grid.rows(comm)
    mine = points[(points >= rows.start) & (points < rows.stop)] - rows.start
    return np.concatenate(comm.allgather(np.asarray(snapshots[mine * width + column]))).ravel()
