"""HDF5 files that lead elsewhere or claim to be larger than they are."""

import h5py
import numpy as np
import pytest

from coupling.common.hdf5 import claim_problem, elsewhere_problem


def _external(group, path):
    group["b"] = h5py.ExternalLink(str(path), "x")


def _soft(group, path):
    group["b"] = h5py.SoftLink("/a")


def _dangling(group, path):
    group["b"] = h5py.SoftLink("/nowhere")


def _virtual(group, path):
    layout = h5py.VirtualLayout((3,), "f8")
    layout[:] = h5py.VirtualSource(str(path), "x", (3,))
    group.create_virtual_dataset("b", layout)


def _storage(group, path):
    group.create_dataset("b", (3,), "f8", external=[(str(path), 0, 24)])


@pytest.mark.parametrize("depth", [0, 1, 50])
@pytest.mark.parametrize("make", [_external, _soft, _dangling, _virtual, _storage])
def test_whatever_leads_elsewhere_is_found(tmp_path, make, depth):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.arange(3.0)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = np.arange(3.0)
        assert elsewhere_problem(file) is None
        name = "/".join(["g"] * depth)
        make(file.require_group(f"/{name}"), tmp_path / "other.h5")
        problem = elsewhere_problem(file)
        assert problem.startswith(f"/{name}{'/' if depth else ''}b ") and "which is refused" in problem


def test_groups_that_hold_themselves_are_looked_through_once(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        group = file.create_group("g")
        group["again"] = group
        file["g/root"] = file["/"]
        assert elsewhere_problem(file) is None


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_claim_is_compared_with_what_is_stored(tmp_path, compression):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        zeros = file.create_dataset("zeros", data=np.zeros(1 << 22), compression=compression)
        assert claim_problem(zeros) is None  # as small as gzip makes them
        empty = file.create_dataset("empty", (1 << 40,), chunks=(1 << 10,), compression=compression)
        assert claim_problem(empty).startswith("claims 4,398,046,511,104 bytes, of which the file holds 0")
        large = file.create_dataset("large", (1 << 50, 1 << 50), chunks=(8, 8), compression=compression)
        assert claim_problem(large).startswith("claims 5,070,602,400,912,917,605,986,812,821,504 bytes")
