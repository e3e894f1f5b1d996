"""Codecs with the same number of values: modes of the whole grid and of blocks, and the case's trained network.

Each encodes and decodes the test states; no analysis is made. Linear codecs are made from all training states.
"""

from collections.abc import Callable

import numpy as np
import torch
from matplotlib.figure import Figure

from models import files
from models.layers.local_modes import GridBlocks, LocalModes
from models.layers.square_roots import SquareRoots
from models.training.linear_start import begins_at_modes, local_bases, modes_of_blocks
from models.training.windowed_modes import Windows, windowed_modes
from models.zoo.corrected import Corrected
from plugin.case.configuration import ConfigurationError
from plugin.experiment.experiments.rows import Row
from plugin.experiment.results import Result, ScoreTable
from plugin.experiment.states import ExperimentInputs, StandardisedStates
from plugin.experiment.systems import tsvd

_TOGETHER = 16  # states at a time
RoundTrip = Callable[[np.ndarray], np.ndarray]  # (k, n) standardised states → (k, n)


def codecs(inputs: ExperimentInputs) -> Result:
    """The case's `network`, and linear codecs with its blocks and as many numbers."""
    states, network = inputs.states, inputs.case.network
    if network is None:
        raise ConfigurationError("network: this section is missing; it names the codec's file")
    model, trip, parameters = _network(inputs)
    m, rows = model.n_latent, []

    def scored(system: str, of: RoundTrip, stored: int) -> None:
        tests = states.test(inputs.protocol.every)
        errors = []
        for first in range(0, len(tests), _TOGETHER):
            numbers = tests[first : first + _TOGETHER]
            errors += states.errors(of(states.rows[numbers])[:, states.used].T, numbers, states.used).tolist()
        row: Row = {"system": system, "numbers": m, "error": float(np.mean(errors)), "parameters": stored}
        inputs.progress.say(f"{system}, m = {m}: error {row['error']:.4g}")
        rows.append(row)

    modes = tsvd(states, inputs.protocol, min(m, states.n_training - 1))
    assert modes.singular_values is not None  # TSVD's modes have them
    base = (modes.vectors / modes.singular_values[: modes.n_modes]).astype(np.float32)
    scored(f"TSVD, τ = {base.shape[1]}", lambda truth: truth @ base @ base.T, base.size)
    counts = model.linear.blocks.counts if begins_at_modes(model) else network.blocks
    windows = network.windows and Windows(network.windows.points, network.windows.whole)
    if windows is not None:
        name, counts = "windows " + " × ".join("1" if of is None else f"{of:g}" for of in windows.points), None
        for roots in dict.fromkeys((None, _roots(states, model))):
            codec = _of_windows(states, windows, m, roots)
            size = sum(buffer.numel() for buffer in codec.buffers())
            scored(name + ", of roots" * (roots is not None), _round_trip(states, *_functions(codec, roots)), size)
    for overlap in sorted({0, network.overlap or 0}):
        if counts is None:
            break
        blocks = GridBlocks(states.grid.shape, counts, overlap)
        name = f"{' × '.join(map(str, counts))} blocks" + (f", overlap {overlap}" if overlap else "")
        for roots in dict.fromkeys((None, _roots(states, model))):
            codec = _of_blocks(states, blocks, m, roots)
            size = sum(buffer.numel() for buffer in codec.buffers())
            scored(name + ", of roots" * (roots is not None), _round_trip(states, *_functions(codec, roots)), size)
    scored(network.name, trip, parameters)
    columns = {"system": "codec", "numbers": "m", "error": "error", "parameters": "stored values"}
    return Result("codecs", (ScoreTable("Codecs", columns, rows),), lambda figure: _draw(figure, rows))


def _roots(states, model):
    """Square roots that the network takes, of all training states; None if it takes none, or states are transformed."""
    if states.forms or not (isinstance(model, Corrected) and model.roots is not None):
        return None
    roots = SquareRoots(model.channels, model.shape, model.roots.rooted.flatten().nonzero().flatten().tolist())
    roots.fit(states.fields[: states.n_training], states.zero)
    return roots


def _functions(codec, roots):
    if roots is None:
        return codec.encode, codec.decode
    return (lambda fields: codec.encode(roots(fields))), (lambda codes: roots.inverse(codec.decode(codes)))


def _of_blocks(states, blocks, m, roots):
    values = _values(states, roots)
    counts = modes_of_blocks(values, blocks, m)
    codec = LocalModes(len(states.variables), blocks, counts)
    codec.load_bases(local_bases(values, blocks, counts))
    return codec


def _of_windows(states, windows, m, roots):
    codec = LocalModes(len(states.variables), GridBlocks(states.grid.shape, (1, 1, 1)), [m])
    codec.load_bases([windowed_modes(_values(states, roots), m, windows)])
    return codec


def _values(states, roots):
    values = np.ascontiguousarray(states.fields[: states.n_training])
    return values if roots is None else roots(torch.from_numpy(values)).numpy()


def _round_trip(states: StandardisedStates, encode, decode, mean=None, scale=None) -> RoundTrip:
    """Of the experiment's standardised states, by functions of fields; their own mean and scale if they have one."""

    def of(rows):
        inner = rows
        if scale is not None:
            physical = states.restored(rows.astype(np.float64))
            inner = np.divide(physical - mean, scale, out=np.zeros_like(physical), where=scale != 0.0)
        shape = (len(rows), *states.grid.shape, len(states.variables))
        fields = torch.from_numpy(np.ascontiguousarray(inner.reshape(shape).transpose(0, 4, 1, 2, 3), np.float32))
        with torch.no_grad():
            back = decode(encode(fields)).numpy().transpose(0, 2, 3, 4, 1).reshape(len(rows), -1)
        if scale is None:
            return back
        return states.standardised(mean + scale * back)

    return of


def _network(inputs):
    """The case's network, its round trip and its number of values; it must not have seen a test state."""
    states, section = inputs.states, inputs.case.network
    expected = {"variables": list(states.variables), "grid": states.grid.description, "mask": states.grid.fluid}
    try:
        model, about = files.load(section.file, {**expected, "name": section.name}, files.AUTOENCODER)
        arrays = files.load_arrays(section.file, ("mean", "scale"), {"mean": (states.n,), "scale": (states.n,)})
    except ValueError as error:  # ModelFileError too
        raise ConfigurationError(f"network.file: {error}; python -m plugin.train makes it") from error
    last, first = about["validation period"][1], float(states.times[states.n_training])
    if last >= first:
        raise ConfigurationError(
            f"network.file: {section.file} learnt from states up to {last:g} s, but test states begin at {first:g} s; "
            "end background.snapshots or network.training.snapshots before (until), and train it again"
        )
    trip = _round_trip(states, model.encode, model.decode, arrays["mean"], arrays["scale"])
    return model, trip, sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))


def _draw(figure: Figure, rows: list[Row]) -> None:
    axes = figure.subplots()
    axes.barh([row["system"] for row in rows], [row["error"] for row in rows], 0.7)
    axes.invert_yaxis()
    axes.set_xlabel("‖x − g(f(x))‖ / ‖x‖")
