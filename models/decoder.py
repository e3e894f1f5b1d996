"""An autoencoder between a distributed state and a latent vector that every rank holds whole.

A network works on the whole grid, so it does not run on slabs. What lies and moves where:

    control, latent   float64, whole on every rank; PETSc/TAO and all of the control's algebra run on the CPU
    network           on one rank of each group, the decoding rank: on the GPU that its number within the node
                      picks, on the CPU where there is none
    decode            every group decodes the same latent by itself, and scatters the field to those of its ranks
                      that own the rows: n numbers within a group, none between groups
    adjoint           a group gathers its own rows, the rest counts as zero; one VJP each, and the sum of the m
                      numbers over all groups
    tangent           as decode: one JVP each
    encode            a state is gathered to one decoding rank: n numbers over all ranks; several states are dealt
                      to the groups in turn

A group is a node (`MPI_COMM_TYPE_SHARED`) unless another is given. Memory: one field of n numbers in the
network's precision, and the activations of one decode, on the decoding rank alone.

Networks usually are float32: fields are rounded to that on their way in and travel in it. Scales, sums over
ranks and everything outside are float64.

The network is any object with `n_latent`, `channels`, `shape` (nx, ny, nz), `encode`
((B, C, nx, ny, nz) → (B, m)) and `decode` (the way back). It is given fields in units of `scale`.
"""

import copy
from dataclasses import dataclass, field

import numpy as np
import torch
from mpi4py import MPI
from torch.autograd import forward_ad

from coupling.common.collective import refuse_together

_MPI_TYPE = {np.dtype(np.float32): MPI.FLOAT, np.dtype(np.float64): MPI.DOUBLE}


class DecoderError(RuntimeError):
    """The network failed on a decoding rank; raised on every rank with the network's own message."""


@dataclass
class Passes:
    """How often the network ran on the decoding rank of this rank's group.

    An adjoint or tangent at a latent whose activations are kept runs no decode of its own; a tangent by forward mode
    runs the decode again beside its derivative, and is counted as a tangent alone.

    forward_mode, twice : false once a layer of the network was found to lack forward mode, or a second derivative
    verified : whether a tangent by a second derivative was found to be the adjoint's transpose
    """

    encodes: int = 0
    decodes: int = 0
    adjoints: int = 0
    tangents: int = 0
    forward_mode: bool = True
    twice: bool = True
    verified: bool = False


