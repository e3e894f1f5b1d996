"""Over many networks of sensors and pairs of states, analyses do no harm where there is no sensor.

Pairs of states of one run, some seconds apart, are forecast and truth, three in a row for each network; background
errors come from other runs. Sensors are at random nodes, their errors are drawn, and analyses are scored at all nodes
that are none of them.
"""

from dataclasses import replace

import numpy as np
import pytest
from cycle_case import COMM, ERROR, WINDOW, make_case, write_case, write_settings

from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import embedded_model
from coupling.vtk.vtu import read_state
from da.observation.observations import Observations
from plugin.case.configuration import MinimiserSection, read_cycle_case
from plugin.window.assimilate import assimilate
from plugin.window.background.lengths import length_rule
from plugin.window.background.of_case import background

RUNS = ({"speed": 0.7, "side": 0.15, "y": 34.0}, {"speed": 0.95, "side": -0.1, "y": 44.0})
NETWORKS, TRACERS, ANEMOMETERS = 12, 14, 6
AGES = (1, 2)  # of a forecast, in dumps of 4 s
SELDOM, LITTLE = 0.1, 1.1  # part of the analyses that may be worse than their forecast, and how much the worst may be


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Background of a case that says nothing of guard and lengths, and the states of two other runs."""
    folder = make_case(tmp_path_factory.mktemp("harm") / "case")
    series = []
    for k, numbers in enumerate(RUNS):
        start = open_restart(write_case(folder / f"start-of-run-{k}", **numbers))
        embedded_model(timeout=60).run(start, 5 * WINDOW, folder / f"run-{k}", COMM)
        series.append([read_state(folder / f"run-{k}/case_{number}.vtu", COMM) for number in range(3, 11)])
    case = read_cycle_case(write_settings(folder / "case.yml", folder, folder / "run"))
    made = background(case, COMM, None, lambda text: None)
    return case, replace(made, lengths=length_rule(case.background.following_lengths, made.transfer)), series


def network(rng, mesh):
    """Nodes of sensors of the tracer, and of anemometers."""
    nodes = rng.choice(len(mesh.points), TRACERS + ANEMOMETERS, replace=False)
    return nodes[:TRACERS], nodes[TRACERS:]


def readings_of(truth, tracers, anemometers, rng):
    rows = [("Tracer", node, truth["Tracer"].values[node]) for node in tracers]
    for axis, letter in enumerate("xy"):
        rows += [(f"Velocity.{letter}", node, truth["Velocity"].values[node, axis]) for node in anemometers]
    error = np.array([ERROR[name] for name, _, _ in rows])
    return Observations(
        np.full(len(rows), truth.time),
        truth["Tracer"].mesh.points[[node for _, node, _ in rows]],
        np.array([name for name, _, _ in rows]),
        np.array([float(np.squeeze(value)) for _, _, value in rows]) + error * rng.normal(size=len(rows)),
        error,
        np.array([""] * len(rows)),
    )


def ratios(given, on):
    """{field: (analyses,) root mean square error of an analysis over its forecast's}."""
    case, whole, series = given
    of = whole if on else replace(whole, lengths=None)
    found = {"Tracer": [], "Velocity": []}
    for seed in range(NETWORKS):
        rng, states = np.random.default_rng(seed), series[seed % len(series)]
        tracers, anemometers = network(rng, states[0]["Tracer"].mesh)
        factors, losses = {}, {}
        for age in AGES:
            for number in range(age, len(states), 2):
                truth, before = states[number], replace(states[number - age], time=states[number].time)
                readings = readings_of(truth, tracers, anemometers, rng)
                guard = case.analysis.guard if on else "warn"
                words = of, before, readings, COMM, MinimiserSection(), None, None, guard
                analysis = assimilate(*words, factors, losses)
                factors, losses = analysis.factors, analysis.losses
                for name, sensors in (("Tracer", tracers), ("Velocity", anemometers)):
                    errors = [
                        np.linalg.norm(np.delete(fields[name].values - truth[name].values, sensors, axis=0))
                        for fields in (analysis.changes, before)
                    ]
                    found[name].append(errors[0] / errors[1])
    return {name: np.array(of) for name, of in found.items()}


def harm(of):
    return float(np.mean(of > 1.001)), float(of.max())


@pytest.mark.parametrize("on", [True, False])
def test_it_is_seldom_and_little_by_default_and_not_without_guard_and_lengths(given, on):
    found = ratios(given, on)
    words = {name: (float(of.mean()), *harm(of)) for name, of in found.items()}
    harmless = {name: harm(of)[0] < SELDOM and harm(of)[1] < LITTLE for name, of in found.items()}
    if on:
        assert all(harmless.values()), words
        assert all(of.mean() < 0.97 for of in found.values()), words  # and they help
    else:
        assert not any(harmless.values()), words
