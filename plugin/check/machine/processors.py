"""Processors, memory and GPU of each node that ranks run on."""

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from plugin.check.finding import OK, WARN, Finding


@dataclass(frozen=True)
class Placement:
    """Where a rank runs.

    host : name of its node
    processors : number that the rank may use
    threads : OMP_NUM_THREADS, None where it is not set
    memory : free on the node [bytes]
    """

    host: str
    processors: int
    threads: int | None
    memory: int


def here() -> Placement:
    """The Placement of this process."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    return Placement(
        socket.gethostname(),
        len(os.sched_getaffinity(0)),
        int(threads) if threads.isdecimal() else None,
        free_memory(),
    )


def free_memory(text: str | None = None) -> int:
    """Free memory of this node, from /proc/meminfo [bytes]; 0 where there is no such file."""
    if text is None:
        path = Path("/proc/meminfo")
        text = path.read_text() if path.is_file() else ""
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return 1024 * int(line.split()[1])
    return 0


def processors(places: Sequence[Placement], model_processes: int) -> Iterator[Finding]:
    """Findings about processors, the Places of all ranks, and what the model adds to them."""
    for host in dict.fromkeys(place.host for place in places):
        ranks = [place for place in places if place.host == host]
        threads = ranks[0].threads
        most, free = max(place.processors for place in ranks), ranks[0].memory / 1e9
        plural = "s" if len(ranks) != 1 else "", "s" if most != 1 else ""
        text = f"{host}: {len(ranks)} rank{plural[0]} on {most} processor{plural[1]}, {free:.1f} GB free"
        if threads is None and len(ranks) > 1:
            yield Finding(WARN, "processors", f"{text}; OMP_NUM_THREADS is not set", "export OMP_NUM_THREADS=1")
        elif len(ranks) > 1 and min(p.processors for p in ranks) == 1:
            advice = "start with mpirun --bind-to none: a bound rank passes its one processor on to the model it starts"
            yield Finding(WARN, "processors", f"{text}; each rank is bound to one", advice)
        elif model_processes > (os.cpu_count() or 1):
            yield Finding(
                WARN, "processors", f"{text}; the model has {model_processes} processes", "expect it to be slow"
            )
        else:
            yield Finding(OK, "processors", text)


def gpu(devices: Sequence[Path] | None = None) -> Iterator[Finding]:
    """Findings about GPUs, which are optional.

    devices : NVIDIA's device files; searched for if None
    """
    import torch

    devices = list(Path("/dev").glob("nvidia[0-9]*")) if devices is None else devices
    if not torch.cuda.is_available():
        if devices and torch.version.cuda is None:
            text = f"{_devices(devices)}, but this torch is built for CPUs"
            yield Finding(
                WARN,
                "GPU",
                text,
                "a CPU is enough; to train on the GPU install PyPI's own torch (README, 'Installing')",
            )
        elif devices:
            yield Finding(
                WARN,
                "GPU",
                f"{_devices(devices)}, which torch cannot use",
                "check nvidia-smi and the driver",
            )
        else:
            yield Finding(OK, "GPU", "none, and none is needed")
        return
    for k in range(torch.cuda.device_count()):
        square = torch.eye(64, device=f"cuda:{k}")
        correct = bool(torch.equal(square @ square, square))
        free, total = torch.cuda.mem_get_info(k)
        text = f"{torch.cuda.get_device_name(k)}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free"
        if correct:
            yield Finding(OK, "GPU", text)
        else:
            yield Finding(WARN, "GPU", f"{text}; its matrix products are wrong", "do not use it: CUDA_VISIBLE_DEVICES=")


def _devices(devices: Sequence[Path]) -> str:
    return f"{len(devices)} NVIDIA device{'s' if len(devices) != 1 else ''}"