@dataclass(frozen=True)
class ParallelDecoder:
    """g and f of a network over the ranks; made by `parallel_decoder`. All methods are collective.

    network : torch module of its own, in evaluation mode, on the decoding ranks; None on the others
    scale : (n_local,) float64 factor of each value, in the state's units; zero where a value takes no part
    comm : MPI communicator the rows lie over
    group : communicator of the ranks that one decode serves; its rank 0 decodes
    leaders : ranks of `comm` that decode
    counts, starts : (ranks of comm,) rows of each rank, and the first of them
    members : (ranks of group,) their ranks in `comm`
    n_latent : m
    dtype : numpy dtype of the network
    device : torch device of the decoding rank
    plain_decode : `decode` for where no derivative follows
    """

    network: object | None
    scale: np.ndarray
    comm: MPI.Comm
    group: MPI.Comm
    leaders: tuple[int, ...]
    counts: np.ndarray
    starts: np.ndarray
    members: np.ndarray
    n_latent: int
    dtype: np.dtype
    device: object
    plain_decode: object | None = None
    _passes: Passes = field(default_factory=Passes, repr=False, compare=False)
    _kept: dict = field(default_factory=dict, repr=False, compare=False)

    def apply(self, latent, keep=False):
        """scale · g(z): (m,) on every rank → (n_local,) float64 in the state's units.

        keep : hold the activations, so that adjoints and tangents at the same z run no decode of their own
        """
        return self.scale * self._scattered(lambda: self._decoded(np.asarray(latent), keep))

    def adjoint(self, increment, at):
        """g'(z)ᵀ (scale · δx): (n_local,) → (m,) float64 on every rank, by one VJP.

        at : (m,) z where g' is taken
        """
        cotangent = self._gathered(self.scale * increment)
        latent = np.zeros(self.n_latent)
        latent += self._on_leader(lambda: self._pulled(cotangent, np.asarray(at)), otherwise=0.0)
        self.comm.Allreduce(MPI.IN_PLACE, latent)
        return latent

    def tangent(self, direction, at):
        """scale · g'(z) p: (m,) on every rank → (n_local,) in the state's units, by one JVP.

        at : (m,) z where g' is taken

        Where the activations at z are kept, by the transpose of the VJP: g'ᵀ v is linear in v, and its own VJP is g'.
        That takes their memory once more and half the time of forward mode, which decodes again. Elsewhere, and where a
        layer lacks a second derivative, by forward mode; the other way round where a layer lacks that.
        """
        return self.scale * self._scattered(lambda: self._pushed(np.asarray(direction), np.asarray(at)))

    def encode(self, states):
        """f(x / scale): (n_local,) or (n_local, k) in the state's units → (m,) or (m, k), on every rank.

        Values whose scale is zero are given to the network as zero.
        """
        states = np.asarray(states, dtype=np.float64)
        columns = states[:, None] if states.ndim == 1 else states
        latents = np.zeros((self.n_latent, columns.shape[1]))
        for first in range(0, columns.shape[1], len(self.leaders)):
            mine, whole = None, None
            for column, leader in zip(range(first, columns.shape[1]), self.leaders):
                gathered = self._gathered_to(leader, columns[:, column])
                if self.comm.rank == leader:
                    mine, whole = column, gathered
            latent = self._on_leader(lambda: None if whole is None else self._encoded(whole))
            if latent is not None:
                latents[:, mine] = latent
        self.comm.Allreduce(MPI.IN_PLACE, latents)
        return latents.reshape((self.n_latent, *states.shape[1:]))

    def passes(self):
        """Passes of this rank's group so far, the same on all its ranks."""
        return self.group.bcast(copy.copy(self._passes))

    def release(self):
        """Let go of kept activations."""
        self._kept.clear()

    # what follows in this part runs on decoding ranks only

    def _field(self, z, decode=None):
        """(m,) tensor → (n,) tensor in the order of the state: point by point, the variable fastest."""
        return (decode or self.network.decode)(z[None])[0].permute(1, 2, 3, 0).reshape(-1)

    def _tensor(self, values):
        return torch.as_tensor(np.array(values, dtype=self.dtype), device=self.device)

    def _decoded(self, latent, keep):
        if self._is_kept(latent):
            return self._kept["field"].detach().cpu().numpy()
        if keep:
            return self._graph(latent)[1].detach().cpu().numpy()
        self._passes.decodes += 1
        with torch.no_grad():
            return self._field(self._tensor(latent), self.plain_decode).cpu().numpy()

    def _is_kept(self, latent):
        return "at" in self._kept and np.array_equal(self._kept["at"], latent)

    def _graph(self, latent):
        """(z, g(z)) with what their derivatives need."""
        if not self._is_kept(latent):
            self._kept.clear()
            self._passes.decodes += 1
            z = self._tensor(latent).requires_grad_()
            with torch.enable_grad():
                self._kept.update(z=z, field=self._field(z))
            self._kept["at"] = latent.copy()
        return self._kept["z"], self._kept["field"]

    def _pulled(self, cotangent, at):
        z, out = self._graph(at)
        self._passes.adjoints += 1
        return torch.autograd.grad(out, z, self._tensor(cotangent), retain_graph=True)[0].cpu().numpy()

    def _pushed(self, direction, at):
        self._passes.tangents += 1
        if self._passes.twice and self._is_kept(at):
            try:
                return self._twice_backward(direction, at)
            except RuntimeError:  # torch has no kind of its own for it
                self._passes.twice = False
                self._kept.pop("twice", None)
        if self._passes.forward_mode:
            try:
                return self._forward_mode(direction, at)
            except NotImplementedError:
                self._passes.forward_mode = False
        return self._twice_backward(direction, at)

    def _forward_mode(self, direction, at):
        with torch.no_grad(), forward_ad.dual_level():
            out = self._field(forward_ad.make_dual(self._tensor(at), self._tensor(direction)))
            tangent = forward_ad.unpack_dual(out).tangent
            return (torch.zeros_like(out) if tangent is None else tangent).cpu().numpy()

    def _twice_backward(self, direction, at):
        z, out = self._graph(at)
        if "twice" not in self._kept:
            seed = torch.zeros_like(out, requires_grad=True)
            with torch.enable_grad():
                self._kept["twice"] = seed, torch.autograd.grad(out, z, seed, create_graph=True)[0]
        seed, pulled = self._kept["twice"]
        direction = self._tensor(direction)
        tangent = torch.autograd.grad(pulled, seed, direction, retain_graph=True)[0]
        if not self._passes.verified:
            # a layer that is differentiable once only is left out by torch without a word
            back = torch.autograd.grad(out, z, tangent, retain_graph=True)[0]
            square, crossed = float(tangent.double() @ tangent.double()), float(back.double() @ direction.double())
            if not abs(square - crossed) <= np.sqrt(np.finfo(self.dtype).eps) * square:
                raise RuntimeError("a layer has no second derivative, so its tangent is not to be had")
            self._passes.verified = True
        return tangent.cpu().numpy()

    def _encoded(self, whole):
        self._passes.encodes += 1
        with torch.no_grad():
            grid = torch.as_tensor(whole, device=self.device).reshape(*self.network.shape, self.network.channels)
            return self.network.encode(grid.permute(3, 0, 1, 2)[None].contiguous())[0].cpu().numpy()

    # and this on all

    def _on_leader(self, compute, otherwise=None):
        """What the decoding rank computes; `otherwise` on the rest. Its failure is everyone's."""
        problem, result = None, otherwise
        if self.group.rank == 0:
            try:
                result = compute()
            except Exception as error:  # whatever a network may raise: the other ranks wait
                problem = f"the network failed: {type(error).__name__}: {error}"
        refuse_together(problem, self.comm, DecoderError)
        return result

    def _scattered(self, compute):
        whole = self._on_leader(compute)
        mine = np.empty(self.counts[self.comm.rank], self.dtype)
        layout = (self.counts[self.members], self.starts[self.members])
        given = None if whole is None else [np.ascontiguousarray(whole), layout, _MPI_TYPE[self.dtype]]
        self.group.Scatterv(given, mine, root=0)
        return mine.astype(np.float64)

    def _gathered(self, values):
        """(n,) with the group's rows, zero elsewhere, on its decoding rank; None on the others."""
        whole = np.zeros(self.counts.sum(), self.dtype) if self.group.rank == 0 else None
        layout = (self.counts[self.members], self.starts[self.members])
        into = None if whole is None else [whole, layout, _MPI_TYPE[self.dtype]]
        self.group.Gatherv(np.ascontiguousarray(values, self.dtype), into, root=0)
        return whole

    def _gathered_to(self, leader, values):
        """(n,) of a state in units of the scale on one rank; None on the others."""
        scaled = np.divide(values, self.scale, out=np.zeros(len(self.scale)), where=self.scale != 0.0)
        whole = np.empty(self.counts.sum(), self.dtype) if self.comm.rank == leader else None
        into = None if whole is None else [whole, (self.counts, self.starts), _MPI_TYPE[self.dtype]]
        self.comm.Gatherv(scaled.astype(self.dtype), into, root=leader)
        return whole


