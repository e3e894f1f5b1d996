"""One analysis: a forecast and its readings in, changed fields and what is to be told of them out."""

import csv
from dataclasses import dataclass

import numpy as np

from coupling.files import whole_file
from coupling.mesh import Field
from da.analysis import Analysis, analyse
from da.observation_error import diagonal_error
from da.operator import ObservationOperator


@dataclass(frozen=True)
class Assimilated:
    """What an analysis leaves.

    changes : {field name: Field}, background plus increment
    analysis : Analysis
    table : one dict per reading: where, what, innovation and residual, or why it was left out
    """

    changes: dict[str, Field]
    analysis: Analysis
    table: list[dict]


def assimilate(background, state, readings, comm, minimiser):
    """Find the analysis of one state. Collective.

    Parameters
    ----------
    background : Background
    state : State, the forecast
    readings : Observations of its time, at least one
    comm : MPI communicator
    minimiser : MinimiserSection

    Returns
    -------
    Assimilated; None if no reading lies inside the model's air
    """
    transfer = background.transfer
    sampled = transfer.sample(state, readings.position, readings.variable)
    if not sampled.inside.any():
        return None
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
    """Write readings with their innovations and residuals as CSV, whole or not at all."""
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
