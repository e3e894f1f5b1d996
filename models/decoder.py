"""An autoencoder between a distributed state and a latent vector that is complete on every rank.

A network works on the whole grid, so it does not run on slabs. What lies and moves where:

    control, latent   float64, complete on every rank; PETSc/TAO and all of the control's algebra run on the CPU
    network           on one rank of each group, the decoding rank: on the GPU that its number within the node
                      picks, on the CPU where there is none
    decode            every group decodes the same latent by itself, and scatters the field to those of its ranks
                      that own the rows: n numbers within a group, none between groups
    adjoint           a group gathers its own rows, others are zero; one VJP each, and the sum of the m
                      numbers over all groups
    tangent           as decode: one JVP each
    encode            a state is gathered to one decoding rank: n numbers over all ranks; several states are dealt
                      to the groups in turn

A group is a node (`MPI_COMM_TYPE_SHARED`) unless another is given. Memory: one field of n numbers in the
network's precision, and the activations of one decode, on the decoding rank alone.

Networks usually are float32; those of bfloat16 or float16 are converted to that. Fields are rounded to the network's
precision on their way in and travel in it. Scales, sums over ranks and everything outside are float64.

The network is any :class:`models.local_network.Network`. Its fields are in units of `scale`.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
import torch
from mpi4py import MPI
from torch import nn

from coupling.common.collective import refuse_together
from models.local_network import (
    HALF_PRECISIONS,
    LocalNetwork,
    Network,
    Passes,
    PlainPasses,
    dtype_of,
    in_full_precision,
)

_MPI_TYPE = {np.dtype(np.float32): MPI.FLOAT, np.dtype(np.float64): MPI.DOUBLE}
Result = TypeVar("Result")


class DecoderError(RuntimeError):
    """The network failed on a decoding rank; raised on every rank with the network's own message."""


