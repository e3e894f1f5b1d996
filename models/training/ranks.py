"""torch.distributed over the ranks of an MPI communicator: gloo on CPUs, NCCL where each rank has a GPU.

The batch norms' sums are of some hundred numbers, and there are a hundred of them in a step: on CPUs these go by MPI,
whose ranks look for a message all the time, where gloo's threads are woken for each.
"""

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from mpi4py import MPI
from torch import distributed, nn

from models.layers.norm import BatchNorm


def device_of(comm: MPI.Comm) -> torch.device:
    """The GPU that this rank's number within its node picks, or the CPU where there is none. Collective.

    Raises
    ------
    ValueError
        on every rank, if a node has fewer GPUs than ranks while there are GPUs on any
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    local, size = node.rank, node.size
    node.Free()
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    fewest, most = comm.allreduce(gpus - size, MPI.MIN), comm.allreduce(gpus, MPI.MAX)
    if most and fewest < 0:
        raise ValueError(f"a node has {-fewest} ranks more than GPUs; start a rank for each GPU, or hide them")
    return torch.device("cuda", local) if most else torch.device("cpu")


@contextmanager
def joined(comm: MPI.Comm, device: torch.device) -> Iterator[None]:
    """Ranks that can average gradients, for as long as the block lasts. Collective; one rank needs none of it.

    Rank 0 listens on a free port that it passes to the others by MPI, so that no variables of a launcher are needed.
    """
    if comm.size == 1:
        yield
        return
    node = comm.Split_type(MPI.COMM_TYPE_SHARED)
    host = comm.bcast("127.0.0.1" if node.size == comm.size else socket.gethostname())
    node.Free()
    store = None
    if comm.rank == 0:
        store = distributed.TCPStore(host, 0, comm.size, is_master=True, wait_for_workers=False)
    port = comm.bcast(store.port if store else None)
    store = store or distributed.TCPStore(host, port, comm.size, is_master=False)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=comm.rank, world_size=comm.size)
    try:
        yield
    finally:
        distributed.destroy_process_group()


class _Sum(torch.autograd.Function):
    """The ranks' sum; what one rank's part does to the loss it does on all ranks."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, comm: MPI.Comm) -> torch.Tensor:
        ctx.comm = comm
        return _summed(part, comm)

    @staticmethod
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor, None]:
        return _summed(slope, ctx.comm), None


def _summed(part, comm):
    whole = part.detach().clone(memory_format=torch.contiguous_format)
    if whole.device.type == "cpu":
        comm.Allreduce(MPI.IN_PLACE, whole.numpy())
    else:
        distributed.all_reduce(whole)
    return whole


@contextmanager
def norms_over_ranks(model: nn.Module, comm: MPI.Comm) -> Iterator[None]:
    """Batch norm over all ranks' samples, for as long as the block lasts."""
    for norm in norms(model):
        norm.summed = (lambda part: _Sum.apply(part, comm)) if comm.size > 1 else None
    try:
        yield
    finally:
        for norm in norms(model):
            norm.summed = None


def norms(model: nn.Module) -> list[BatchNorm]:
    """The batch norms of a network."""
    return [module for module in model.modules() if isinstance(module, BatchNorm)]


def share_buffers(model: nn.Module, comm: MPI.Comm) -> None:
    """Rank 0's buffers on every rank: batch norms other than ours gather statistics of their own. Collective."""
    if comm.size > 1:
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def average_gradients(parameters: Sequence[nn.Parameter], comm: MPI.Comm) -> None:
    """Each gradient becomes the ranks' mean. Collective.

    One sum of them all, after the backward pass: networks here have a few million weights, and the order of summation
    is always the same.
    """
    if comm.size == 1:
        return
    slopes = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    flat = torch.cat([slope.flatten() for slope in slopes])
    distributed.all_reduce(flat)
    flat /= comm.size
    for p, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = torch.empty_like(p).copy_(mean.view(p.shape))
