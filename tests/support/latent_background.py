"""The random background of `assimilation`, its modes as the factors of a linear network, and a file of that."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
import torch
from assimilation import N_MODES, make_background
from mpi4py import MPI

from da.background.linear_transform import LinearTransform
from da.background.modes import Modes
from models.files import load, save
from models.zoo.linear import Linear
from models.zoo.observation_encoder import ObservationEncoder
from plugin.case.latent import LatentSection
from plugin.window.background.latent import read_latent
from plugin.window.background.observation_encoding import file_hash

N_STATES = 20


def latent_background(comm):
    """(Background, State): modes that are orthonormal columns with codes of `N_STATES` states, V = W C / √(S − 1)."""
    background, state = make_background(comm)
    scale = background.transform.scale
    # V Vᵀ is all that counts: as many columns as numbers in a code
    left, sigma, _ = np.linalg.svd(codes() / np.sqrt(N_STATES - 1), full_matrices=False)
    vectors = factors(background) @ (left * sigma)
    modes = Modes(np.ascontiguousarray(vectors), None, np.zeros(len(vectors)), N_STATES, "reduced")
    return replace(background, modes=modes, transform=LinearTransform(modes, scale, comm)), state


def codes():
    """(m, S) of states about their mean."""
    values = np.random.default_rng(8).normal(size=(N_MODES, N_STATES)) * 10.0
    return values - values.mean(axis=1, keepdims=True)


def factors(background):
    """(n_local, m): columns orthonormal over the fluid points of the whole grid."""
    transfer, width = background.transfer, len(background.transfer.variables)
    grid, comm = transfer.grid, transfer.comm
    values = np.random.default_rng(9).normal(size=(grid.n_points * width, N_MODES))
    whole = np.linalg.qr(values * np.repeat(grid.fluid_points, width)[:, None])[0]
    rows = grid.rows(comm)
    return whole[rows.start * width : rows.stop * width]


def save_network(path, background, **metadata):
    """Write the linear network of a background that lies on one rank."""
    transfer, width = background.transfer, len(background.transfer.variables)
    grid, whole = transfer.grid, factors(background)
    assert transfer.comm.size == 1
    # a network's rows lie variable by variable, a state's point by point
    rows = whole.reshape(grid.n_points, width, -1).transpose(1, 0, 2).reshape(grid.n_points * width, -1)
    network = Linear(width, grid.shape, N_MODES, torch.as_tensor(rows), grid.fluid)
    scale = background.transform.scale * np.repeat(grid.fluid_points, width)
    _, state = make_background(MPI.COMM_SELF)
    mean = transfer.to_grid(state) - scale * (whole @ codes()[:, 0])  # so that the forecast is a state like the others
    about = {"variables": [v.name for v in transfer.variables], "grid": grid.description, **metadata}
    arrays = {"mean": mean, "scale": scale, "codes": codes(), "round_trips": np.full(4, 0.05)}
    save(path, network, about, arrays)


def latent_of(background, comm):
    """The Latent of the linear network, without a file."""
    with TemporaryDirectory() as folder:
        save_network(Path(folder) / "network.safetensors", background)
        return read_latent(case_of(Path(folder) / "network.safetensors"), background.transfer, comm)


def save_encoder(path, network, **metadata):
    """Write an observation encoder, as it is before training, of the network in a file."""
    model, about = load(network)
    kept = np.random.default_rng(12).normal(size=(N_MODES, 30)) * 10.0
    with torch.no_grad():
        arrays = {"fields": model.double().decode(torch.as_tensor(kept.T.copy())).numpy(), "codes": kept}
    told = {"variables": about["variables"], "grid": about["grid"], "autoencoder": file_hash(network), **metadata}
    save(path, ObservationEncoder(model, about["grid"]["spacing"], width=4), told, arrays)


def case_of(path, encoder=None, **latent):
    """What `read_latent` asks of a Case; `bireduced` if there is an observation encoder."""
    transform = "decoded" if encoder is None else "bireduced"
    background = SimpleNamespace(transform=transform, latent=LatentSection(**latent), unbiased=True, inflation=1.0)
    network = SimpleNamespace(file=path, name="Linear", observations=SimpleNamespace(file=encoder))
    return SimpleNamespace(network=network, background=background)


def with_network(background, latent):
    """The same background with a network."""
    return replace(background, latent=latent)
