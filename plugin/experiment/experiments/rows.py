"""Rows of figures that several experiments have in common."""

from plugin.experiment import mack_2020
from plugin.experiment.networks import trained_networks
from plugin.experiment.scores import score
from plugin.experiment.systems import autoencoder, background, linear, reduced, tsvd

ERROR = {"error": "error", "seconds": "time [s]"}
MAGIC = {"magic_error": f"{mack_2020.LABEL} error", "magic_seconds": f"{mack_2020.LABEL} time [s]"}


def truncated(inputs):
    """TSVD at the settings' truncation: a System, and the paper's {part: (error, seconds)} of it."""
    modes = tsvd(inputs.states, inputs.protocol, inputs.settings.truncation)
    paper = mack_2020.TRUNCATED if modes.n_modes == mack_2020.TAU else {}
    return linear(f"TSVD, τ = {modes.n_modes}", modes, inputs.protocol), paper


def whole(inputs):
    """TSVD with all modes: a System, and the paper's {part: (error, seconds)} of it."""
    return linear("TSVD, τ = S", reduced(inputs.states, inputs.protocol), inputs.protocol), mack_2020.REDUCED


def background_row(inputs):
    """The row of no analysis, whose error is 1."""
    states = inputs.states
    found = score([background(states)], states, inputs.protocol, len(states.used))
    row = {"system": "background", "count": len(states.used), **found.figures(), "magic_error": mack_2020.BACKGROUND}
    return tell(row, inputs)


def network_rows(names, inputs):
    """A row for each network, observed at all values."""
    return [_network_row(name, inputs) for name in names]


def names_of(settings):
    """The names of networks that a NetworksSection asks for."""
    return list(mack_2020.NETWORKS) if settings.names is None else settings.names


def beside(inputs):
    """The name of the network that stands beside TSVD, in a list; an empty one where the settings name none."""
    name = inputs.settings.networks.beside
    return [] if name is None else [name]


def _network_row(name, inputs):
    states, networks = inputs.states, trained_networks(name, inputs)
    systems = [autoencoder(name, states, inputs.protocol, each) for each in networks]
    found = score(systems, states, inputs.protocol, len(states.used))
    error, seconds, parameters = mack_2020.NETWORKS.get(name, (None, None, None))
    row = {
        "system": name, "part": 1.0, "count": len(states.used), **networks[0].figures(), **found.figures(),
        "magic_error": error, "magic_seconds": seconds, "magic_parameters": parameters,
    }  # fmt: skip
    return tell(row, inputs)


def linear_rows(of, parts, inputs):
    """A row for each part of the values that is observed.

    of : System, and the paper's {part: (error, seconds)}
    """
    system, paper = of
    rows = []
    for part in parts:
        count = inputs.states.count(part)
        found = score([system], inputs.states, inputs.protocol, count)
        error, seconds = paper.get(part, (None, None))
        row = {
            "system": system.name, "part": part, "count": count, "parameters": system.parameters,
            "numbers": system.numbers, **found.figures(), "magic_error": error, "magic_seconds": seconds,
        }  # fmt: skip
        rows.append(tell(row, inputs))
    return rows


def tell(row, inputs):
    """Say what a row has found; the row."""
    milliseconds = 1e3 * row["seconds"]
    inputs.progress.say(f"{row['system']}, M = {row['count']}: error {row['error']:.4g}, {milliseconds:.3g} ms")
    return row
