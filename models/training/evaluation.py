"""What a trained network makes of its samples: codes, and errors of the round trip."""

import numpy as np
import torch
from mpi4py import MPI
from numpy.typing import ArrayLike

from models.local_network import PlainPasses
from models.training.dataset import Samples, read_batches, share
from models.zoo.autoencoder import Autoencoder

_BATCH = 16


def codes_and_round_trips(
    model: Autoencoder, samples: Samples, comm: MPI.Comm, part: ArrayLike, passes: PlainPasses | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """f of all samples, and the rms of x − g(f(x)) over the points that take part. Collective.

    Parameters
    ----------
    model : Autoencoder in evaluation mode, on the CPU
    samples : (S, C, nx, ny, nz), as for `train`
    comm : MPI communicator; samples are dealt to its ranks
    part : (C, nx, ny, nz) ones where a value takes part
    passes : that are used in place of the model's own, where those of the file differ

    Returns
    -------
    codes : (m, S) float32, on every rank
    round_trips : (S,) float64 in standard deviations, on every rank
    """
    way = passes or model
    chosen = torch.as_tensor(np.array(part), dtype=torch.float64)
    mine = share(np.arange(len(samples)), comm.rank, comm.size)
    codes, errors = [np.empty((0, model.n_latent), np.float32)], [np.empty(0)]
    batches = np.array_split(mine, max(1, -(-len(mine) // _BATCH)))
    with torch.no_grad():
        for _, values in read_batches(samples, batches, 1):
            fields = torch.from_numpy(values).to(model.mask.dtype)
            latent = way.encode(fields)
            square = (way.decode(latent) - fields).double().square() * chosen
            codes.append(latent.float().numpy())
            errors.append((square.flatten(1).sum(1) / chosen.sum()).sqrt().numpy())
    every_code = np.concatenate(comm.allgather(np.concatenate(codes)))
    return np.ascontiguousarray(every_code.T), np.concatenate(comm.allgather(np.concatenate(errors)))
