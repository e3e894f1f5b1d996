"""Every kind of file under names that URLs, shells and ASCII know otherwise."""

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from contents import SELF, content, small_mesh, small_state

from coupling.archive import Archive, ArchiveWriter, describe, join_archives
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.fluidity.checkpoint import open_restart, read_fields, restart_files, write_restart
from coupling.fluidity.halo import read_halo, write_halo
from coupling.fluidity.msh import read_msh, write_msh
from coupling.fluidity.options import read_options, write_options
from coupling.vtk.dumps import list_dumps, write_dump
from coupling.vtk.vtu import read_grid, read_state, write_grid

NAMES = ["a %41 b", "100 %", "%", "Straße 5 é", "日本 %20語", "a#b?c&d;e", "a:b", "new\nline", "'\"", "*[1]"]
OLD = Path("tests/data/vtk/ghost-levels")
HALOS = Path("tests/data/fluidity/parallel")


@pytest.fixture(params=NAMES)
def place(request, tmp_path):
    """A folder of such a name, and in it a name of that kind."""
    folder = tmp_path / request.param
    folder.mkdir()
    return folder / f"{request.param}_3"


def a_state(time=0.0, mesh=None):
    mesh = mesh or small_mesh(4)
    return small_state(time, mesh, a=np.arange(mesh.n_nodes) + time)


def test_dumps(place):
    state = a_state()
    path = write_dump(state, place, SELF)
    assert content(read_state(path, SELF)) == content(state)
    assert list_dumps(place.parent) == [path] == list_dumps(path)
    assert list_dumps(place.parent / "*_3.vtu") == [path] == list_dumps(place.parent / "*_[0-9].vtu")
    write_grid(read_grid(path), path)
    assert content(read_state(path, SELF)) == content(state)


def test_dumps_in_pieces(place):
    shutil.copytree(OLD / "earlier", place)
    state = read_state(place / "tiny_3.pvtu", SELF)
    path = write_dump(state, place.with_name(place.name + "b"), SELF)
    assert content(read_state(path, SELF)) == content(state)


def test_archives(place):
    mesh = small_mesh(4)
    paths = [place.with_name(f"{place.name}{k}.vtkhdf") for k in range(2)]
    for k, path in enumerate(paths):
        with ArchiveWriter(path, SELF) as archive:
            archive.append(a_state(float(k), mesh))
    join_archives(paths, place.with_name("both %41 ü.vtkhdf"), SELF)
    with Archive(place.with_name("both %41 ü.vtkhdf"), SELF) as both, open_series(paths[1], SELF) as one:
        assert both.times.tolist() == [0.0, 1.0]
        assert content(both.read(1)) == content(one.read(0)) == content(a_state(1.0, mesh))
    assert describe(paths[0])[1][0].name == "a"


def test_checkpoints(place):
    shutil.copytree(OLD, place)
    restart = open_restart(place / "tiny_3_checkpoint.flml")
    state = read_fields(restart, SELF)
    changes = {name: field.replaced(field.values + 1.0) for name, field in state.fields.items()}
    new = write_restart(restart, place.with_name(place.name + "b"), SELF, changes)
    assert all(path.is_file() for path in restart_files(new))
    again = read_fields(new, SELF)
    for name, field in again.fields.items():
        np.testing.assert_array_equal(field.values, state[name].values + 1.0)


def test_options_meshes_and_halos(place):
    options = place.with_suffix(".flml")
    shutil.copyfile(OLD / "tiny_3_checkpoint.flml", options)
    tree = read_options(options)
    write_options(tree, options)
    assert read_options(options).getroot().tag == "fluidity_options"
    source = next(HALOS.glob("*_0.halo"))
    shutil.copyfile(source, place.with_suffix(".halo"))
    write_halo(read_halo(place.with_suffix(".halo")), place.with_suffix(".halo"))
    assert read_halo(place.with_suffix(".halo")).n_private == read_halo(source).n_private
    mesh = read_msh(OLD / "tiny_CoordinateMesh_3_checkpoint.msh")
    write_msh(mesh, place.with_suffix(".msh"))
    np.testing.assert_array_equal(read_msh(place.with_suffix(".msh")).points, mesh.points)


def test_names_that_are_no_text_are_used_or_named(tmp_path):
    """A name of other bytes than UTF-8's, e.g. of an old disk."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/r\xe9sultats"))
    folder.mkdir()
    state = a_state()
    path = write_dump(state, folder / "a", SELF)
    assert content(read_state(path, SELF)) == content(state)
    with ArchiveWriter(folder / "a.vtkhdf", SELF) as archive:
        archive.append(state)
    with Archive(folder / "a.vtkhdf", SELF) as archive:
        assert content(archive.read(0)) == content(state)


def test_arrays_of_any_name(tmp_path):
    """Names of fields, too, are anybody's."""
    mesh = small_mesh(2)
    for name in ("Tracer::NO₂", "a b", "100 %", "Straße", "it's", "[red]"):
        state = small_state(0.0, mesh, **{name: np.arange(8.0)})
        path = write_dump(state, tmp_path / "a", SELF)
        assert content(read_state(path, SELF, [name])) == content(state)
        with ArchiveWriter(tmp_path / "a.vtkhdf", SELF) as archive:
            archive.append(state)
        with Archive(tmp_path / "a.vtkhdf", SELF) as archive:
            assert content(archive.read(0, [name])) == content(state)


@pytest.mark.parametrize("name", ["a<b", "a>b", "a&b", 'a"b', "a\nb", "a\x1b[31m"])
def test_arrays_whose_names_vtk_would_write_wrongly_are_refused(tmp_path, name):
    state = small_state(0.0, small_mesh(2), **{name: np.arange(8.0)})
    with pytest.raises(FileError, match="has a name that VTK cannot write") as error:
        write_dump(state, tmp_path / "a", SELF)
    assert str(error.value).isprintable() and not list(tmp_path.iterdir())


def test_a_missing_file_of_such_a_name_is_named(place):
    for call in (lambda p: read_state(p.with_suffix(".vtu"), SELF), lambda p: Archive(p.with_suffix(".h5"), SELF)):
        with pytest.raises(FileError, match="no such file"):
            call(place)
    h5py.File(place.with_suffix(".hdf"), "w").close()
    with pytest.raises(FileError, match="no group VTKHDF"):
        Archive(place.with_suffix(".hdf"), SELF)
