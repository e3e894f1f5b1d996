"""Decoding with every network of the zoo at the paper's grid, 91×85×32, one field, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.decode [NAME …] [--compile NAME …] [--rounds 9]

Methods:
    as written          model.decode, as training runs it
    inference mode      the same without a graph
    channels last       the same with weights and latent in torch.channels_last_3d
    compiled            torch.compile in inference mode, if there is a C++ compiler; it takes minutes, so only for a few
    fast                models.inference.fast_passes
    fast, bfloat16      the same in bfloat16

The methods take turns, so that other load on the machine affects all of them; times are the shortest of all rounds,
ratios the median of each round's. Errors are relative to the field's change with the code,
‖g̃(z) − g(z)‖ / ‖g(z) − g(0)‖, for the network as written. To make them meaningful the network is trained for a few
steps on waves on a small grid, and z is a code of waves; convolutions take the same weights on any grid.
"""

import argparse
import shutil
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.measuring import PAPER_SHAPE, machine, save, table
from models import zoo
from models.inference import fast_passes
from models.zoo.autoencoder import Autoencoder

Decode = Callable[[torch.Tensor], torch.Tensor]

WRITTEN = "as written"
SMALL_SHAPE = (33, 17, 9)
COMPILED = ("Backbone", "Tucodec-NeXt")


def waves(shape: Sequence[int], number: int) -> torch.Tensor:
    """(number, 1, nx, ny, nz) waves of random length and direction, of variance about 1."""
    x, y, z = torch.meshgrid(*(torch.linspace(0.0, 1.0, n) for n in shape), indexing="ij")
    k = 6.0 * torch.rand(number, 6, 1, 1, 1)
    return (torch.sin(k[:, 0] * x + k[:, 1] * y + k[:, 2]) + torch.cos(k[:, 3] * y + k[:, 4] * z + k[:, 5]))[:, None]


def network(name: str, steps: int) -> Autoencoder:
    """A network in evaluation mode, briefly trained on a small grid."""
    small = zoo.make(name, 1, SMALL_SHAPE)
    optimiser = torch.optim.Adam(small.parameters(), 2e-3)
    for _ in range(steps):
        fields = waves(SMALL_SHAPE, 4)
        optimiser.zero_grad()
        (small(fields) - fields).square().mean().backward()
        optimiser.step()
    model = zoo.make(name, 1, PAPER_SHAPE)
    model.load_state_dict({**small.state_dict(), "mask": model.mask})
    return model.eval()


def ways(model: Autoencoder, compiled: bool) -> dict[str, Decode]:
    """{method: decode}, each latent → field."""

    def without_graph(decode: Decode) -> Decode:
        def call(latent: torch.Tensor) -> torch.Tensor:
            with torch.inference_mode():
                return decode(latent)

        return call

    architecture: Any = model.architecture
    last = zoo.make(architecture["name"], 1, PAPER_SHAPE)
    last.load_state_dict(model.state_dict())
    last = last.eval().to(memory_format=torch.channels_last_3d)
    decoders: dict[str, Decode] = {
        WRITTEN: model.decode,
        "inference mode": without_graph(model.decode),
        "channels last": without_graph(lambda latent: _decode_channels_last(last, latent)),
        "fast": fast_passes(model).decode,
        "fast, bfloat16": fast_passes(model, torch.bfloat16).decode,
    }
    if compiled:
        decoders["compiled"] = without_graph(torch.compile(model.decode))
    return decoders


def _decode_channels_last(model, latent):
    latent = latent.reshape(-1, *model.latent_shape).contiguous(memory_format=torch.channels_last_3d)
    return model.decoder(latent) * model.mask


def measure(name: str, rounds: int, steps: int, compiled: bool) -> dict[str, Any]:
    """Parameters; for each method seconds, ratio and error; seconds to compile."""
    model = network(name, steps)
    with torch.no_grad():
        latent = model.encode(waves(PAPER_SHAPE, 1))
        truth = model.decode(latent)
        change = (truth - model.decode(torch.zeros_like(latent))).norm()
    decoders, errors, first = ways(model, compiled), dict[str, float](), dict[str, float]()
    for way, decode in decoders.items():
        began = time.perf_counter()
        with torch.no_grad():
            errors[way] = float((decode(latent) - truth).norm() / change)
        first[way] = time.perf_counter() - began
    times: dict[str, list[float]] = {way: [] for way in decoders}
    for _ in range(rounds):
        for way, decode in decoders.items():
            began = time.perf_counter()
            decode(latent)
            times[way].append(time.perf_counter() - began)
    written = np.array(times[WRITTEN])
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "n_latent": model.n_latent,
        "ways": {
            way: {
                "seconds": min(seconds),
                "ratio": float(np.median(written / np.array(seconds))),
                "error": errors[way],
                "first_call_seconds": first[way],
            }
            for way, seconds in times.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=zoo.NAMES)
    parser.add_argument("--compile", nargs="*", default=COMPILED)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    compiler = shutil.which("c++") or shutil.which("g++")
    before = machine()
    figures, rows = dict[str, Any](), []
    for name in arguments.names:
        figures[name] = measure(name, arguments.rounds, arguments.steps, bool(compiler) and name in arguments.compile)
        for way, result in figures[name]["ways"].items():
            rows.append([name, way, 1e3 * result["seconds"], result["ratio"], result["error"]])
    title = f"decoding one field of {' × '.join(map(str, PAPER_SHAPE))}, {torch.get_num_threads()} threads"
    table(title, ["network", "way", "ms", "times faster", "error"], rows)
    how = {**before, "torch": torch.__version__, "grid": PAPER_SHAPE, "rounds": arguments.rounds}
    save("decode", {**how, "networks": figures}, len(figures) / len(zoo.NAMES))


if __name__ == "__main__":
    main()
