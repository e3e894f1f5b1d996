"""The learned driver: it keeps the contract, its step is what it is said to be, and a cycle with it learns."""

import json

import numpy as np
import pytest
from cycle_case import COMM, NOT_SENSORS, WINDOW, values_at, write_settings
from learned_case import STEP, make_learned, model_of, section, start_of

from coupling.contract import PROMISES, make_trial
from coupling.fluidity.checkpoint import read_fields, write_restart
from coupling.fluidity.driver import embedded_model
from coupling.fluidity.simulation import FLUIDITY
from coupling.geometry.interpolation import multiply
from coupling.openfoam.simulation import OPENFOAM
from coupling.simulation.launch import ModelError
from coupling.vtk.vtu import read_state
from models.dynamics.files import load_dynamics, save_dynamics
from models.dynamics.linear import LinearDynamics
from models.dynamics.training import RollOuts, train_dynamics
from models.files import load_arrays
from plugin.case.configuration import ConfigurationError, read_case, read_cycle_case
from plugin.cycle import run_cycle
from plugin.run.drivers import forecast_model
from plugin.run.learned.carried_codes import kept_code
from plugin.run.learned.driver import learned_model


@pytest.fixture(scope="module")
def made(twin, tmp_path_factory):
    return make_learned(tmp_path_factory.mktemp("learned"), twin)


@pytest.fixture(scope="module")
def trial(made, tmp_path_factory):
    times = WINDOW + STEP, WINDOW + 3 * STEP
    folder = tmp_path_factory.mktemp("trial")
    return make_trial(model_of(made, rest=0.9), start_of(made), times, folder, COMM, field="Tracer")


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_it_keeps_the_contract(promise, trial):
    promise(trial)


def test_a_step_is_the_one_of_the_formula(made, trial):
    """x' = x + Q [g(z') − g(z) − (1 − ρ) (P x − g(z))], with dense matrices; what the code does not know stays."""
    mean = load_arrays(made / "tsvd.safetensors", ("mean",))["mean"]
    dynamics, _ = load_dynamics(made / "linear.safetensors")
    model = trial.model._ready[COMM.py2f()]
    base = np.stack([model.decoder.apply(unit) for unit in np.eye(8)], axis=1)
    before, after = read_fields(trial.start, COMM), trial.first.state
    matrices = {name: model.transfer.interpolation(before[name]) for name in ("Tracer", "Velocity")}
    columns = np.column_stack([before["Tracer"].values, before["Velocity"].values])
    on_grid = multiply(matrices["Tracer"].to_grid, columns)
    x = on_grid.ravel() - mean
    code = model.decoder.encode(x)
    change = base @ (dynamics.step(code) - code) - 0.1 * (x - base @ code)
    moved = multiply(matrices["Tracer"].to_mesh, change.reshape(-1, 4))
    expected = columns + moved
    np.testing.assert_allclose(after["Tracer"].values, expected[:, 0], atol=2e-6 * np.abs(columns).max())
    np.testing.assert_allclose(after["Velocity"].values, expected[:, 1:], atol=2e-6 * np.abs(columns).max())
    assert np.abs(moved).max() > 1e-3 * np.abs(columns).max()
    assert np.array_equal(after["Smoke"].values, before["Smoke"].values)


def test_the_simulation_goes_on_from_its_restart(trial, tmp_path):
    until = trial.first.state.time + 2.0
    forecast = embedded_model(timeout=60).run(trial.first.restart, until, tmp_path / "on", COMM)
    began = read_state(tmp_path / "on/case_0.vtu", COMM)
    for name, of in trial.first.state.fields.items():
        assert np.array_equal(began[name].values, of.values)
    assert forecast.state.time == until


def test_a_code_is_kept_for_its_own_restart_alone(trial, tmp_path):
    restart, model = trial.first.restart, trial.model
    files = FLUIDITY.restart_files(restart)
    told = json.loads((restart.folder / "codes.json").read_text())["codes"]
    assert kept_code(restart.folder, files, model.fingerprint, 8).tolist() == told
    assert kept_code(restart.folder, files, "others", 8) is None
    assert kept_code(restart.folder, files[1:], model.fingerprint, 8) is None
    assert kept_code(restart.folder, files, model.fingerprint, 9) is None
    copied = write_restart(restart, tmp_path / "copy", COMM)
    assert kept_code(copied.folder, FLUIDITY.restart_files(copied), model.fingerprint, 8) is None


