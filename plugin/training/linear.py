"""A linear autoencoder of a case (network.name: Linear): its matrix is TSVD's modes, nothing is trained."""

from typing import Any

import numpy as np
import torch
from mpi4py import MPI
from scipy.linalg import eigh

from coupling.common.collective import on_rank_0_asleep
from models import files
from models.training.evaluation import codes_and_round_trips
from models.zoo.linear import Linear
from plugin.case.configuration import ConfigurationError
from plugin.case.network import NetworkSection
from plugin.run.progress import Progress
from plugin.training.training_set import StoredSamples, TrainingSet

_TOGETHER = 64  # states that are read at a time


def leading_modes(samples: StoredSamples | np.ndarray, count: int) -> np.ndarray:
    """The leading left singular vectors of states: (S, C, nx, ny, nz) → (C·nx·ny·nz, count) float32.

    By the eigenvectors of the states' products (the method of snapshots, Sirovich 1987), a block of rows at a time.

    ValueError if the states have fewer directions
    """
    n = len(samples)
    parts = [slice(first, min(first + _TOGETHER, n)) for first in range(0, n, _TOGETHER)]
    gram = np.zeros((n, n))
    for a in parts:
        left = np.asarray(samples[a], np.float64).reshape(a.stop - a.start, -1)
        for b in parts:
            if b.start >= a.start:
                gram[a, b] = left @ np.asarray(samples[b], np.float64).reshape(b.stop - b.start, -1).T
                gram[b, a] = gram[a, b].T
    variances, right = eigh(gram, subset_by_index=(max(0, n - count), n - 1))
    if count > n or variances[0] <= 1e-7 * variances[-1]:  # of single-precision values
        found = int(np.sum(variances > 1e-7 * variances[-1]))
        raise ValueError(f"n_latent = {count}, but {n} states have {found} modes; expected fewer numbers")
    right = right[:, ::-1] / np.sqrt(variances[::-1])
    return np.asarray(
        sum(np.asarray(samples[of], np.float64).reshape(of.stop - of.start, -1).T @ right[of] for of in parts),
        np.float32,
    )


def keep_linear(section: NetworkSection, data: TrainingSet, comm: MPI.Comm, progress: Progress) -> None:
    """Write the file of a linear autoencoder of the training states. Collective; one rank makes the modes.

    ConfigurationError if the case does not say how many numbers a code has, or the states are too few
    """
    if section.n_latent is None:
        raise ConfigurationError("network.n_latent: this key is missing; Linear needs the number of its modes")
    count, shape = section.n_latent, data.samples.shape
    known = len(data.samples) - data.n_validation
    try:
        modes = on_rank_0_asleep(lambda: leading_modes(data.samples[slice(known)], count), comm)
    except ValueError as error:
        raise ConfigurationError(f"network: {error}") from error
    model = Linear(shape[1], shape[2:], count, torch.from_numpy(modes), data.grid.fluid)
    codes, round_trips = codes_and_round_trips(model, data.samples, comm, data.part)
    arrays: dict[str, Any] = {
        "mean": data.mean, "scale": data.scale, "times": data.times,
        "codes": codes, "round_trips": round_trips[-data.n_validation :],
    }  # fmt: skip
    if comm.rank == 0:
        files.save(section.file, model, data.about, arrays)
    comm.Barrier()
    missed = float(np.mean(round_trips[-data.n_validation :]))
    progress.say(f"{section.file}: {count} modes of {known} states, rms error {missed:.4g} of the validation states")
