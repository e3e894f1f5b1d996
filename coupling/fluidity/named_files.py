"""Which files an options file names: the mesh, and what fields start from."""

import re
from collections.abc import Iterator
from pathlib import Path

from lxml import etree


def mesh_elements(tree: etree._ElementTree) -> list[etree._Element]:
    """The elements that name the file of a mesh."""
    return tree.getroot().findall("geometry/mesh/from_file[@file_name]")


def prognostic_fields(tree: etree._ElementTree) -> Iterator[tuple[str, etree._Element]]:
    """(name, its options) of every field that the model solves for."""
    phases = tree.getroot().findall("material_phase")
    for phase in phases:
        prefix = f"{phase.get('name')}::" if len(phases) > 1 else ""
        for kind in ("scalar_field", "vector_field", "tensor_field"):
            for field in phase.findall(f".//{kind}[@name]"):
                for options in field.findall("prognostic"):
                    yield prefix + field.get("name"), options


def field_elements(tree: etree._ElementTree) -> Iterator[tuple[str, etree._Element]]:
    """(name, element with the file's name) of every field that starts from a file."""
    for name, options in prognostic_fields(tree):
        for element in options.findall("initial_condition/from_file[@file_name]"):
            yield name, element


def pieces_of(folder: Path, base: str) -> list[Path]:
    """The .msh files of a mesh that is cut into pieces, in the order of the ranks; none in serial."""
    pieces = [p for p in folder.glob(f"{base}_*.msh") if re.fullmatch(r"_\d+", p.stem[len(base) :])]
    return sorted(pieces, key=lambda p: int(p.stem[len(base) + 1 :]))


def named_files(tree: etree._ElementTree, options: Path) -> Iterator[tuple[Path, str]]:
    """(path, name in the options) of every file the options name."""
    folder = options.parent
    for element in mesh_elements(tree):
        base = element.get("file_name")
        pieces = pieces_of(folder, base)
        for piece in pieces:
            yield piece, base
            yield piece.with_suffix(".halo"), base
        if not pieces or (folder / f"{base}.msh").is_file():
            yield folder / f"{base}.msh", base
    for _, element in field_elements(tree):
        yield folder / element.get("file_name"), element.get("file_name")
