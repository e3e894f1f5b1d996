"""An analysis of a Fluidity state, and the gates it is let through, for the tests of the gates."""

from assimilation import make_background, make_readings
from places import DATA

from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.simulation import FLUIDITY
from plugin.case.configuration import MinimiserSection
from plugin.case.gates import GatesSection
from plugin.window.assimilate import assimilate
from plugin.window.gates.apply import make_gates

RESTART = DATA / "parallel" / "mini_3_checkpoint.flml"
LOW, LOW_OF_ALL = -0.3, -0.1  # the errors of this background are no plume's: below zero there is more tracer than above
ALL = {
    "largest": {"Velocity": 0.2},
    "taper": {"surfaces": [2], "distance": 40.0},
    "divergence_free": "Velocity",
    "bounds": {"Tracer": [LOW_OF_ALL, None]},
}


def make_analysis(comm):
    """(Background, State, Restart, WindowAnalysis), the same on any number of ranks."""
    background, state = make_background(comm)
    found = assimilate(background, state, make_readings(background, state), comm, MinimiserSection())
    return background, state, open_restart(RESTART), found


def gates_of(background, **asked):
    """The gates that a case's section would make."""
    return make_gates(GatesSection(**asked), background.transfer, FLUIDITY.boundary)
