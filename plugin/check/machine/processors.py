"""Processors, memory and GPU, of each node the ranks are on."""

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from plugin.check.finding import OK, WARN, Finding


@dataclass(frozen=True)
class Place:
    """Where a rank is.

    host : name of its node
    processors : that the rank may use
    threads : OMP_NUM_THREADS, None where it is not set
    memory : bytes that the node has free
    """

    host: str
    processors: int
    threads: int | None
    memory: int


def here():
    """The Place of this process."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return Place(
        socket.gethostname(),
        len(os.sched_getaffinity(0)),
        int(threads) if threads.isdecimal() else None,
        free_memory(),
    )


def free_memory(text=None):
    """Bytes a node has free, by /proc/meminfo; 0 where there is no such file."""
    if text is None:
        path = Path("/proc/meminfo")
        text = path.read_text() if path.is_file() else ""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 0


def processors(places, model_processes):
    """Findings about processors, the Places of all ranks, and what the model adds to them."""
    for host in dict.fromkeys(place.host for place in places):
        mine = [place for place in places if place.host == host]
        threads = mine[0].threads
        most, free = max(place.processors for place in mine), mine[0].memory / 1e9
        told = f"{host}: {len(mine)} rank(s) on {most} processors, {free:.1f} GB free"
        if threads is None and len(mine) > 1:
            yield Finding(WARN, "processors", f"{told}; OMP_NUM_THREADS is not set", "export OMP_NUM_THREADS=1")
        elif len(mine) > 1 and min(p.processors for p in mine) == 1:
            advice = (
                "start with mpirun --bind-to none: bound ranks hand their one processor down to the model they start"
            )
            yield Finding(WARN, "processors", f"{told}; each rank is bound to one", advice)
        elif model_processes > os.cpu_count():
            yield Finding(
                WARN, "processors", f"{told}; the model has {model_processes} processes", "expect it to be slow"
            )
        else:
            yield Finding(OK, "processors", told)


def gpu(devices=None):
    """Findings about a GPU: none is needed.

    devices : NVIDIA's device files; looked for if left out
    """
    import torch

    devices = list(Path("/dev").glob("nvidia[0-9]*")) if devices is None else devices
    if not torch.cuda.is_available():
        if devices and torch.version.cuda is None:
            told = f"{len(devices)} NVIDIA device(s), but this torch is built for CPUs"
            yield Finding(
                WARN, "GPU", told, "a CPU is enough; for trainings on it install PyPI's own torch (README, 'Installing')"
            )
        elif devices:
            yield Finding(
                WARN,
                "GPU",
                f"{len(devices)} NVIDIA device(s), which torch cannot use",
                "look at nvidia-smi and the driver",
            )
        else:
            yield Finding(OK, "GPU", "none, and none is needed")
        return
    for k in range(torch.cuda.device_count()):
        square = torch.eye(64, device=f"cuda:{k}")
        right = bool(torch.equal(square @ square, square))
        free, whole = torch.cuda.mem_get_info(k)
        told = f"{torch.cuda.get_device_name(k)}, {free / 1e9:.1f} of {whole / 1e9:.1f} GB free"
        if right:
            yield Finding(OK, "GPU", told)
        else:
            yield Finding(WARN, "GPU", f"{told}; it multiplies wrongly", "do not use it: CUDA_VISIBLE_DEVICES=")
