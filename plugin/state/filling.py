"""States between the states of a series, field by field, learned from runs that have states between."""

from collections.abc import Callable, Sequence

import numpy as np
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.geometry.mesh import Field, State
from coupling.simulation.simulation import Series
from da.window.between import Bridge, learned_bridge

_SAME = 1e-3  # of a step: times this near are the same


def steps_between(times: np.ndarray, runs: Sequence[np.ndarray]) -> tuple[int, float]:
    """How many steps of the runs lie from one state to the next, and a step [s].

    times : of the states, rising [s]; runs : times of the states of each run

    FileError if the runs' states are not evenly spaced, or the others are no such number apart
    """
    apart = np.concatenate([np.diff(of) for of in runs])
    if len(apart) == 0:
        raise FileError("the runs to learn from have one state each; give series")
    step = float(np.median(apart))
    if np.any(np.abs(apart - step) > _SAME * step):
        raise FileError(
            f"the runs to learn from have states {apart.min():g} … {apart.max():g} s apart; expected one step in all"
        )
    gaps = np.diff(times)
    n = round(float(np.median(gaps)) / step) if len(gaps) else 0
    if n < 2 or np.any(np.abs(gaps - n * step) > _SAME * step):
        told = f"{gaps.min():g} … {gaps.max():g} s" if len(gaps) else "no time"
        raise FileError(
            f"states to fill between are {told} apart, those to learn from {step:g} s; expected the same multiple "
            "of that everywhere, 2 or more"
        )
    return n, step


def learned_bridges(
    runs: Sequence[Series], first: State, n: int, comm: MPI.Comm, said: Callable[[str], None] = lambda text: None
) -> dict[str, Bridge]:
    """{field: Bridge} of the fields of a state. Collective; all states of the runs come into memory, each rank's rows.

    FileError if runs lack a field, are on another mesh, or too short
    """
    columns: dict[str, list[np.ndarray]] = {name: [] for name in first.fields}
    numbers, begun = [], 0
    for run in runs:
        for step in range(len(run)):
            state = run.read(step, list(columns))
            for name, rows in columns.items():
                if state[name].mesh.fingerprint != first[name].mesh.fingerprint:
                    raise FileError(f"{name} at {state.time:g} s of a run to learn from is on another mesh")
                rows.append(state[name].values.ravel())
        numbers.append(np.arange(begun, begun + len(run)))
        begun += len(run)
    bridges = {}
    for name in first.fields:
        try:
            made = bridges[name] = learned_bridge(np.stack(columns.pop(name), axis=1), numbers, n, comm)
        except ValueError as error:
            raise FileError(f"{name}: {error}") from error
        said(
            f"{name}: {made.modes.shape[1]} modes, ridge {made.ridge:g}; error of the last states "
            f"{made.errors[1]:.4g}, by linear interpolation {made.errors[0]:.4g}"
        )
    return bridges


def states_between(before: State, after: State, bridges: dict[str, Bridge], comm: MPI.Comm) -> list[State]:
    """The states between two that follow each other. Collective; FileError if they are on different meshes."""
    n = len(next(iter(bridges.values())).weights) + 1
    made: list[dict[str, Field]] = [{} for _ in range(1, n)]
    for name, bridge in bridges.items():
        early, late = before[name], after[name]
        if early.mesh.fingerprint != late.mesh.fingerprint:
            raise FileError(f"{name}: the mesh changes between {before.time:g} and {after.time:g} s")
        for fields, values in zip(made, bridge.between(early.values.ravel(), late.values.ravel(), comm), strict=True):
            fields[name] = early.replaced(values.reshape(early.values.shape))
    return [State(before.time + k / n * (after.time - before.time), fields) for k, fields in enumerate(made, 1)]
