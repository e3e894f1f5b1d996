"""One analysis of the bi-reduced space end to end, at the size of Mack et al. 2020, and TSVD's beside it, in one run.

    OMP_NUM_THREADS=1 python -m benchmarks.bireduced [NAME …] [--rounds 9]

A field of 91×85×32 observed at all values: d_l = f(d), the closed minimum in R^S, S = 791, and one decode of V_l w. What
does not depend on the readings is made before, for TSVD too: A = (HU)ᵀR⁻¹(HU). Networks have random weights, for times do
not know of training. `slow` is the same analysis with the network as training runs it in place of
`models.inference.fast_decoder`. The ways take turns and the least time of each counts; shares are of that round.
"""

import argparse

import numpy as np
import torch
from mpi4py import MPI

from benchmarks.analysis import ours
from benchmarks.measuring import SEED_SAMPLES, SEED_SHAPE, keep, machine, table
from da.background.latent import decoded_transform, latent_modes
from da.background.modes import Modes
from da.bireduced import LatentMinimum, bireduced, latent_error
from models import zoo
from models.decoder import parallel_decoder
from models.inference import fast_decoder

COMM = MPI.COMM_SELF
PARTS = ("prepare", "minimise", "increment")


def by_network(name, innovation, faster):
    """A function that makes an analysis, and the network."""
    model = zoo.make(name, 1, SEED_SHAPE).eval()
    codes = np.random.default_rng(3).standard_normal((model.n_latent, SEED_SAMPLES))
    decoder = parallel_decoder(model, np.ones(innovation.size), COMM, faster=faster)
    transform = decoded_transform(decoder, latent_modes(codes, COMM, unbiased=False))
    minimum = LatentMinimum(transform.modes, latent_error(0.05, model.n_latent), COMM, 0.1)
    minimum.prepare()
    return (lambda: bireduced(transform, innovation, COMM, minimum=minimum)), model


def by_modes(tau, innovation):
    """A function that makes an analysis with τ modes."""
    vectors = np.random.default_rng(4).standard_normal((innovation.size, tau))
    modes = Modes(vectors, None, np.zeros(innovation.size), SEED_SAMPLES, "tsvd")
    return ours(modes, np.arange(innovation.size), innovation, COMM)[0]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=zoo.NAMES)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    before, innovation = machine(), np.random.default_rng(5).standard_normal(int(np.prod(SEED_SHAPE)))
    ways, models = {}, {}
    for name in arguments.names:
        ways[name], models[name] = by_network(name, innovation, fast_decoder)
        ways[f"{name}, slow"], _ = by_network(name, innovation, None)
    for tau in (32, SEED_SAMPLES):
        ways[f"TSVD, τ = {tau}"] = by_modes(tau, innovation)
    best = {}
    for _ in range(arguments.rounds):
        for way, analysis in ways.items():
            seconds = dict(analysis().seconds)
            if way not in best or sum(seconds.values()) < sum(best[way].values()):
                best[way] = seconds
    rows = []
    for way, seconds in best.items():
        total = sum(seconds.values())
        of = models.get(way)
        slow = sum(best[f"{way}, slow"].values()) / total if of else ""
        rows.append([way, of.n_latent if of else "", 1e3 * total, *(f"{seconds[p] / total:.1%}" for p in PARTS), slow])
    columns = ["way", "m", "ms", "encode (TSVD: HUᵀR⁻¹d)", "minimise", "decode (TSVD: U w)", "times faster than slow"]
    table(f"one analysis, n = {innovation.size}, M = n, {torch.get_num_threads()} thread(s)", columns, rows)
    figures = {**before, "torch": torch.__version__, "grid": SEED_SHAPE, "S": SEED_SAMPLES, "seconds": best}
    keep("bireduced", figures, len(models) / len(zoo.NAMES))


if __name__ == "__main__":
    main()
