"""One bi-reduced analysis end to end, at the size of Mack et al. 2020, and TSVD's for comparison, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.bireduced [NAME …] [--rounds 9]

A field of 91×85×32 observed at all values: d_l = f(d), the closed-form minimum in R^S, S = 791, and one decoding of
V_l w. Whatever does not depend on the readings is prepared before, for TSVD too: A = (HU)ᵀR⁻¹(HU). Networks have random
weights, which does not affect times. `slow` is the same analysis with the network as training runs it instead of
`models.inference.fast_passes`. The methods take turns and the shortest time of each counts; shares are of that round.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from benchmarks.analysis import ours
from benchmarks.measuring import PAPER_SAMPLES, PAPER_SHAPE, machine, save, table
from da.background.latent import decoded_transform, latent_modes
from da.background.modes import Modes
from da.bireduced import bireduced, latent_error, latent_minimum
from models import zoo
from models.decoder import parallel_decoder
from models.inference import fast_passes
from models.zoo.autoencoder import Autoencoder

COMM = MPI.COMM_SELF
PARTS = ("prepare", "minimise", "increment")


def by_network(name: str, innovation: np.ndarray, faster: Any) -> tuple[Callable[[], Any], Autoencoder]:
    """A function that computes an analysis, and the network."""
    model = zoo.make(name, 1, PAPER_SHAPE).eval()
    codes = np.random.default_rng(3).standard_normal((model.n_latent, PAPER_SAMPLES))
    decoder = parallel_decoder(model, np.ones(innovation.size), COMM, faster=faster)
    transform = decoded_transform(decoder, latent_modes(codes, COMM, unbiased=False))
    minimum = latent_minimum(transform.modes, latent_error(0.05, model.n_latent), COMM, 0.1)
    return (lambda: bireduced(transform, innovation, COMM, minimum=minimum)), model


def by_modes(tau: int, innovation: np.ndarray) -> Callable[[], Any]:
    """A function that computes an analysis with τ modes."""
    vectors = np.random.default_rng(4).standard_normal((innovation.size, tau))
    modes = Modes(vectors, None, np.zeros(innovation.size), PAPER_SAMPLES, "tsvd")
    return ours(modes, np.arange(innovation.size), innovation, COMM)[0]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=zoo.NAMES)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    before, innovation = machine(), np.random.default_rng(5).standard_normal(int(np.prod(PAPER_SHAPE)))
    ways: dict[str, Callable[[], Any]] = {}
    models: dict[str, Autoencoder] = {}
    for name in arguments.names:
        ways[name], models[name] = by_network(name, innovation, fast_passes)
        ways[f"{name}, slow"], _ = by_network(name, innovation, None)
    for tau in (32, PAPER_SAMPLES):
        ways[f"TSVD, τ = {tau}"] = by_modes(tau, innovation)
    best: dict[str, dict[str, float]] = {}
    for _ in range(arguments.rounds):
        for way, analysis in ways.items():
            seconds = dict(analysis().seconds)
            if way not in best or sum(seconds.values()) < sum(best[way].values()):
                best[way] = seconds
    rows = []
    for way, seconds in best.items():
        total = sum(seconds.values())
        model = models.get(way)
        slow = sum(best[f"{way}, slow"].values()) / total if model else ""
        rows.append(
            [way, model.n_latent if model else "", 1e3 * total, *(f"{seconds[p] / total:.1%}" for p in PARTS), slow]
        )
    columns = ["way", "m", "ms", "encode (TSVD: HUᵀR⁻¹d)", "minimise", "decode (TSVD: U w)", "times faster than slow"]
    table(f"one analysis, n = {innovation.size}, M = n, {torch.get_num_threads()} threads", columns, rows)
    figures = {**before, "torch": torch.__version__, "grid": PAPER_SHAPE, "S": PAPER_SAMPLES, "seconds": best}
    save("bireduced", figures, len(models) / len(zoo.NAMES))


if __name__ == "__main__":
    main()