@dataclass(frozen=True)
class ParallelDecoder:
    """g and f of a network over the ranks; made by `parallel_decoder`. All methods are collective.

    local : the network on the decoding ranks, with a cache of activations; None on the others
    scale : (n_local,) float64 factor of each value, in the state's units; zero where a value takes no part
    comm : MPI communicator the rows lie over
    group : communicator of the ranks that one decode serves; its rank 0 decodes
    leaders : ranks of `comm` that decode
    counts, starts : (ranks of comm,) rows of each rank, and the first of them
    members : (ranks of group,) their ranks in `comm`
    n_latent : m
    dtype : numpy dtype of the network
    """

    local: LocalNetwork | None
    scale: np.ndarray
    comm: MPI.Comm
    group: MPI.Comm
    leaders: tuple[int, ...]
    counts: np.ndarray
    starts: np.ndarray
    members: np.ndarray
    n_latent: int
    dtype: np.dtype

    @property
    def network(self) -> nn.Module | None:
        """The torch module on the decoding ranks, None on the others."""
        return None if self.local is None else self.local.module

    @property
    def device(self) -> torch.device | None:
        """Of the network on the decoding ranks, None on the others."""
        return None if self.local is None else self.local.device

    def apply(self, latent: np.ndarray, keep: bool = False) -> np.ndarray:
        """scale · g(z): (m,) on every rank → (n_local,) float64 in the state's units.

        keep : hold the activations, so that adjoints and tangents at the same z run no decode of their own
        """
        return self.scale * self._scattered(lambda network: network.decode(np.asarray(latent), keep))

    def adjoint(self, increment: np.ndarray, at: np.ndarray) -> np.ndarray:
        """g'(z)ᵀ (scale · δx): (n_local,) → (m,) float64 on every rank, by one VJP.

        at : (m,) z where g' is taken
        """
        cotangent = self._gathered(self.scale * increment)
        part = self._on_leader(lambda network: network.adjoint(cotangent, np.asarray(at)))
        latent = np.zeros(self.n_latent) if part is None else part.astype(np.float64)
        self.comm.Allreduce(MPI.IN_PLACE, latent)
        return latent

    def tangent(self, direction: np.ndarray, at: np.ndarray) -> np.ndarray:
        """scale · g'(z) p: (m,) on every rank → (n_local,) in the state's units, by one JVP.

        at : (m,) z where g' is taken

        Where the activations at z are in memory, by the transpose of the VJP: g'ᵀ v is linear in v, and its own VJP is
        g'. That takes their memory once more and half the time of forward mode, which decodes again. Elsewhere, and
        where a layer lacks a second derivative, by forward mode; where a layer lacks that, by the former.
        """
        return self.scale * self._scattered(lambda network: network.tangent(np.asarray(direction), np.asarray(at)))

    def encode(self, states: np.ndarray) -> np.ndarray:
        """f(x / scale): (n_local,) or (n_local, k) in the state's units → (m,) or (m, k), on every rank.

        Values whose scale is zero are given to the network as zero.
        """
        states = np.asarray(states, dtype=np.float64)
        columns = states[:, None] if states.ndim == 1 else states
        latents = np.zeros((self.n_latent, columns.shape[1]))
        for first in range(0, columns.shape[1], len(self.leaders)):
            own, own_state = -1, None
            for column, leader in zip(range(first, columns.shape[1]), self.leaders, strict=False):
                state = self._gathered_to(leader, columns[:, column])
                if state is not None:
                    own, own_state = column, state
            latent = self._on_leader(_encoding(own_state))
            if latent is not None:
                latents[:, own] = latent
        self.comm.Allreduce(MPI.IN_PLACE, latents)
        return latents.reshape((self.n_latent, *states.shape[1:]))

    def code_deviation(self, latent: np.ndarray) -> np.ndarray:
        """σ of a variational network's q(z|x) = N(f(x), diag σ²) at f(x): (m,) → (m,) float64 on every rank.

        Raises
        ------
        DecoderError
            if the network is not variational
        """
        made = self._on_leader(lambda network: network.code_deviation(np.asarray(latent)))
        whole = self.comm.bcast(made, root=self.leaders[0])
        return np.asarray(whole, np.float64)

    def passes(self) -> Passes:
        """Passes of this rank's group so far, the same on all its ranks."""
        return self.group.bcast(None if self.local is None else copy.copy(self.local.passes))

    def release(self) -> None:
        """Free the memory of activations."""
        if self.local is not None:
            self.local.cache.clear()

    def _on_leader(self, compute: Callable[[LocalNetwork], Result]) -> Result | None:
        """What a decoding rank computes with its network; None on the others. Its failure is everyone's."""
        problem, result = None, None
        if self.local is not None:
            try:
                result = compute(self.local)
            except Exception as error:  # whatever a network may raise: the other ranks wait
                problem = f"the network failed: {type(error).__name__}: {error}"
        refuse_together(problem, self.comm, DecoderError)
        return result

    def _scattered(self, compute: Callable[[LocalNetwork], np.ndarray]) -> np.ndarray:
        values = self._on_leader(compute)
        own = np.empty(self.counts[self.comm.rank], self.dtype)
        layout = (self.counts[self.members], self.starts[self.members])
        message = None if values is None else [np.ascontiguousarray(values), layout, _MPI_TYPE[self.dtype]]
        self.group.Scatterv(message, own, root=0)
        return own.astype(np.float64)

    def _gathered(self, values):
        """(n,) with the group's rows, zero elsewhere, on its decoding rank; None on the others."""
        gathered = np.zeros(self.counts.sum(), self.dtype) if self.local is not None else None
        layout = (self.counts[self.members], self.starts[self.members])
        into = None if gathered is None else [gathered, layout, _MPI_TYPE[self.dtype]]
        self.group.Gatherv(np.ascontiguousarray(values, self.dtype), into, root=0)
        return gathered

    def _gathered_to(self, leader, values):
        """(n,) of a state in units of the scale on one rank; None on the others."""
        scaled = np.divide(values, self.scale, out=np.zeros(len(self.scale)), where=self.scale != 0.0)
        gathered = np.empty(self.counts.sum(), self.dtype) if self.comm.rank == leader else None
        into = None if gathered is None else [gathered, (self.counts, self.starts), _MPI_TYPE[self.dtype]]
        self.comm.Gatherv(scaled.astype(self.dtype), into, root=leader)
        return gathered


