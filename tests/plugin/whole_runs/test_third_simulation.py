"""The commands around the simulation of docs/simulation.md, with restarts of its own: no Fluidity anywhere."""

import importlib
import json
import sys

import numpy as np
import pytest
import yaml
from box_mesh import box_mesh
from mpi4py import MPI
from pages import ROOT, blocks

from coupling.geometry.mesh import Field, State
from coupling.vtk.dumps import write_dump
from plugin.case.configuration import ConfigurationError, read_cycle_case
from plugin.check.__main__ import main as check
from plugin.cycle import run_cycle
from plugin.report.fields import last_fields
from plugin.report.run import read_run
from plugin.run.drivers import simulation_of
from plugin.run.ledger import read_ledger

COMM = MPI.COMM_SELF
PLACES = np.array([(2.0, 3.0, 4.0), (7.0, 5.0, 3.0), (4.0, 8.0, 8.0)])
FACTOR = 2.0  # of the truth
ALIKE_EVERYWHERE = {"lengths": None, "adaptive": None}  # the truth is a mode's multiple


@pytest.fixture
def page(monkeypatch, tmp_path):
    """The module of the page, importable."""
    text = next(of.text for of in blocks(ROOT / "docs/simulation.md") if of.title == "my_simulation.py")
    (tmp_path / "my_simulation.py").write_text(text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_simulation", None)  # that of another test of the same name
    yield importlib.import_module("my_simulation")
    del sys.modules["my_simulation"]


def tracer(mesh, amplitude):
    """A field that is higher towards one corner, at the start."""
    return Field("Tracer", mesh, amplitude * (1.0 + mesh.points.sum(axis=1) / 10.0))


def write_case(page, folder, **changes):
    """A case file: readings at two windows' ends of a truth twice as strong as the start."""
    mesh, _ = box_mesh((3, 3, 3), (10.0, 10.0, 10.0))
    page.save(State(0.0, {"Tracer": tracer(mesh, 1.0)}), 0.5, folder / "start", COMM, {})
    for k, amplitude in enumerate((0.5, 1.0, 2.5)):
        write_dump(State(float(k), {"Tracer": tracer(mesh, amplitude)}), folder / f"earlier_{k}", COMM)
    lines = ["time,x,y,z,variable,value,error"]
    for time in (2.0, 4.0):
        for place in PLACES:
            value = FACTOR * 0.5 ** (time / page.HALF_LIFE) * (1.0 + place.sum() / 10.0)
            lines.append(f"{time},{','.join(map(str, place))},Tracer,{value},0.01")
    (folder / "readings.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    case = {
        "model": {"driver": "my_simulation:driver", "start": "start/restart.json"},
        "cycle": {"window": 2.0, "windows": 2},
        "grid": {"shape": [4, 4, 4]},
        "variables": ["Tracer"],
        "background": {
            "snapshots": [{"path": "earlier_*.vtu"}],
            "transform": "reduced",
            "lengths": None,
            "adaptive": None,
        },
        "observations": {"file": "readings.csv"},
        "run": "run",
    }
    case |= changes
    (folder / "case.yml").write_text(yaml.safe_dump(case), encoding="utf-8")
    return read_cycle_case(folder / "case.yml")


def restart_of(case, entry, key="restart"):
    simulation = simulation_of(case.model)
    return simulation.read_fields(simulation.open_restart(case.run / entry[key]), COMM)


def entries(case):
    return read_ledger(case.run / "ledger.jsonl")


def test_a_cycle_goes_on_from_its_own_analyses_and_after_a_stop(page, tmp_path):
    case = write_case(page, tmp_path, cycle={"window": 2.0, "windows": 1})
    run_cycle(case, COMM)
    case = write_case_windows(tmp_path, 2)
    run_cycle(case, COMM, resume=True)
    first, second = entries(case)
    assert first["used"] == second["used"] == len(PLACES)
    analysed, expected = restart_of(case, first)["Tracer"], FACTOR * 0.5 ** (2.0 / page.HALF_LIFE)
    truth = tracer(analysed.mesh, expected).values
    before = restart_of(case, first, "forecast")["Tracer"].values
    assert np.abs(analysed.values - truth).max() < 0.05 * np.abs(before - truth).max()
    forecast = restart_of(case, second, "forecast")["Tracer"]
    np.testing.assert_allclose(forecast.values, analysed.values * 0.5 ** (2.0 / page.HALF_LIFE), rtol=1e-12)
    (shown,) = last_fields(read_run(case.run))
    np.testing.assert_array_equal(shown.background, forecast.values)


def write_case_windows(folder, windows):
    """The same case with another number of windows."""
    settings = yaml.safe_load((folder / "case.yml").read_text())
    settings["cycle"]["windows"] = windows
    (folder / "case.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    return read_cycle_case(folder / "case.yml")


def test_windows_that_are_not_kept_lose_the_files_that_it_names_as_its_states(page, tmp_path):
    case = write_case(page, tmp_path, cycle={"window": 2.0, "windows": 2, "keep": 2})
    run_cycle(case, COMM)
    assert not list((case.run / "0001").rglob("*.vtu")) and list((case.run / "0001").rglob("restart.json"))
    assert list((case.run / "0002").rglob("*.vtu"))


def test_parameters_reach_its_members(page, tmp_path):
    unknown = {"half_life": {"prior": {"uniform": [10.0, 30.0]}, "to": {"file": "parameters.json"}}}
    case = write_case(
        page, tmp_path, cycle={"window": 2.0, "windows": 1}, parameters=unknown,
        ensemble={"members": 4, "start": {"from": "modes"}},
    )  # fmt: skip
    run_cycle(case, COMM)
    assert entries(case)[0]["parameters"]["half_life"]["std"] > 0.0
    given = [json.loads(path.read_text()) for path in (case.run / "0000").rglob("parameters.json")]
    assert len({of["half_life"] for of in given}) == 4


def test_what_it_does_not_have_is_refused_with_a_sentence(page, tmp_path):
    case = write_case(page, tmp_path, gates={"taper": {"surfaces": [1], "distance": 2.0}})
    with pytest.raises(ConfigurationError, match="gates.taper needs surfaces and boundary conditions: its driver"):
        run_cycle(case, COMM)
    unknown = {"speed": {"prior": {"uniform": [1.0, 3.0]}, "to": {"option": "/a/b"}}}
    second = tmp_path / "second"
    second.mkdir()
    case = write_case(page, second, parameters=unknown, ensemble={"members": 4, "start": {"from": "modes"}})
    with pytest.raises(ConfigurationError, match=r"parameters.speed.to: Fading has no options .*parameters.json"):
        run_cycle(case, COMM)


def test_the_doctor_looks_at_it(page, tmp_path, capsys):
    write_case(page, tmp_path)
    assert check([str(tmp_path / "case.yml"), "--json"], COMM) == 0
    told = {finding["name"]: finding["level"] for finding in json.loads(capsys.readouterr().out)}
    assert told["restart round trip"] == told["one time step"] == "ok"