def errors(state, truth):
    """By variable, at places that are no sensors."""
    found = {}
    for name in ("Tracer", "Velocity.x", "Velocity.y"):
        right = values_at(truth, NOT_SENSORS, name)
        found[name] = np.linalg.norm(values_at(state, NOT_SENSORS, name) - right) / np.linalg.norm(right)
    return found


def test_a_cycle_with_it_is_better_than_without_analyses(made, twin, tmp_path):
    learned = {"driver": "learned", "start": str(start_of(made).path)}
    learned["learned"] = section(made).model_dump(mode="json")
    path = write_settings(
        tmp_path / "case.yml", twin, tmp_path / "run", model=learned, cycle__windows=2, background__adaptive=None
    )
    run_cycle(read_cycle_case(path), COMM)
    truth = read_state(twin / "truth/case_6.vtu", COMM)
    free = forecast_model(read_case(path).model).run(start_of(made), 3 * WINDOW, tmp_path / "free", COMM)
    of_free = errors(free.state, truth)
    of_cycle = errors(read_state(tmp_path / "run/0002/forecast/case_checkpoint_2.vtu", COMM), truth)
    assert all(of_cycle[name] < 0.85 * of_free[name] for name in of_free), (of_cycle, of_free)


def test_its_forecast_beats_persistence(made, twin, tmp_path):
    """Of the tracer over two windows, from a state of a run that it was learnt from; three runs teach no more."""
    began, ends = (read_state(twin / f"training/1/case_{k}.vtu", COMM) for k in (2, 6))
    changes = {name: began[name] for name in ("Tracer", "Velocity")}
    start = write_restart(start_of(made), tmp_path / "start", COMM, changes)
    forecast = model_of(made).run(start, 3 * WINDOW, tmp_path / "forecast", COMM)
    ours, stays = errors(forecast.state, ends), errors(began, ends)
    assert ours["Tracer"] < 0.6 * stays["Tracer"], (ours, stays)


def test_ranks_agree(made, twin, tmp_path, mpirun):
    mpirun(2, "tests/plugin/run/learned/parallel_learned_driver.py", made, start_of(made).path, tmp_path)


def test_bad_input_is_told(made, trial, tmp_path):
    with pytest.raises(ModelError, match="steps of 4 s, which lead from 8 s to 12 s, and not to 9 s"):
        trial.model.run(trial.start, WINDOW + 1.0, tmp_path / "between", COMM)
    with pytest.raises(ConfigurationError, match="model.learned.dynamics: .*no such file"):
        model_of(made, dynamics=tmp_path / "none.safetensors")
    with pytest.raises(ConfigurationError, match="model.learned.network: .*none.safetensors: No such file"):
        model_of(made, network=tmp_path / "none.safetensors")
    with pytest.raises(ConfigurationError, match="a restart of OpenFOAM is written by its own program alone"):
        learned_model(section(made), OPENFOAM)
    dynamics, about = load_dynamics(made / "linear.safetensors")
    told = {"step": 4.0, "network": about["network"]}
    save_dynamics(tmp_path / "other.safetensors", dynamics, {**told, "network": "0" * 64})
    with pytest.raises(ConfigurationError, match="dynamics of another network"):
        model_of(made, dynamics=tmp_path / "other.safetensors")
    runs = [np.random.default_rng(0).standard_normal((8, 30))]
    trained = train_dynamics("recurrent", runs, runs, RollOuts(steps=1, before=2, epochs=1, hidden=3)).dynamics
    save_dynamics(tmp_path / "memory.safetensors", trained, told)
    with pytest.raises(ConfigurationError, match="is recurrent, and a restart holds no memory"):
        model_of(made, dynamics=tmp_path / "memory.safetensors")
    wild = LinearDynamics(1e300 * dynamics.matrix, dynamics.centre, dynamics.noise)
    save_dynamics(tmp_path / "wild.safetensors", wild, told)
    with pytest.raises(ModelError, match="codes at 12 s that are not finite"):
        model_of(made, dynamics=tmp_path / "wild.safetensors").run(trial.start, 24.0, tmp_path / "wild", COMM)
    assert not (tmp_path / "wild").exists()


def test_a_case_says_what_it_runs(made, twin, tmp_path):
    learned = section(made).model_dump(mode="json")
    for changes, told in (
        ({"model__driver": "learned"}, "there is no section learned; learned goes with driver: learned"),
        ({"model__learned": learned}, "there is driver: embedded; learned goes with"),
        ({"model__driver": "learned", "model__learned": {**learned, "of": "learned"}}, "learned.of: found 'learned'"),
    ):
        with pytest.raises(ConfigurationError, match=told):
            read_case(write_settings(tmp_path / "case.yml", twin, tmp_path / "run", **changes))
