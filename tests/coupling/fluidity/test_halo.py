"""Halo files: real ones keep their invariants, and survive being written again."""

import re

import numpy as np
import pytest

from coupling.common.files import FileError
from coupling.fluidity.halo import read_halo, serial_halo, write_halo
from coupling.fluidity.msh import read_msh


@pytest.mark.parametrize("base", ["mesh", "mini_CoordinateMesh_3_checkpoint"])
def test_both_sides_of_fluiditys_halos_list_the_same_nodes_in_the_same_order(fluidity_data, base):
    folder = fluidity_data / "parallel"
    halos = [read_halo(folder / f"{base}_{k}.halo") for k in (0, 1)]
    points = [read_msh(folder / f"{base}_{k}.msh").points for k in (0, 1)]
    for halo, places in zip(halos, points, strict=True):
        assert halo.n_nodes == len(places) and halo.n_processes == 2
        assert (halo.owners() == halo.process).sum() == halo.n_private
    for level in (1, 2):
        for here, there in ((0, 1), (1, 0)):
            sent = points[here][halos[here].levels[level].send[there]]
            received = points[there][halos[there].levels[level].receive[here]]
            assert np.array_equal(sent, received)


def test_a_written_halo_is_the_one_that_was_read(fluidity_data, tmp_path):
    path = fluidity_data / "parallel" / "mesh_1.halo"
    write_halo(read_halo(path), tmp_path / "again.halo")
    words = [re.sub(r"\s+", "", p.read_text().split("?>")[1]) for p in (path, tmp_path / "again.halo")]
    assert words[0] == words[1]


def test_a_mesh_that_is_not_cut_has_no_halo():
    halo = serial_halo(5)
    assert halo.n_nodes == halo.n_private == 5 and halo.owners().tolist() == [0] * 5


@pytest.mark.parametrize(
    "old, new, expected",
    [
        ("<halos ", "<other ", "well-formed"),
        ('nprocs="2"', 'nprocs="1"', "of process 1 of 1"),
        ('n_private_nodes="743"', 'n_private_nodes="many"', "whole number"),
        ('n_private_nodes="743"', f'n_private_nodes="{2**31}"', "expected a whole number up to 2,147,483,647"),
        ('n_private_nodes="743"', f'n_private_nodes="{"9" * 5000}"', "'9{20}…'>, expected a whole number"),
        ('level="1" n_private_nodes="743"', 'level="1" n_private_nodes="700"', "one number for all"),
        ('level="1"', 'level="3"', r"levels \[2, 3\] of halo; expected 1 and 2"),
        ("<send>5 ", "<send>five ", "invalid literal"),
        ("<send>5 ", "<send>900 ", "does not own"),
        ("<receive>744 ", "<receive>743 ", "owns itself"),
        ("<receive>744 ", "<receive>745 ", "twice"),
        (r'<halo_data process="0">', '<halo_data process="5">', "with process 5"),
    ],
)
def test_a_broken_halo_is_refused_by_name(fluidity_data, tmp_path, old, new, expected):
    text = (fluidity_data / "parallel" / "mesh_1.halo").read_text()
    assert old in text
    (tmp_path / "bad.halo").write_text(text.replace(old, new, 1))
    with pytest.raises(FileError, match=expected) as caught:
        read_halo(tmp_path / "bad.halo")
    assert "bad.halo" in str(caught.value)
