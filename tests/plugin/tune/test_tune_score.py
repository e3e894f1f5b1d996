"""Analyses of withheld states in the space of observations are those of the cycle's own code."""

from dataclasses import replace

import numpy as np
import pytest
from mpi4py import MPI
from scipy.optimize import least_squares
from tuning_case import draws, mesh, sensor_places, tuning_case, write_archive, write_sensors

from da.background.anamorphosis import Logarithm, SquareRoot
from da.background.linear_transform import LinearTransform
from plugin.case.configuration import MinimiserSection
from plugin.state.transfer import values_at
from plugin.tune.folds import folds_of
from plugin.tune.nonlinear import RowFunctions, minima
from plugin.tune.score import Judge, errors
from plugin.tune.setting import Setting
from plugin.tune.states import read_states
from plugin.window.assimilate import assimilate
from plugin.window.background.anamorphosis import make_anamorphoses
from plugin.window.background.localisation import make_taper
from plugin.window.background.of_case import Background, close_all, made_modes, plan_of, states_of
from plugin.window.observations.selection import ObservationSettings

COMM = MPI.COMM_SELF


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty states of tracer and wind, which have something to do with each other, and seven sensors of both."""
    folder = tmp_path_factory.mktemp("tuned")
    tracer = draws(60, 40.0, memory=0.5)
    wind = np.stack([0.5 * tracer + draws(60, 60.0, memory=0.5, seed=5), tracer, 0.1 * tracer], axis=2)
    write_archive(folder / "states.vtkhdf", tracer, wind)
    write_sensors(folder / "readings.csv", sensor_places(7), ("Tracer", "Velocity.x"))
    return folder


def product(case, fold, judge_states, setting):
    """Increments of a fold's withheld states by the code of a cycle, (n, withheld)."""
    plan = plan_of(case.background.snapshots, COMM)
    states = list(states_of(case, plan))
    close_all(plan)
    transfer, settings = judge_states.transfer, setting.background
    modes, scale, forms = made_modes(settings, transfer, judge_states.rows[:, fold.training], COMM)
    transform = LinearTransform(modes, settings.inflation * scale, COMM)
    transfer = replace(transfer, anamorphoses=forms)
    background = Background(transfer, transform, modes, taper=make_taper(settings, transfer))
    network, made = judge_states.network, []
    noise = errors(network.covariance, fold.withheld)
    model = case.observations.error_model.model_copy(update={"factor": dict(setting.factor)})
    for k, number in enumerate(fold.withheld):
        state = states[fold.training[0]] if fold.before is None else states[fold.before[k]]
        if fold.before is None:
            mean = {
                name: of.replaced(np.mean([states[i][name].values for i in fold.training], axis=0))
                for name, of in state.fields.items()
            }
            state = type(state)(state.time, mean)
        readings = type(network.readings)(
            np.full(len(noise), state.time), network.readings.position, network.readings.variable,
            judge_states.read[:, number] + noise[:, k], network.readings.error,
        )  # fmt: skip
        treatment = ObservationSettings(error_model=model, outer_loops=50)
        found = assimilate(background, state, readings, COMM, MinimiserSection(), treatment, guard="off")
        made.append(found.analysis.increment)
    return np.array(made).T


LOCAL = {"transform": "local", "local": {"size": [70.0, 70.0, 20.0], "horizontal": 80.0}, "truncation": 0.95}
TAPER = {"localisation": {"horizontal": {"Tracer": 50.0, "Velocity": 90.0}, "vertical": 30.0, "modes": 3}}


@pytest.mark.parametrize("grid", [{"space": "mesh"}, {"shape": [9, 8, 3]}], ids=["mesh", "grid"])
@pytest.mark.parametrize("lag", [None, 4.0], ids=["mean", "lag"])
@pytest.mark.parametrize(
    "background",
    [
        {"transform": "reduced"},
        {"truncation": 9, "scaling": "point"},
        {"truncation": 0.9, **TAPER},
        {"transform": "reduced", "unbiased": False, "localisation": {"horizontal": 60.0}},
        {"truncation": 0.9, "between": {"Tracer": ["Velocity"]}},
        LOCAL,
    ],
    ids=["reduced", "tsvd", "localised", "reduced, localised", "between", "local"],
)
def test_increments_are_those_of_the_cycle(folder, background, lag, grid):
    case = tuning_case(folder, ("Tracer", "Velocity"), background, grid=grid)
    states = read_states(case, COMM, 2000)
    fold = folds_of(states.times, 3, 4.0, lag, 3)[1]
    judge = Judge(states, [fold], case.background, 1.0, COMM)
    setting = Setting(case.background.model_copy(update={"inflation": 0.7}), {"Tracer": 1.5, "Velocity": 0.5})
    (found,) = judge.increments(setting)
    expected = product(case, fold, states, setting)[states.scored]
    np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max())
    # and the errors are those of these increments
    rows = states.rows[states.scored]
    before = rows[:, fold.training].mean(axis=1, keepdims=True) if lag is None else rows[:, fold.before]
    left = before + expected - rows[:, fold.withheld]
    size = rows[:, fold.withheld] - rows[:, fold.training].mean(axis=1, keepdims=True)
    scores = judge.scores(setting)
    for number, name in enumerate(states.fields):
        for of, error in ((np.ones(len(rows), bool), scores.everywhere), (states.far, scores.far)):
            mine = of & (states.field_of_row == number)
            told = np.mean(np.linalg.norm(left[mine], axis=0) / np.linalg.norm(size[mine], axis=0))
            assert error[0, number] == pytest.approx(told, rel=1e-7), name


