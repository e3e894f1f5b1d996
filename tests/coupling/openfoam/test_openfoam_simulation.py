"""OpenFOAM's bundle: a restart is found again by its path, and files of states are told from what stays."""

from pathlib import Path

import pytest
from openfoam import CASE, small_case

from coupling.openfoam.simulation import OPENFOAM


def test_a_restart_is_opened_by_its_own_path_at_its_time(tmp_path):
    case = small_case(tmp_path / "case")
    latest = OPENFOAM.open_restart(case)
    first = OPENFOAM.open_restart(case / "0")
    assert latest.time == 2.0 and first.time == 0.0
    for restart in (latest, first):
        assert OPENFOAM.open_restart(restart.path) == restart


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("0001/forecast/2/U", True), ("0001/forecast/2/uniform/time", True),
        ("0001/analysis/processor0/2.5/T.gz", True),
        ("0001/forecast/constant/polyMesh/points", True), ("0001/forecast/log.solver", False),
        ("0001/forecast/system/controlDict", False), ("0001/forecast/postProcessing/probes/2/T", False),
        ("0001/forecast/constant/transportProperties", False), ("0001/analysis/manifest.json", False),
    ],
)  # fmt: skip
def test_files_of_states_are_told_from_those_that_stay(name, state):
    assert OPENFOAM.holds_states(Path("/run") / name) == state


def test_the_number_of_a_parameter_is_read_where_its_path_points():
    start = OPENFOAM.open_restart(CASE)
    text = (CASE / "constant/transportProperties").read_text()
    nu = float(text.partition("nu ")[2].partition(";")[0].split()[-1])
    assert OPENFOAM.number_at(start, "constant/transportProperties:nu") == nu
