"""The pieces of a mesh that is cut, as a parallel simulation writes it; their fingerprint and bounds as a whole."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from mpi4py import MPI


class MeshError(ValueError):
    """A mesh or a field that cannot be used here; the message says why."""


@dataclass(frozen=True)
class Piece:
    """One file's share of a mesh: where its nodes, cells and, of polyhedra, faces lie in the rank's arrays."""

    index: int
    nodes: slice
    cells: slice
    fingerprint: str
    faces: slice = field(default_factory=lambda: slice(0, 0))


def fingerprint_of_pieces(pieces: Sequence[Piece], n_pieces: int, comm: MPI.Comm) -> str:
    """Hash of a mesh of pieces, the same on every rank and for any number of ranks. Collective.

    Raises
    ------
    MeshError
        if the pieces over all ranks are not 0 … n_pieces − 1, each once
    """
    known = sorted(sum(comm.allgather([(p.index, p.fingerprint) for p in pieces]), []))
    if [index for index, _ in known] != list(range(n_pieces)):
        raise MeshError(f"mesh pieces {[i for i, _ in known]} are there, 0 … {n_pieces - 1} expected, each once")
    return hashlib.sha256("".join(piece_print for _, piece_print in known).encode()).hexdigest()[:32]


def share_of_pieces(n_pieces: int, comm: MPI.Comm) -> range:
    """The run of piece numbers this rank holds: as even as whole pieces allow."""
    first, end = (-(-rank * n_pieces // comm.size) for rank in (comm.rank, comm.rank + 1))
    return range(first, end)


def bounds_of_points(points: np.ndarray, comm: MPI.Comm) -> np.ndarray:
    """(2, 3) lowest and highest coordinates of all ranks' points [m]. Collective."""
    low = points.min(axis=0, initial=np.inf)
    high = points.max(axis=0, initial=-np.inf)
    comm.Allreduce(MPI.IN_PLACE, low, MPI.MIN)
    comm.Allreduce(MPI.IN_PLACE, high, MPI.MAX)
    return np.array([low, high])