ROOTS = {"variables": {"Tracer": {"anamorphosis": "sqrt", "lower": -5.0, "offset": 0.1}}}
LOGS = {"variables": {"Tracer": {"anamorphosis": "log", "lower": -5.0, "offset": 0.5}}}


@pytest.mark.parametrize("lag", [None, 4.0], ids=["mean", "lag"])
@pytest.mark.parametrize(
    "background", [{"truncation": 9, **ROOTS}, {"truncation": 0.9, **TAPER, **LOGS}, {**LOCAL, **ROOTS}]
)
def test_analyses_of_transformed_variables_are_those_of_the_cycle(folder, tmp_path, background, lag):
    nodes = mesh().points[[5, 40, 77, 120, 160]]  # ψ at a sensor is then that at a node
    write_sensors(tmp_path / "readings.csv", nodes, ("Tracer", "Velocity.x"))
    observations = {"file": str(tmp_path / "readings.csv")}
    case = tuning_case(folder, ("Tracer", "Velocity"), background, observations)
    states = read_states(case, COMM, 2000)
    fold = folds_of(states.times, 3, 4.0, lag, 3)[1]
    judge = Judge(states, [fold], case.background, 1.0, COMM)
    setting = Setting(case.background.model_copy(update={"inflation": 0.7}), {"Tracer": 1.5, "Velocity": 0.5})
    (found,) = judge.increments(setting)
    expected = product(case, fold, states, setting)[states.scored]
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())
    of, rows = make_anamorphoses(case.background, states.transfer, states.rows)["Tracer"], states.rows[states.scored]
    before = rows[:, fold.training].mean(axis=1, keepdims=True) if lag is None else rows[:, fold.before]
    tracer = states.scored % 4 == 0
    analysis = before + expected
    analysis[tracer] = of.inverse(of.forward(np.broadcast_to(before, expected.shape)[tracer]) + expected[tracer])
    size = rows[:, fold.withheld] - rows[:, fold.training].mean(axis=1, keepdims=True)
    scores = judge.scores(setting)
    for number in range(2):
        mine = states.field_of_row == number
        away = np.linalg.norm((analysis - rows[:, fold.withheld])[mine], axis=0)
        assert scores.everywhere[0, number] == pytest.approx(
            np.mean(away / np.linalg.norm(size[mine], axis=0)), rel=1e-4
        )


@pytest.mark.parametrize("kind", [SquareRoot(0.0, 0.01), Logarithm(0.0, 0.1)])
def test_the_minimum_is_that_of_the_cost(kind):
    rng, m = np.random.default_rng(3), 6
    root = rng.normal(size=(m, m))
    covariance, error = root @ root.T / m, np.diag(rng.uniform(0.05, 0.2, m) ** 2)
    functions, background = RowFunctions([kind, None], np.arange(m) % 2), rng.uniform(0.0, 2.0, (m, 4))
    innovation = rng.normal(size=(m, 4)) * 0.5
    found = covariance @ minima(covariance, error, background, innovation, functions)
    transformed = functions.forward(background)
    inverse, std = np.linalg.inv(np.linalg.cholesky(covariance)), np.sqrt(np.diag(error))
    for k in range(4):

        def residuals(z, k=k):
            moved = functions.values(transformed[:, [k]] + z[:, None])[:, 0] - background[:, k]
            return np.concatenate([inverse @ z, (innovation[:, k] - moved) / std])

        least = least_squares(residuals, found[:, k], xtol=1e-14, ftol=1e-14, gtol=1e-13)
        np.testing.assert_allclose(found[:, k], least.x, atol=2e-4 * np.abs(least.x).max())


@pytest.mark.parametrize(
    "observations",
    [
        {"error_model": {"correlation": {"length": 60.0, "nugget": 0.1}}},
        {"quality": {"thinning": {"method": "superob", "cell": 60.0}}},
    ],
    ids=["correlated", "averaged"],
)
def test_the_network_is_that_of_an_analysis(folder, observations):
    """R and H of correlated errors and of averages: the analysis of perfect readings is the same."""
    case = tuning_case(folder, ("Tracer", "Velocity"), {"truncation": 8}, observations)
    states = read_states(case, COMM, 2000)
    fold = folds_of(states.times, 3, 4.0, 4.0, 1)[0]
    judge = Judge(states, [fold], case.background, 1e-12, COMM)
    setting = Setting(case.background, {"Tracer": 1.0, "Velocity": 1.0})
    plan = plan_of(case.background.snapshots, COMM)
    of = list(states_of(case, plan))
    close_all(plan)
    modes, scale, _ = made_modes(case.background, states.transfer, states.rows[:, fold.training], COMM)
    taper = make_taper(case.background, states.transfer)
    background = Background(states.transfer, LinearTransform(modes, scale, COMM), modes, taper=taper)
    network, (number,), (before,) = states.network, fold.withheld, fold.before
    # readings of the withheld state itself, one by one
    value, _ = values_at(of[number], states.transfer, network.readings.position, network.readings.variable)
    own = np.full(len(value), 0.1)
    readings = type(network.readings)(
        np.full(len(value), of[before].time), network.readings.position, network.readings.variable, value, own
    )
    settings = ObservationSettings.from_section(case.observations)
    found = assimilate(background, of[before], readings, COMM, MinimiserSection(), settings, guard="off")
    expected = found.analysis.increment[states.scored]
    np.testing.assert_allclose(judge.increments(setting)[0][:, 0], expected, atol=1e-8 * np.abs(expected).max())