def _encoding(state):
    """A function that encodes a state, or nothing where there is none."""
    return lambda network: None if state is None else network.encode(state)


def decodes(comm: MPI.Comm, group: MPI.Comm | None = None) -> bool:
    """Whether this rank decodes, and so needs the network: rank 0 of its group, or node. Collective."""
    if group is not None:
        return group.rank == 0
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    rank = node.rank
    node.Free()
    return rank == 0


def parallel_decoder(
    network: nn.Module | None,
    scale: np.ndarray,
    comm: MPI.Comm,
    *,
    group: MPI.Comm | None = None,
    device: torch.device | str | None = None,
    faster: Callable[..., PlainPasses] | None = None,
) -> ParallelDecoder:
    """An autoencoder over the ranks. Collective.

    Parameters
    ----------
    network : a `models.local_network.Network`; ranks for which `decodes` is false may give None. It is copied.
    scale : (n_local,) factor of each value of this rank's rows, in the state's units, zero where a value takes no
        part; what the training fields were divided by
    comm : MPI communicator; ranks hold rising runs of the state's rows
    group : communicator of the ranks that one decode serves, a part of `comm`; None takes the node
    device : of torch; None takes the GPU of this rank's number within the node, or the CPU where there is none
    faster : function of the network, in its place and in evaluation, that returns its `PlainPasses`; they are used
        where no derivative follows. None uses the network's own

    Returns
    -------
    ParallelDecoder

    Raises
    ------
    ValueError
        on every rank, if a decoding rank has no network, or the network does not fit the state's rows
    """
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    local_rank, group = node.rank, node if group is None else group
    scale = np.array(scale, dtype=np.float64)
    counts = np.array(comm.allgather(len(scale)))
    leads = group.rank == 0
    refuse_together(_problem(network, counts.sum()) if leads else None, comm)
    facts = None
    if leads and network is not None:
        # a copy: the caller's may be in training, and weights that take a gradient save their activations
        network = in_full_precision(copy.deepcopy(network))
        facts = (int(cast(Network, network).n_latent), str(dtype_of(network)).removeprefix("torch."))
    n_latent, dtype = comm.bcast(facts, root=_first(comm, leads))
    unlike = leads and facts != (n_latent, dtype)
    refuse_together(f"networks {facts} and {(n_latent, dtype)} on different ranks" if unlike else None, comm)
    local = None
    if leads and network is not None:
        place = torch.device(device) if device is not None else _device(local_rank)
        network = network.to(place).eval().requires_grad_(False)
        local = LocalNetwork(network, np.dtype(dtype), place, faster(network) if faster is not None else None)
    return ParallelDecoder(
        local=local,
        scale=scale,
        comm=comm,
        group=group,
        leaders=tuple(rank for rank, leading in enumerate(comm.allgather(leads)) if leading),
        counts=counts,
        starts=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        members=np.array(group.allgather(comm.rank)),
        n_latent=n_latent,
        dtype=np.dtype(dtype),
    )


def _first(comm, leads):
    return comm.allreduce(comm.rank if leads else comm.size, MPI.MIN)


def _problem(network, n_state):
    if network is None:
        return "a decoding rank was given no network; give it one, or ask `decodes` first"
    wanted = int(np.prod(network.shape)) * network.channels
    if wanted != n_state:
        fits = f"{network.channels} variables on {tuple(network.shape)} = {wanted} values"
        return f"the network is made for {fits}, the state has {n_state}"
    if dtype_of(network) not in (torch.float32, torch.float64, *HALF_PRECISIONS):
        return f"the network computes in {dtype_of(network)}, expected float32 or float64"
    return None


def _device(local_rank):
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.device("cuda", local_rank % n) if n else torch.device("cpu")
