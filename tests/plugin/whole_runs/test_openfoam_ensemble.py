"""Members of OpenFOAM whose source and viscosity, entries of dictionaries, are unknown: a cycle, an estimate."""

import csv
import json
import re
import shutil
import signal
import subprocess

import numpy as np
import pytest
from cycle_case import COMM, ROOT, command, cycle, environment, python
from openfoam import needs_openfoam
from openfoam_loop import STRENGTH, TRUE, VISCOSITY, make_case, state_of, write_case

from coupling.openfoam.mesh import read_mesh
from coupling.openfoam.simulation import OPENFOAM
from plugin.case.configuration import ConfigurationError, read_cycle_case
from plugin.cycle import run_cycle
from plugin.run.ledger import read_ledger

MEMBERS = 4
UNKNOWN = {
    "strength": {"prior": {"lognormal": [100.0, 0.4]}, "to": {"option": STRENGTH}},
    "viscosity": {"prior": {"lognormal": [0.01, 0.2]}, "to": {"option": VISCOSITY}},
}
ENSEMBLE = {
    "ensemble": {"members": MEMBERS, "start": {"from": "restart"}},
    "analysis": {"method": "etkf"},
    "parameters": UNKNOWN,
    "cycle__windows": 2,
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """Folder of the twin experiment; its files are not to be changed."""
    needs_openfoam()
    return make_case(tmp_path_factory.mktemp("foam") / "case")


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    """A run that nothing stopped, on two ranks, two models at a time."""
    folder = tmp_path_factory.mktemp("whole")
    cycle(write_case(folder / "case.yml", case, folder / "run", **ENSEMBLE), ranks=2)
    return folder / "run"


def parameters(run):
    """{(name, window): row} of parameters.csv."""
    with open(run / "parameters.csv", newline="") as file:
        return {(row["name"], int(row["window"])): row for row in csv.DictReader(file)}


def left_by(run):
    """Ledger without clocks, tables, and the bits of all members' restarts."""
    entries = read_ledger(run / "ledger.jsonl")
    names = [member[key] for entry in entries for member in entry["members"] for key in ("forecast", "restart")]
    bits = {(n, of): x.values.tobytes() for n in names for of, x in state_of(run, n).fields.items()}
    numbers = {
        n: [OPENFOAM.number_at(OPENFOAM.open_restart(run / n), at) for at in (STRENGTH, VISCOSITY)] for n in names
    }
    return (run / "parameters.csv").read_bytes(), bits, numbers


def test_the_source_moves_to_the_truth_and_each_member_runs_with_its_own(whole):
    rows = parameters(whole)
    first, last = rows["strength", 0], rows["strength", 2]
    assert abs(float(last["mean"]) - TRUE[2]) < 0.7 * abs(float(first["mean"]) - TRUE[2])
    assert float(last["std"]) < 0.8 * float(first["std"])
    for entry in read_ledger(whole / "ledger.jsonl"):
        restarts = [OPENFOAM.open_restart(whole / member["restart"]) for member in entry["members"]]
        strengths = [OPENFOAM.number_at(restart, STRENGTH) for restart in restarts]
        assert len(set(strengths)) == MEMBERS
        row = rows["strength", entry["window"]]
        np.testing.assert_allclose(np.mean(strengths), float(row["mean"]), rtol=1e-9)
        assert json.loads((whole / f"{entry['window']:04d}/parameters.json").read_text())


def test_the_numbers_of_a_run_are_those_of_its_start(whole):
    """OpenFOAM's own copy of the dictionaries has them too, and a forecast's restart keeps them."""
    for number in range(MEMBERS):
        start = OPENFOAM.open_restart(whole / f"0001/members/{number + 1:02d}/analysis")
        ran = OPENFOAM.open_restart(whole / f"0002/members/{number + 1:02d}/forecast")
        for place in (STRENGTH, VISCOSITY):
            assert OPENFOAM.number_at(start, place) == OPENFOAM.number_at(ran, place)


def test_killed_and_resumed_it_ends_with_the_same_bits(case, whole, tmp_path):
    file, run = write_case(tmp_path / "case.yml", case, tmp_path / "run", **ENSEMBLE), tmp_path / "run"
    ended = subprocess.run(
        command(1, "-m", "plugin.cycle", file), cwd=ROOT, capture_output=True, text=True,
        env=environment() | {"FLUIDITY_DA_FAULT": "kill:member written:6"},
    )  # fmt: skip
    assert ended.returncode in (137, -signal.SIGKILL), ended.stdout + ended.stderr
    assert len(read_ledger(run / "ledger.jsonl")) == 1
    cycle(file, "--resume")
    (one, bits, numbers), (other, *others) = left_by(run), left_by(whole)
    assert numbers.keys() == others[1].keys() and bits.keys() == others[0].keys()
    assert re.sub(rb"\.\d+", b"", one) == re.sub(rb"\.\d+", b"", other)  # sums over ranks differ in the last digits


def flow_in_time(case, folder):
    """The start with the air's flow rate at the inflow in place of its velocity, and that rate [m³/s]."""
    start = shutil.copytree(case / "start-1", folder)
    mesh = read_mesh(start / "constant/polyMesh")
    (inflow,) = (patch for patch in mesh.patches if patch.name == "inflow")
    wind = OPENFOAM.read_fields(OPENFOAM.open_restart(start), COMM, ["U"])["U"].mesh
    rate = 4.2 * float(np.linalg.norm(wind.face_area_vectors[inflow.faces].sum(axis=0)))
    text = (start / "2/U").read_text()
    at, end = text.index("    inflow\n    {"), text.index("    outflow\n")
    condition = f"type flowRateInletVelocity; volumetricFlowRate {rate}; value uniform (4.2 0 0);"
    (start / "2/U").write_text(f"{text[:at]}    inflow {{ {condition} }}\n{text[end:]}")
    return start, rate


def test_an_inflow_in_time_is_a_table_of_each_member(case, tmp_path):
    """Each value of it is a parameter; OpenFOAM blows what its table says, and restarts keep it."""
    start, rate = flow_in_time(case, tmp_path / "start")
    place = "TIME/U:boundaryField/inflow/volumetricFlowRate"
    unknown = {
        "prior": {"normal": [rate, 0.2 * rate]}, "to": {"option": place}, "readings": ["U"],
        "in_time": {"coefficients": 3, "over": 2.0, "correlation": 1.0},
    }  # fmt: skip
    members = {"members": 3, "start": {"from": "restart"}}
    given = {**ENSEMBLE, "ensemble": members, "model__start": str(start), "parameters": {"inflow": unknown}}
    run_cycle(read_cycle_case(write_case(tmp_path / "case.yml", case, tmp_path / "run", **given)), COMM)
    entries = read_ledger(tmp_path / "run/ledger.jsonl")

    def tables_of(key):
        paths = [[tmp_path / "run" / member[key] for member in entry["members"]] for entry in entries]
        return [[OPENFOAM.series_at(OPENFOAM.open_restart(path), place) for path in of] for of in paths]

    ran, analyses = tables_of("forecast"), tables_of("restart")
    assert all(table.times == (2.0, 3.0, 4.0) for tables in (*ran, *analyses) for table in tables)
    for table, started in zip(ran[1], analyses[0], strict=True):
        np.testing.assert_allclose(table.values, started.values, rtol=1e-15)
    for entry, tables, k in zip(entries, ran, (1, 2), strict=True):
        states = [state_of(tmp_path / "run", member["forecast"])["U"] for member in entry["members"]]
        first = states[0].mesh.centroids[:, 0] < 10.0
        speeds, rates = [state.values[first, 0].mean() for state in states], [table.values[k] for table in tables]
        assert np.corrcoef(speeds, rates)[0, 1] > 0.99 and np.ptp(rates) > 0.05 * rate
    rows = parameters(tmp_path / "run")
    assert float(rows["inflow[1]", 1]["std"]) < float(rows["inflow[1]", 0]["std"])


def test_an_estimate_finds_the_source(case, tmp_path):
    file = write_case(
        tmp_path / "case.yml", case, tmp_path / "run", parameters={"strength": UNKNOWN["strength"]},
        ensemble=ENSEMBLE["ensemble"], estimate={"iterations": 2}, observations__window="interpolate",
    )  # fmt: skip
    ended = python(1, "-m", "plugin.estimate", file)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with open(tmp_path / "run/estimate/parameters.csv", newline="") as file:
        first, *_, last = csv.DictReader(file)
    # not to the digit: the tracer that all members start with is another one than the truth's
    assert abs(float(last["mean"]) - TRUE[2]) < 0.5 * abs(float(first["mean"]) - TRUE[2])
    assert float(last["std"]) < 0.3 * float(first["std"])


def test_a_place_that_is_not_there_is_refused_with_the_file(case, tmp_path):
    wrong = {"strength": {**UNKNOWN["strength"], "to": {"option": "constant/transportProperties:mu"}}}
    file = write_case(tmp_path / "case.yml", case, tmp_path / "run", **{**ENSEMBLE, "parameters": wrong})
    with pytest.raises(ConfigurationError, match="parameters.strength.to: .*transportProperties: has no entry 'mu'"):
        run_cycle(read_cycle_case(file), COMM)
