"""A small case for `plugin.verify` and `plugin.sensors`."""

import pytest
from cycle_case import COMM, IN_A_BUILDING, SENSORS, WINDOW, values_at, write_case, write_readings, write_settings

from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import embedded_model
from coupling.vtk.vtu import read_state


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A cold start, dumps and a checkpoint of an earlier run, and readings of tracer, wind and its speed."""
    folder = tmp_path_factory.mktemp("verified")
    write_case(folder / "start-1")
    model, steps = embedded_model(timeout=60), 3 * WINDOW
    model.run(open_restart(write_case(folder / "before", speed=1.1, y=30.0)), steps, folder / "training/0", COMM)
    state, rows = read_state(folder / "training/0/case_4.vtu", COMM), []
    for variable, error in (("Tracer", 0.2), ("Velocity.x", 0.05)):
        rows += [
            (WINDOW, *place, variable, 1.1 * value + error, error)
            for place, value in zip(SENSORS, values_at(state, SENSORS, variable), strict=True)
        ]
    rows.append((WINDOW, *IN_A_BUILDING, "Tracer", 1.0, 0.1))
    write_readings(folder / "readings.csv", rows)
    write_readings(folder / "speeds.csv", [*rows, *((WINDOW, *p, "Velocity.speed", 1.0, 0.1) for p in SENSORS[:9])])
    write_readings(folder / "inside.csv", rows[-1:])
    return folder


def case_file(folder, path, **changes):
    snapshots = {"snapshots": [{"path": str(folder / "training/0")}], "truncation": 4}
    return write_settings(path / "case.yml", folder, path / "run", background=snapshots, **changes)