def decodes(comm, group=None):
    """Whether this rank is to decode, and so needs the network: rank 0 of its group, or node. Collective."""
    if group is not None:
        return group.rank == 0
    node = comm.Split_type(MPI.COMM_TYPE_SHARED, comm.rank)
    rank = node.rank
    node.Free()
    return rank == 0


def parallel_decoder(network, scale, comm, *, group=None, device=None, faster=None):
    """An autoencoder over the ranks. Collective.

    Parameters
    ----------
    network : as the module tells; ranks for which `decodes` is false may give None. It is copied.
    scale : (n_local,) factor of each value of this rank's rows, in the state's units, zero where a value takes no
        part; what the training fields were divided by
    comm : MPI communicator; ranks hold rising runs of the state's rows
    group : communicator of the ranks that one decode serves, a part of `comm`; None takes the node
    device : of torch; None takes the GPU of this rank's number within the node, or the CPU where there is none
    faster : function of the network, in its place and in evaluation, that gives a `decode` which need have no
        derivative and may differ by rounding; taken where none follows. None takes the network's own

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
    facts = (int(network.n_latent), np.dtype(_dtype(network)).name) if leads else None
    n_latent, dtype = comm.bcast(facts, root=_first(comm, leads))
    unlike = leads and facts != (n_latent, dtype)
    refuse_together(f"networks {facts} and {(n_latent, dtype)} on different ranks" if unlike else None, comm)
    if leads:
        device = torch.device(device) if device is not None else _device(local_rank)
        # a copy: the caller's may be in training, and weights that take no gradient save their activations
        network = copy.deepcopy(network).to(device).eval().requires_grad_(False)
    return ParallelDecoder(
        network=network if leads else None,
        scale=scale,
        comm=comm,
        group=group,
        leaders=tuple(rank for rank, one in enumerate(comm.allgather(leads)) if one),
        counts=counts,
        starts=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        members=np.array(group.allgather(comm.rank)),
        n_latent=n_latent,
        dtype=np.dtype(dtype),
        device=device if leads else None,
        plain_decode=faster(network) if leads and faster is not None else None,
    )


def _first(comm, leads):
    return comm.allreduce(comm.rank if leads else comm.size, MPI.MIN)


def _problem(network, n_state):
    if network is None:
        return "a rank that is to decode was given no network; give it one, or ask `decodes` first"
    wanted = int(np.prod(network.shape)) * network.channels
    if wanted != n_state:
        made = f"{network.channels} variables on {tuple(network.shape)} = {wanted} values"
        return f"the network is made for {made}, the state has {n_state}"
    if np.dtype(_dtype(network)) not in _MPI_TYPE:
        return f"the network computes in {_dtype(network)}, expected float32 or float64"
    return None


def _dtype(network):
    """Name of the precision the network computes in: that of its weights."""
    tensors = [t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
    return str(tensors[0].dtype if tensors else torch.float32).removeprefix("torch.")


def _device(local_rank):
    n = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return torch.device("cuda", local_rank % n) if n else torch.device("cpu")
