"""A checkpoint's files under the names of a restart: copied byte for byte, or with some arrays replaced."""

import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path, PurePosixPath

from lxml import etree
from mpi4py import MPI
from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

from coupling.common.collective import on_rank_0, raise_together
from coupling.fluidity import options as flml
from coupling.fluidity.named_files import (
    FIELD_FILES,
    field_elements,
    file_name,
    mesh_elements,
    mesh_name,
    named_files,
    other_elements,
    other_files,
)
from coupling.geometry.mesh import Field, MeshError, Piece, piece_fingerprint
from coupling.vtk.cells import geometry
from coupling.vtk.vtu import piece_paths, read_grid, set_array, write_grid
from coupling.vtk.xml import parse_xml, write_xml

Edit = Callable[[etree._ElementTree], None]  # of an options tree, in place


def restart_names(tree: etree._ElementTree) -> dict[str, str]:
    """{name of a mesh's or field's file in the options: name in the restart}; none is the name of another file."""
    others, several = {file_name(element) for element in other_elements(tree)}, _several_phases(tree)
    names: dict[str, str] = {}
    for element in mesh_elements(tree):
        names[file_name(element)] = f"restart_{mesh_name(element)}"
    for _, element in field_elements(tree):
        old = file_name(element)
        if old in names:
            continue
        mesh = element.getparent().getparent().find("mesh").get("name")
        phase = next(element.iterancestors("material_phase"))
        stem = f"restart_{phase.get('name')}_{mesh}" if several else f"restart_{mesh}"
        taken = {*names.values(), *others}
        candidates = [stem] + [f"{stem}_{k}" for k in range(2, 2 + len(taken))]
        names[old] = next(c for c in (c + PurePosixPath(old).suffix for c in candidates) if c not in taken)
    return names


def _several_phases(tree):
    return len(tree.getroot().findall("material_phase")) > 1


def copy_unchanged(
    tree: etree._ElementTree, options: Path, renamed: Mapping[str, str], changed: Collection[Path], beside: Path
) -> None:
    """Copy all files of a checkpoint but those that change, byte for byte.

    Parameters
    ----------
    tree, options : its options, and their file
    renamed : {name of a mesh's or field's file in the options: name in the copy}; other files keep theirs, with folders
    changed : paths that are left out
    beside : the folder of the copy
    """
    for path, name in dict(named_files(tree, options)).items():
        if path in changed:
            continue
        if path.suffix in FIELD_FILES:
            _copy_field_file(path, beside / renamed[name])
        else:
            rest = path.name.removeprefix(PurePosixPath(name).name)  # _0.halo
            shutil.copyfile(path, beside / (renamed[name] + rest))
    for path in other_files(tree, options):
        target = beside / path.relative_to(options.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def _piece_names(new: Path, n_pieces: int) -> list[Path]:
    """Where a PVTU's pieces go, as Fluidity looks for them."""
    return [new.with_suffix("") / f"{new.stem}_{k}.vtu" for k in range(n_pieces)]


def _copy_field_file(path: Path, new: Path) -> None:
    if path.suffix == ".vtu":
        shutil.copyfile(path, new)
        return
    pieces = piece_paths(path)
    new.with_suffix("").mkdir()
    for piece, target in zip(pieces, _piece_names(new, len(pieces)), strict=True):
        shutil.copyfile(piece, target)
    _write_pvtu(path, new, len(pieces))


def _write_pvtu(path: Path, new: Path, n_pieces: int) -> None:
    tree = parse_xml(path)
    for element, target in zip(tree.iter("{*}Piece"), _piece_names(new, n_pieces), strict=True):
        element.set("Source", target.relative_to(new.parent).as_posix())
    write_xml(tree, new)


def write_changed(path: Path, new: Path, fields: Mapping[str, Field], comm: MPI.Comm) -> None:
    """Write a VTU or PVTU with some arrays replaced; each rank writes its own pieces. Collective."""
    pieces = on_rank_0(lambda: _make_room(path, new), comm)
    targets = [new] if path.suffix == ".vtu" else _piece_names(new, len(pieces))
    mesh, problem = next(iter(fields.values())).mesh, None
    try:
        for piece in mesh.pieces:
            grid = read_grid(pieces[piece.index])
            if piece_fingerprint(*geometry(grid, pieces[piece.index])) != piece.fingerprint:
                raise MeshError(
                    f"{pieces[piece.index]}: its mesh is not the one the fields {sorted(fields)} were read on"
                )
            for array, field in fields.items():
                _set_values(grid, array, field, piece)
            write_grid(grid, targets[piece.index])
    except (OSError, ValueError) as error:
        problem = error
    raise_together(problem, comm)


def _make_room(path: Path, new: Path) -> list[Path]:
    """Write a PVTU's own file and its folder of pieces; returns the old pieces, or the single VTU."""
    pieces = piece_paths(path)
    if path.suffix == ".pvtu":
        new.with_suffix("").mkdir()
        _write_pvtu(path, new, len(pieces))
    return pieces


def _set_values(grid: vtkUnstructuredGrid, array: str, field: Field, piece: Piece) -> None:
    if field.location == "point":
        set_array(grid.GetPointData(), array, field.values[piece.nodes])
    else:
        set_array(grid.GetCellData(), array, field.values[piece.cells])


def write_options_renamed(tree: etree._ElementTree, renamed: Mapping[str, str], edit: Edit | None, path: Path) -> None:
    """Write options that name the files of the copy, changed by `edit` if given."""
    elements = [*mesh_elements(tree), *(element for _, element in field_elements(tree))]
    for element in elements:
        element.set("file_name", renamed[file_name(element)])
    if edit is not None:
        edit(tree)
    flml.write_options(tree, path)
