"""One analysis: a forecast and its readings in, changed fields and what is to be told of them out."""

import csv
from dataclasses import dataclass

import numpy as np

from coupling.files import whole_file
from coupling.mesh import Field
from da.analysis import Analysis, analyse
from da.observation_error import diagonal_error
from da.operator import ObservationOperator

TABLE = ("time", "x", "y", "z", "variable", "value", "error", "innovation", "residual", "used")


@dataclass(frozen=True)
class Assimilated:
    """What an analysis leaves.

    changes : {field name: Field}, background plus increment; none where no reading lies inside the model's air
    analysis : Analysis, or None
    table : one dict per reading, its keys those of TABLE: times in s, places in m, the rest in the variable's
        units; innovation and residual are None where `used` says why it was left out
    """

    changes: dict[str, Field]
    analysis: Analysis | None
    table: list[dict]


def assimilate(background, state, readings, comm, minimiser):
    """Find the analysis of one state. Collective.

    Parameters
    ----------
    background : Background
    state : State, the forecast
    readings : Observations of its time; there may be none
    comm : MPI communicator
    minimiser : MinimiserSection

    Returns
    -------
    Assimilated

    Raises
    ------
    MeshError
        if the state lacks a field, or a reading is of something that is not analysed
    MinimisationError
        if the minimum is not found
    """
    transfer = background.transfer
    sampled = transfer.sample(state, readings.position, readings.variable)
    if not sampled.inside.any():
        nothing = np.empty(0)
        return Assimilated({}, None, _table(readings, sampled, nothing, nothing, comm))
    operator = ObservationOperator(sampled.operator)
    # rows are grouped by variable, so R and y follow the rows' own reading numbers
    order = np.concatenate(comm.allgather(sampled.reading))
    error = diagonal_error(readings.error[order], operator.rows)
    innovation = readings.value[sampled.reading] - sampled.background
    analysis = analyse(
        background.transform,
        operator,
        error,
        innovation,
        comm,
        method=minimiser.method,
        max_iterations=minimiser.max_iterations,
    )
    increments = transfer.to_mesh(state, analysis.increment)
    changes = {name: state[name].replaced(state[name].values + dx) for name, dx in increments.items()}
    residual = innovation - operator.observe(analysis.increment)
    table = _table(readings, sampled, innovation, residual, comm)
    return Assimilated(changes, analysis, table)


def _table(readings, sampled, innovation, residual, comm):
    columns = [np.concatenate(comm.allgather(part)) for part in (sampled.reading, innovation, residual)]
    told = {int(i): (float(d), float(r)) for i, d, r in zip(*columns)}
    rows = []
    for i in range(len(readings)):
        d, r = told.get(i, (None, None))
        x, y, z = readings.position[i].tolist()
        rows.append(
            {
                "time": float(readings.time[i]),
                "x": x,
                "y": y,
                "z": z,
                "variable": str(readings.variable[i]),
                "value": float(readings.value[i]),
                "error": float(readings.error[i]),
                "innovation": d,
                "residual": r,
                "used": "yes" if sampled.inside[i] else "no: outside the model's air",
            }
        )
    return rows


def write_table(path, rows):
    """Write an analysis' table as CSV, whole or not at all.

    rows : as `Assimilated.table`
    """
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=TABLE)
        table.writeheader()
        table.writerows(rows)
