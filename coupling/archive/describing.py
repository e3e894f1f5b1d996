"""What an archive holds: its times, its fields and the space they take, and its meshes."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coupling.archive.layout import damage_named, dataset, opened, read_index


@dataclass(frozen=True)
class FieldInfo:
    """A field and the space it takes; see :func:`describe`."""

    name: str
    location: str
    components: int
    kind: str
    raw_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class MeshInfo:
    """A mesh and the steps that are on it; nodes and cells of all parts, ghosts included."""

    nodes: int
    cells: int
    parts: int
    steps: int
    first_step: int
    fingerprint: str | None


def describe(path: str | Path) -> tuple[np.ndarray, tuple[FieldInfo, ...], tuple[MeshInfo, ...]]:
    """(times, fields, meshes) of an archive: (S,) [s], tuple of FieldInfo, tuple of MeshInfo. Not collective."""
    index = read_index(path)
    meshes: dict[tuple[int, ...], list[int]] = {}
    for step in range(len(index.times)):
        n_points, n_cells = index.sizes(step)
        numbers = [n_points.sum(), n_cells.sum(), len(n_points), 0, step]
        meshes.setdefault(index.mesh_key(step), numbers)[3] += 1
    fields = []
    with opened(path) as file, damage_named(path):
        for f in index.fields.values():
            stored = dataset(file, f.dataset, path)
            sizes = math.prod(stored.shape) * stored.dtype.itemsize, stored.id.get_storage_size()
            fields.append(FieldInfo(f.name, f.location, int(np.prod(f.tail)), f.kind, *sizes))
    prints = index.fingerprints
    infos = []
    for nodes, cells, parts, steps, first in (map(int, numbers) for numbers in meshes.values()):
        infos.append(MeshInfo(nodes, cells, parts, steps, first, None if prints is None else str(prints[first])))
    return index.times, tuple(fields), tuple(infos)
