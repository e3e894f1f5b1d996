"""Joins several archives whose times follow each other into one.

Where all their states are on one mesh, rank 0 copies the stored chunks as they are: nothing is decompressed, and the
file system's speed is the limit. Other archives are read and written state by state, by all ranks.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
from mpi4py import MPI

from coupling.archive.cells import OURS, ROOT, stored_arrays
from coupling.archive.layout import GROUPS, damage_named, dataset, opened, read_index
from coupling.archive.reader import Archive
from coupling.archive.writer import ArchiveWriter
from coupling.common.collective import on_rank_0, on_rank_0_asleep
from coupling.common.files import whole_file
from coupling.common.watchdog import alive
from coupling.vtk.vtu import GHOST


def join_archives(
    paths: Sequence[str | Path], into: str | Path, comm: MPI.Comm, precision: str = "float64", compression: int = 4
) -> None:
    """Write the states of some archives into one. Collective.

    Parameters
    ----------
    paths : archives that `ArchiveWriter` wrote, in the order of their times; they stay as they are
    into : the new archive, which appears whole or not at all
    comm : MPI communicator
    precision, compression : as for `ArchiveWriter`, where values must be written anew

    Raises
    ------
    FileError
        if one of them is damaged
    MeshError
        if their times do not follow each other, or their fields differ
    OSError
        if the file cannot be written
    """
    if on_rank_0(lambda: _alike(paths), comm):
        on_rank_0_asleep(lambda: _copy(paths, into), comm)
        return
    with ArchiveWriter(into, comm, precision, compression) as joined:
        for path in paths:
            with Archive(path, comm) as part:
                for step in range(len(part)):
                    joined.append(part.read(step))
                    alive()


def _alike(paths):
    """Whether chunks of all archives fit into one file: one mesh, rising times, all datasets stored alike."""
    kinds, ends = set(), []
    for path in paths:
        index = read_index(path)
        prints = None if index.fingerprints is None else tuple(sorted(set(index.fingerprints)))
        if prints is None or len(prints) > 1:
            return False
        with opened(path) as file, damage_named(path):
            storages = []
            for name, layout in sorted(index.fields.items()):
                stored = dataset(file, layout.dataset, path)
                if stored.chunks is None or (layout.offsets % stored.chunks[0]).any():
                    return False
                storage = stored.chunks, stored.dtype.str, stored.compression, stored.compression_opts, stored.shuffle
                storages.append((name, layout.location, *storage))
        kinds.add((prints, tuple(storages)))
        ends += [index.times[0], index.times[-1]]
    return len(kinds) == 1 and bool((np.diff(ends)[1::2] > 0).all())


def _copy(paths, into):
    with whole_file(into) as beside, h5py.File(beside, "w") as file, ExitStack() as closing:
        parts = []
        for path in paths:
            closing.enter_context(damage_named(path))
            parts.append((path, closing.enter_context(opened(path))))
        first = parts[0][1]
        root = file.create_group(ROOT)
        for name, value in first[ROOT].attrs.items():
            root.attrs[name] = value
        for group in (*GROUPS.values(), "Steps"):
            root.create_group(group)
        file.create_group(OURS)
        stored = stored_arrays(read_index(paths[0]).faces is not None)
        sizes = [f"{ROOT}/{array.size}" for array in stored if array.size]
        for name in (*(array.name for array in stored), *sizes):
            first.copy(name, file, name)
        steps = root["Steps"]
        places = [array.place for array in stored if array.place]
        for name in ("Values", "PartOffsets", "NumberOfParts", *places, f"{GROUPS['cell']}Offsets/{GHOST}"):
            steps[name] = np.concatenate([part[f"{ROOT}/Steps/{name}"][...] for _, part in parts])
        steps.attrs["NSteps"] = np.int64(len(steps["Values"]))
        for group in GROUPS.values():
            for name in sorted(first[f"{ROOT}/Steps"].get(f"{group}Offsets", ())):
                if name != GHOST:
                    steps[f"{group}Offsets/{name}"] = _copy_field(f"{group}/{name}", parts, root)
        first.copy(f"{OURS}/fingerprints", file[OURS], "fingerprints")
        file[f"{OURS}/mesh"] = np.zeros(len(steps["Values"]), "<i8")


def _copy_field(name, parts, root):
    """Copy a field's chunks; returns the first row of each step."""
    offsets, rows, group = [], 0, name.split("/")[0]
    for path, part in parts:
        source = dataset(part, f"{ROOT}/{name}", path)
        chunk, none = source.chunks[0], (0,) * (source.ndim - 1)
        if name not in root:
            space = h5py.h5s.create_simple((0, *source.shape[1:]), (h5py.h5s.UNLIMITED, *source.shape[1:]))
            properties = source.id.get_create_plist()
            h5py.h5d.create(root.id, name.encode(), source.id.get_type(), space, properties)
        target = root[name]
        target.resize(rows + source.shape[0], axis=0)
        for row in range(0, source.shape[0], chunk):
            alive()
            mask, stored = source.id.read_direct_chunk((row, *none))
            target.id.write_direct_chunk((rows + row, *none), stored, mask)
        offsets.append(rows + part[f"{ROOT}/Steps/{group}Offsets/{name.split('/')[1]}"][...])
        rows += -(-source.shape[0] // chunk) * chunk
    return np.concatenate(offsets)
