"""Training over ranks against one rank: the same steps, batch norm's too; a resume to the last bit; errors of all."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI
from training_problem import MASK, N_VALIDATION, make_network, make_samples

from models.training.errors import TrainingError
from models.training.evaluation import codes_and_round_trips
from models.training.loop import train
from models.training.recipe import Recipe

comm, folder = MPI.COMM_WORLD, Path(sys.argv[1])
samples, recipe = make_samples(), Recipe(epochs=3, batch=8)

changes: tuple[dict, ...] = (
    {"objective": "vae", "beta": 0.1, "epochs": 1},
    {"objective": "adversarial", "discriminator": 0.1, "epochs": 1},
    {"settle": 1.0},
    {"settle": 0.4},
)
for change in changes:
    models = [make_network(variational=change.get("objective") == "vae").double() for _ in range(2)]
    settled = replace(recipe, **change)
    both = zip(models, (MPI.COMM_SELF, comm), strict=True)
    one, all_ = (train(m, samples, N_VALIDATION, settled, c) for m, c in both)
    for mine, theirs in zip(all_.history, one.history, strict=True):
        for name in ("train", "validation", "error", "gradient"):
            assert abs(mine[name] - theirs[name]) <= 1e-7 * theirs[name], (name, mine, theirs)
    assert comm.allgather(all_.history[-1]["validation"]) == [all_.history[-1]["validation"]] * comm.size

part = np.broadcast_to(MASK, samples.shape[1:])
both = (codes_and_round_trips(models[1], samples, c, part) for c in (comm, MPI.COMM_SELF))
for found, expected in zip(*both, strict=True):
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def stop(history):
    if len(history) == 1:
        raise KeyboardInterrupt


whole, stopped, resumed = (make_network() for _ in range(3))
train(whole, samples, N_VALIDATION, recipe, comm)
try:
    train(stopped, samples, N_VALIDATION, recipe, comm, folder=folder, after_epoch=stop)
except KeyboardInterrupt:
    comm.Barrier()
train(resumed, samples, N_VALIDATION, recipe, comm, folder=folder, resume=1)
for key, value in whole.state_dict().items():
    assert torch.equal(value, resumed.state_dict()[key]), key

broken = samples.copy()
broken[5] = np.inf  # on one rank only
for work, kind in (
    (lambda: train(make_network(), broken, N_VALIDATION, recipe, comm), TrainingError),
    (lambda: train(make_network(), samples, N_VALIDATION, replace(recipe, batch=comm.size - 1), comm), ValueError),
    (lambda: train(make_network(), samples, N_VALIDATION, recipe, comm, folder=Path("/dev/null/none")), OSError),
):
    try:
        work()
    except kind:
        continue
    raise AssertionError(f"no {kind.__name__}")
