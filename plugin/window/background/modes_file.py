"""Modes in one HDF5 file: made once, used by every run that they fit.

    /vectors          (n, s) float64 or float32
    /mean             (n,) float64, in the vectors' units
    /scale            (n,) float64, the vectors' unit in those of the variables
    /singular_values  (S,) float64; not there where they were not needed
    /coefficients     (S, s) float64, of each mode in each state; not there where they were not needed
    /factor_*         of `local` the same modes as a product of two factors; not there where they are not known
    /mask             (points,) uint8, 1 where a point takes part; not there without a mask
    attributes        format, version, name, n_samples; about: JSON, what the caller says they were made from;
                      anamorphoses: JSON, {variable: its description}, of those that were transformed

Rows are those of the whole state, whatever number of ranks wrote them or reads them. What `about`
holds — grid, variables, training period, a fingerprint of the snapshots — is the caller's; it is
compared item by item and not understood. Whoever writes gives a path that is not yet in use and puts
the finished file in its place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from mpi4py import MPI

from coupling.common.collective import refuse_together
from coupling.common.hdf5 import claim_problem
from coupling.common.headers import cut_short, header_differences
from da.background.anamorphosis import Anamorphosis, described
from da.background.anomalies import PRECISIONS
from da.background.block_factor import of_csr
from da.background.modes import Modes

FORMAT, VERSION = "modes of the background covariance", 1
_ABSENT: dict[str, Any] = {"anamorphosis": {}}  # items that a file need not have, and what they are then
_FACTOR, _ROOT = ("factor_counts", "factor_columns", "factor_values"), "factor_root"
_BLOCK = 1 << 27  # bytes written or read at once: MPI counts in 32 bits


class ModesFileError(ValueError):
    """A file that holds no modes, or others than were asked for; the message says in what it differs."""


@dataclass(frozen=True)
class StoredModes:
    """This rank's part of a file.

    modes : Modes
    scale : (n_local,) factor of each value, in the state's units
    mask : (points of this rank,) bool, true where a point takes part; None where none was stored
    about : what the modes were made from, as it was given
    anamorphoses : {name of a variable: Anamorphosis} that the snapshots were transformed by
    """

    modes: Modes
    scale: np.ndarray
    mask: np.ndarray | None
    about: dict
    anamorphoses: Mapping[str, Anamorphosis] = field(default_factory=dict)


def save_modes(
    path: Path,
    modes: Modes,
    scale: np.ndarray | None,
    about: Mapping[str, Any],
    comm: MPI.Comm,
    mask: np.ndarray | None = None,
    anamorphoses: Mapping[str, Anamorphosis] | None = None,
) -> None:
    """Write modes into a new file, all ranks their own rows. Collective.

    Parameters
    ----------
    path : the file; an older one is overwritten
    modes : Modes, this rank's rows; ranks hold contiguous runs in their order
    scale : (n_local,) in the state's units; None for ones
    about : dict of what JSON can hold, the same on every rank
    comm : MPI communicator
    mask : (points of this rank,) bool; None for none
    anamorphoses : {name of a variable: Anamorphosis}; None for none

    Raises
    ------
    ModesFileError
        on every rank, if there are several and h5py was built without MPI
    OSError
        if the file cannot be written
    """
    how = {}
    if comm.size > 1:
        if not h5py.get_config().mpi:
            raise ModesFileError(
                f"{path}: h5py was built without MPI and writes from one rank only, there are {comm.size}; "
                "make the modes on one rank, or install h5py on parallel HDF5"
            )
        how = {"driver": "mpio", "comm": comm}
    n_local = len(modes.vectors)
    scale = np.ones(n_local) if scale is None else scale
    with h5py.File(path, "w", **how) as file:
        file.attrs.update({"format": FORMAT, "version": VERSION, "name": modes.name, "n_samples": modes.n_samples})
        file.attrs["about"] = json.dumps(about)
        if anamorphoses:
            file.attrs["anamorphoses"] = json.dumps({name: of.description for name, of in anamorphoses.items()})
        for name, values in (("vectors", modes.vectors), ("mean", modes.mean), ("scale", scale)):
            _write(file, name, values, comm)
        if mask is not None:
            _write(file, "mask", np.asarray(mask, np.uint8), comm)
        for name, shared in (("singular_values", modes.singular_values), ("coefficients", modes.coefficients)):
            if shared is not None:  # the same on every rank
                whole = file.create_dataset(name, shared.shape, np.float64)
                if comm.rank == 0:
                    whole[...] = shared
        if modes.factor is not None:
            counts, columns, values = modes.factor.csr()
            for name, own in zip(_FACTOR, (counts, columns, values), strict=True):
                _write(file, name, own, comm)
            whole = file.create_dataset(_ROOT, modes.factor.root.shape, np.float64)
            if comm.rank == 0:
                whole[...] = modes.factor.root


def _write(file, name, values, comm):
    counts = comm.allgather(len(values))
    first = sum(counts[: comm.rank])
    target = file.create_dataset(name, (sum(counts), *values.shape[1:]), values.dtype.newbyteorder("<"))
    for rows in _pieces(values):
        target[first + rows.start : first + rows.stop] = np.ascontiguousarray(values[rows])


def _pieces(values):
    step = max(1, _BLOCK // max(1, values.itemsize * int(np.prod(values.shape[1:]))))
    return [slice(a, min(a + step, len(values))) for a in range(0, len(values), step)]


def read_about(path: Path) -> dict[str, Any]:
    """What the modes of a file were made from. Not collective.

    Raises
    ------
    ModesFileError
        if there is no such file, or it is no file of modes
    """
    with _opened(path) as file:
        return _header(file, path)["about"]


def load_modes(path: Path, n_local: int, comm: MPI.Comm, expected: Mapping[str, Any] | None = None) -> StoredModes:
    """Read this rank's rows of stored modes. Collective.

    Parameters
    ----------
    path : the file
    n_local : rows of the state on this rank; ranks hold contiguous runs in their order
    comm : MPI communicator; its size need not be the writer's
    expected : {item: value} that `about` must hold; items that are not named may be anything

    Returns
    -------
    StoredModes

    Raises
    ------
    ModesFileError
        on every rank, if the file is no such file or is damaged, its state has another length, or an item
        is not as expected: the message says which, what was found and what was expected
    """
    counts = comm.allgather(n_local)
    n_state, first = sum(counts), sum(counts[: comm.rank])
    header, problem = None, None
    if comm.rank == 0:
        try:
            with _opened(path) as file:
                header = _header(file, path)
            _compare(header["about"], expected or {}, path)
            if header["n_state"] != n_state:
                raise ModesFileError(f"{path}: modes of {header['n_state']} values, expected {n_state}")
        except ModesFileError as error:
            problem = str(error)
    refuse_together(problem, comm, ModesFileError)
    header = comm.bcast(header)
    stored, problem = None, None
    try:
        stored = _read(path, header, first, n_local)
    except ModesFileError as error:
        problem = str(error)
    refuse_together(problem, comm, ModesFileError)
    assert stored is not None  # else this rank would have refused
    return stored


def _opened(path):
    if not Path(path).is_file():
        raise ModesFileError(f"{path}: no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ModesFileError(f"{path}: not a whole HDF5 file ({error}); make the modes anew") from None


def _header(file, path):
    """What a file says of itself, checked against the shapes of its datasets."""
    if file.attrs.get("format") != FORMAT:
        raise ModesFileError(f"{path}: an HDF5 file, but none of modes; choose another name for these")
    if file.attrs.get("version") != VERSION:
        raise ModesFileError(f"{path}: version {file.attrs.get('version')}, expected {VERSION}; make the modes anew")
    try:
        name, n_samples = str(file.attrs["name"]), int(file.attrs["n_samples"])
        about = dict(json.loads(file.attrs["about"]))
        described_by = json.loads(file.attrs.get("anamorphoses", "{}"))
        anamorphoses = {str(name): described(of) for name, of in described_by.items()}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise ModesFileError(f"{path}: is damaged: {error}; make the modes anew") from None
    vectors = _dataset(file, "vectors", path, 2)
    n_state, n_modes = vectors.shape
    if vectors.dtype.name not in PRECISIONS:
        raise ModesFileError(f"{path}: vectors of {vectors.dtype}, expected {' or '.join(PRECISIONS)}")
    for other in ("mean", "scale"):
        length = len(_dataset(file, other, path, 1))
        if length != n_state:
            raise ModesFileError(f"{path}: {other} of {length} values, vectors of {n_state}; make the modes anew")
    if "coefficients" in file:
        shape, expected = _dataset(file, "coefficients", path, 2).shape, (n_samples, n_modes)
        if shape != expected:
            raise ModesFileError(f"{path}: coefficients of shape {shape}, expected {expected}; make the modes anew")
    if _ROOT in file:
        counts, columns, values = (
            _dataset(file, name, path, 1, "iu" if k < 2 else "f") for k, name in enumerate(_FACTOR)
        )
        if len(counts) != n_state or len(columns) != len(values) or _dataset(file, _ROOT, path, 2).shape[1] != n_modes:
            raise ModesFileError(f"{path}: factors of another shape than the vectors; make the modes anew")
    if "mask" in file and (n_state % max(1, len(_dataset(file, "mask", path, 1)))) != 0:
        raise ModesFileError(f"{path}: mask of {len(file['mask'])} points for {n_state} values; make the modes anew")
    header = {"name": name, "n_samples": n_samples, "about": about, "n_state": n_state, "n_modes": n_modes}
    return {**header, "anamorphoses": anamorphoses}


def _dataset(file, name, path, n_axes, kinds="fu"):
    # only what lies in this file itself: a link may lead to any file of this machine
    link = file.get(name, getlink=True) if name in file else None
    dataset = file[name] if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset) or dataset.ndim != n_axes or dataset.dtype.kind not in kinds:
        raise ModesFileError(f"{path}: has no dataset {name} of {n_axes} axes; make the modes anew")
    if dataset.is_virtual or dataset.external:
        raise ModesFileError(f"{path}: {name} keeps its values in other files, which is refused; make the modes anew")
    if (problem := claim_problem(dataset)) is not None:
        raise ModesFileError(f"{path}: {name} {problem}; make the modes anew")
    return dataset


def _compare(stored, expected, path):
    stored = {**_ABSENT, **stored}
    for item, had, wanted in header_differences(stored, expected, lambda value: cut_short(json.dumps(value))):
        if had is None:
            raise ModesFileError(f"{path}: does not say {item}, expected {wanted}; make the modes anew")
        raise ModesFileError(
            f"{path}: the modes were made with another {item}: {had}, expected {wanted}; "
            "remove the file to make them anew, or name another"
        )


def _read(path, header, first, n_local):
    try:
        with _opened(path) as file:
            vectors, mean, scale = (_rows(file[name], first, n_local) for name in ("vectors", "mean", "scale"))
            mask = None
            sigma, coefficients = (
                _dataset(file, name, path, n_axes)[...].astype(np.float64) if name in file else None
                for name, n_axes in (("singular_values", 1), ("coefficients", 2))
            )
            if "mask" in file:
                each = header["n_state"] // max(1, len(file["mask"]))
                mask = _rows(_dataset(file, "mask", path, 1), first // each, n_local // each).astype(bool)
            factor = _factor(file, first, n_local) if _ROOT in file else None
    except ValueError as error:
        raise ModesFileError(f"{path}: factors of the modes: {error}; make the modes anew") from None
    except (OSError, RuntimeError, KeyError) as error:
        raise ModesFileError(f"{path}: is damaged: {error}; make the modes anew") from None
    small = np.empty((0, 0)) if coefficients is None else coefficients
    for name, values in (("vectors", vectors), ("mean", mean), ("scale", scale), ("coefficients", small)):
        if not all(np.isfinite(values[rows]).all() for rows in _pieces(values)):
            raise ModesFileError(f"{path}: {name} holds values that are no numbers; make the modes anew")
    modes = Modes(vectors, sigma, mean, header["n_samples"], header["name"], coefficients, factor)
    return StoredModes(modes, scale, mask, header["about"], header["anamorphoses"])


def _factor(file, first, n_local):
    """The BlockFactor of these rows. ValueError if it is none."""
    counts, columns, values = (file[name] for name in _FACTOR)
    before, own = int(counts[:first].sum(dtype=np.int64)), _rows(counts, first, n_local)
    n_own = int(own.sum(dtype=np.int64))
    if before < 0 or n_own < 0 or before + n_own > len(values):
        raise ValueError(f"rows of {before + n_own} entries, but there are {len(values)}")
    made = of_csr(own, _rows(columns, before, n_own), _rows(values, before, n_own), file[_ROOT][...].astype(np.float64))
    if not (np.isfinite(made.root).all() and all(np.isfinite(of.entries).all() for of in made.groups)):
        raise ValueError("values that are no numbers")
    return made


def _rows(dataset, first, count):
    values = np.empty((count, *dataset.shape[1:]), dataset.dtype.newbyteorder("="))
    for rows in _pieces(values):
        dataset.read_direct(values, np.s_[first + rows.start : first + rows.stop], np.s_[rows.start : rows.stop])
    return values
