"""Errors in the space of modes are those of 3D-Var's analyses."""

import pytest
from experiment_case import experiment_case, write_states

from plugin.case.experiment import ProtocolSection
from plugin.experiment.mode_errors import ModeErrors, Truncating
from plugin.experiment.scores import relative_error
from plugin.experiment.states import noise, read_states
from plugin.experiment.systems import leading, linear, tsvd

PROTOCOL = ProtocolSection(gradient_tolerance=1e-12)


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mode_errors")
    write_states(folder / "states")
    return read_states(experiment_case(folder, folder / "states"))


@pytest.mark.parametrize("tau", [3, 23])
@pytest.mark.parametrize("count", [8, 40])
@pytest.mark.parametrize("noisy", [0.0, 0.2])
def test_errors_in_the_space_of_modes_are_those_of_3d_var(states, tau, count, noisy):
    of = Truncating(tau, 0.02)
    found = ModeErrors(states, PROTOCOL).errors(count, 1, [of], noisy)[of]
    protocol = PROTOCOL.model_copy(update={"unbiased": True, "background_weight": 1.0, "variance": 0.02})
    system = linear("", leading(tsvd(states, protocol, 1.0), tau), protocol)
    sensors = states.sensors(count, 1)
    analysed, drawn = system.prepare(sensors), protocol.model_copy(update={"noise": noisy})
    for k, number in enumerate(states.test()):
        truth = states.truth(number)
        readings = truth[sensors] + noise(drawn, count, 1, number)
        assert found[k] == pytest.approx(relative_error(analysed(readings)[0], truth), rel=1e-6)
