"""One bi-reduced analysis by smaller and faster forms of Tucodec-NeXt, each alone and together: time and bytes.

    OMP_NUM_THREADS=1 python -m benchmarks.small [--rounds 20] [--shape 91 85 32]

All values observed: d_l = f(d), the closed-form minimum in R^S, S = 791, one decoding. Networks have random weights,
which does not affect times. The forms take turns, round by round; times are the shortest of the processor's, which
other programs disturb less than the wall's. Passes are recorded after 16 of them (`models.traced`). Bytes are of the
weights in the network's file; those of int8 leave out the steps.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from benchmarks.measuring import PAPER_SAMPLES, PAPER_SHAPE, machine, save, table
from da.background.latent import decoded_transform, latent_modes
from da.bireduced import bireduced, latent_error, latent_minimum
from models import zoo
from models.decoder import parallel_decoder
from models.inference import fast_passes
from models.int8 import largest_inputs, weight_axes

COMM = MPI.COMM_SELF
THIN, THINNER = [16, 32, 64, 64], [8, 24, 48, 64]
FORMS: dict[str, tuple[str, dict[str, Any], torch.dtype]] = {  # int8: of its large convolutions
    "full": ("Tucodec-NeXt", {}, torch.float32),
    "bfloat16": ("Tucodec-NeXt", {}, torch.bfloat16),
    "int8": ("Tucodec-NeXt", {}, torch.int8),
    "factorised blocks": ("Tucodec-Factorised", {}, torch.float32),
    "separable blocks": ("Tucodec-Separable", {}, torch.float32),
    "shuffle": ("Tucodec-NeXt", {"upsampling": "shuffle"}, torch.float32),
    "decoder of half the width": ("Tucodec-NeXt", {"decoder_width": 32}, torch.float32),
    f"decoder_width {THIN}": ("Tucodec-NeXt", {"decoder_width": THIN}, torch.float32),
    "half the width": ("Tucodec-NeXt", {"width": 32}, torch.float32),
    f"width {THIN}": ("Tucodec-NeXt", {"width": THIN}, torch.float32),
    f"width {THIN}, shuffle": ("Tucodec-NeXt", {"width": THIN, "upsampling": "shuffle"}, torch.float32),
    "the same, separable": ("Tucodec-Separable", {"width": THIN, "upsampling": "shuffle"}, torch.float32),
    "the same, bfloat16": ("Tucodec-Separable", {"width": THIN, "upsampling": "shuffle"}, torch.bfloat16),
    f"width {THINNER}, shuffle": ("Tucodec-NeXt", {"width": THINNER, "upsampling": "shuffle"}, torch.float32),
    f"width {THINNER}, shuffle, separable": (
        "Tucodec-Separable", {"width": THINNER, "upsampling": "shuffle"}, torch.float32
    ),
}  # fmt: skip


class Form:
    """One form, ready for analyses."""

    def __init__(self, name: str, options: dict[str, Any], precision: torch.dtype, shape: tuple[int, ...]) -> None:
        model = zoo.make(name, 1, shape, **options).eval()
        weights, eight = dict(model.named_parameters()), precision == torch.int8
        of_few = weight_axes(model) if eight else {}
        sizes = {name: 1 if name in of_few else 2 if precision == torch.bfloat16 else 4 for name in weights}
        self.bytes = sum(sizes[name] * weight.numel() for name, weight in weights.items())
        fields = torch.randn(1, 1, *shape, generator=torch.Generator().manual_seed(4))
        largest = largest_inputs(model, [lambda: model(fields)]) if eight else None
        plain = torch.float32 if eight else precision
        codes = np.random.default_rng(3).standard_normal((model.n_latent, PAPER_SAMPLES))
        self.decoder = parallel_decoder(
            model, np.ones(int(np.prod(shape))), COMM, faster=lambda network: fast_passes(network, plain, largest)
        )
        self.transform = decoded_transform(self.decoder, latent_modes(codes, COMM, unbiased=False))
        error = latent_error(0.05, model.n_latent)
        self.minimum = latent_minimum(self.transform.modes, error, COMM, 0.1)
        self.best = [np.inf] * 3

    def analyse(self, innovation: np.ndarray) -> None:
        """One round: an analysis, an encoding and a decoding, whose times are kept where they are the shortest."""
        code = self.transform.encode_increment(innovation)
        for k, part in enumerate(
            (
                lambda: bireduced(self.transform, innovation, COMM, minimum=self.minimum),
                lambda: self.transform.encode_increment(innovation),
                lambda: self.decoder.apply(code),
            )
        ):
            began = time.process_time()
            part()
            self.best[k] = min(self.best[k], time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--shape", type=int, nargs=3, default=PAPER_SHAPE)
    arguments = parser.parse_args()
    shape = tuple(arguments.shape)
    before, innovation = machine(), np.random.default_rng(5).standard_normal(int(np.prod(shape)))
    forms = {name: Form(*form, shape) for name, form in FORMS.items()}
    for _ in range(arguments.rounds):
        for form in forms.values():
            form.analyse(innovation)
    full = forms["full"].best[0]
    rows = [
        [name, *(1e3 * seconds for seconds in form.best), full / form.best[0], form.bytes / 1e6]
        for name, form in forms.items()
    ]
    columns = ["form", "analysis ms", "encode ms", "decode ms", "times faster", "MB"]
    table(f"one bi-reduced analysis at {shape}, {torch.get_num_threads()} threads", columns, rows)
    figures = {name: {"seconds": form.best, "bytes": form.bytes} for name, form in forms.items()}
    save(
        f"small-{'-'.join(map(str, shape))}",
        {**before, "torch": torch.__version__, "grid": shape, "forms": figures},
        1.0,
    )


if __name__ == "__main__":
    main()
