"""Halos: which nodes of one process's mesh are copies of another's, read, written and refreshed.

Fluidity keeps them in NAME_{rank}.halo beside NAME_{rank}.msh. A process owns the first
`n_private` nodes of its mesh; the rest are copies. Level 1 holds the nodes that share a cell with an
owned node, level 2 one layer of cells more. What rank p lists to send to q, and what q lists to
receive from p, are the same nodes in the same order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lxml import etree
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.vtk.xml import first_element, parse_xml, write_xml

_MOST = 2**31 - 1  # as Fluidity counts
_SHOWN = 20  # letters of what is no such number


@dataclass(frozen=True)
class HaloLevel:
    """One level of a halo: zero-based node numbers of this process's mesh.

    send : {rank: (n,) int64}, owned nodes that `rank` holds copies of
    receive : {rank: (n,) int64}, copies of nodes that `rank` owns
    """

    send: Mapping[int, np.ndarray]
    receive: Mapping[int, np.ndarray]


@dataclass(frozen=True)
class Halo:
    """The halo of one process.

    process : its rank
    n_processes : number of processes the mesh is cut for
    n_private : nodes it owns: 0 … n_private − 1
    levels : {1: HaloLevel, 2: HaloLevel}; level 2 includes level 1
    """

    process: int
    n_processes: int
    n_private: int
    levels: Mapping[int, HaloLevel]

    @property
    def n_nodes(self) -> int:
        """Nodes of the process's mesh, copies included, from level 2."""
        return self.n_private + sum(len(ids) for ids in self.levels[2].receive.values())

    def owners(self) -> np.ndarray:
        """(n_nodes,) int64: the rank that owns each node."""
        owners = np.full(self.n_nodes, self.process, np.int64)
        for rank, ids in self.levels[2].receive.items():
            owners[ids] = rank
        return owners


def serial_halo(n_nodes: int) -> Halo:
    """The halo of a mesh that is not cut."""
    empty = HaloLevel({}, {})
    return Halo(0, 1, n_nodes, {1: empty, 2: empty})


def read_halo(path: str | Path) -> Halo:
    """Read a .halo file.

    Raises
    ------
    FileError
        if it is missing or broken, or a list has impossible nodes
    """
    path = Path(path)
    root = parse_xml(path).getroot()
    if root.tag != "halos":
        raise FileError(f"{path}: root element <{root.tag}>, expected <halos>")
    process, n_processes = _number(root, "process", path), _number(root, "nprocs", path)
    private, levels = set(), {}
    for element in root.findall("halo"):
        private.add(_number(element, "n_private_nodes", path))
        levels[_number(element, "level", path)] = _read_level(element, path)
    if set(levels) != {1, 2}:
        raise FileError(f"{path}: holds levels {sorted(levels)} of halo; expected 1 and 2")
    if len(private) != 1:
        raise FileError(f"{path}: its levels have {sorted(private)} private nodes; expected one number for all")
    halo = Halo(process, n_processes, private.pop(), levels)
    _check(halo, path)
    return halo


def halo_header(path: str | Path) -> tuple[int, int]:
    """(process, number of processes) that a .halo file is of, from its first lines.

    Raises
    ------
    FileError
        if it is missing or no .halo file
    """
    root = first_element(path)
    if root.tag != "halos":
        raise FileError(f"{path}: root element <{root.tag}>, expected <halos>")
    process, n_processes = _number(root, "process", path), _number(root, "nprocs", path)
    if process >= n_processes:
        raise FileError(f"{path}: is of process {process} of {n_processes}")
    return process, n_processes


def _number(element, name, path):
    text = element.get(name, "")
    if not text.strip().isdigit() or len(text) > len(str(_MOST)) or int(text) > _MOST:
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        raise FileError(f"{path}: <{element.tag} {name}={shown!r}>, expected a whole number up to {_MOST:,}")
    return int(text)


def _read_level(element, path):
    send: dict[int, np.ndarray] = {}
    receive: dict[int, np.ndarray] = {}
    for data in element.findall("halo_data"):
        rank = _number(data, "process", path)
        for kind, lists in (("send", send), ("receive", receive)):
            try:
                ids = np.array((data.findtext(kind) or "").split(), dtype=np.int64) - 1
            except ValueError as error:
                raise FileError(f"{path}: {kind} list of process {rank}: {error}") from None
            if len(ids):
                lists[rank] = ids
    return HaloLevel(send, receive)


def _check(halo, path):
    if halo.process >= halo.n_processes:
        raise FileError(f"{path}: is of process {halo.process} of {halo.n_processes}")
    for number, level in halo.levels.items():
        for rank in {*level.send, *level.receive}:
            if rank >= halo.n_processes or rank == halo.process:
                raise FileError(f"{path}: level {number} exchanges with process {rank} of {halo.n_processes}")
        for rank, ids in level.send.items():
            if ids.min() < 0 or ids.max() >= halo.n_private:
                raise FileError(f"{path}: level {number} sends nodes to process {rank} that it does not own")
        received = np.concatenate([np.empty(0, np.int64), *level.receive.values()])
        if len(received) and received.min() < halo.n_private:
            raise FileError(f"{path}: level {number} receives nodes that the process owns itself")
        if len(np.unique(received)) != len(received):
            raise FileError(f"{path}: level {number} receives a node twice")
    top = np.sort(np.concatenate([np.empty(0, np.int64), *halo.levels[2].receive.values()]))
    if not np.array_equal(top, np.arange(halo.n_private, halo.n_nodes)):
        raise FileError(f"{path}: the received nodes are not those after the {halo.n_private} private ones, each once")


def write_halo(halo: Halo, path: str | Path) -> None:
    """Write a .halo file as Fluidity does, whole or not at all."""
    root = etree.Element("halos", process=str(halo.process), nprocs=str(halo.n_processes))
    for number, level in sorted(halo.levels.items()):
        element = etree.SubElement(root, "halo", level=str(number), n_private_nodes=str(halo.n_private))
        for rank in range(halo.n_processes):
            data = etree.SubElement(element, "halo_data", process=str(rank))
            for kind, lists in (("send", level.send), ("receive", level.receive)):
                ids = lists.get(rank, ())
                etree.SubElement(data, kind).text = "".join(f"{node + 1} " for node in ids)
    etree.indent(root, "    ")
    write_xml(etree.ElementTree(root), path, xml_declaration=True, encoding="utf-8")


def refresh(values: np.ndarray, level: HaloLevel, comm: MPI.Comm) -> None:
    """Overwrite the copies in `values` with their owners' values, in place. Collective.

    Parameters
    ----------
    values : (n_nodes,) or (n_nodes, k) array
    level : HaloLevel
    comm : MPI communicator
    """
    arriving = {rank: np.empty((len(ids), *values.shape[1:]), values.dtype) for rank, ids in level.receive.items()}
    requests = [comm.Irecv(buffer, rank) for rank, buffer in arriving.items()]
    leaving = {rank: np.ascontiguousarray(values[ids]) for rank, ids in level.send.items()}
    requests += [comm.Isend(buffer, rank) for rank, buffer in leaving.items()]
    MPI.Request.Waitall(requests)
    for rank, buffer in arriving.items():
        values[level.receive[rank]] = buffer
