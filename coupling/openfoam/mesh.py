"""A mesh's files, constant/polyMesh: points, faces, owner, neighbour and boundary, ascii or binary, packed or not."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coupling.common.files import FileError
from coupling.geometry.polyhedra import PolyhedralPart
from coupling.openfoam.dictionary import Dictionary, Scanner, unpacked
from coupling.openfoam.lists import find_list, values_of

_PARTS = ("points", "faces", "owner", "neighbour", "boundary")


@dataclass(frozen=True)
class Patch:
    """One patch of a mesh's boundary.

    name, type : as the file has them
    groups : the groups that it is in
    start, count : its faces
    neighbour : of a seam the number of the piece on its other side, of a cyclic patch the other's name; else None
    """

    name: str
    type: str
    groups: tuple[str, ...]
    start: int
    count: int
    neighbour: int | str | None

    @property
    def faces(self) -> slice:
        """Its faces, in the mesh's numbering."""
        return slice(self.start, self.start + self.count)

    @property
    def is_seam(self) -> bool:
        """Whether a cut between two processors makes it."""
        return self.type == "processor"


@dataclass(frozen=True)
class PolyMesh:
    """A mesh as its files have it.

    folder : constant/polyMesh
    part : points and faces
    patches : in the order of the file
    n_inner : number of inner faces, which are the first
    """

    folder: Path
    part: PolyhedralPart
    patches: tuple[Patch, ...]
    n_inner: int

    @property
    def n_cells(self) -> int:
        """Number of its cells."""
        return 1 + int(max(self.part.owner.max(initial=-1), self.part.neighbour.max(initial=-1)))


def find_file(folder: Path, name: str) -> Path | None:
    """The file of this name, or that with .gz; None where there is neither."""
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def read_mesh(folder: Path) -> PolyMesh:
    """Read a mesh from its folder constant/polyMesh.

    Raises
    ------
    FileError
        if a file is missing, broken, or contradicts another
    """
    files = {}
    for name in _PARTS:
        path = find_file(folder, name)
        if path is None:
            raise FileError(f"{folder}: has no file {name}; expected a mesh of OpenFOAM, as blockMesh makes it")
        files[name] = _open(path)
    points = _list(files["points"], "vector")
    owner, inner = _list(files["owner"], "label"), _list(files["neighbour"], "label")
    offsets, nodes = _faces(files["faces"])
    if len(offsets) - 1 != len(owner) or len(inner) > len(owner):
        raise FileError(
            f"{folder}: {len(offsets) - 1} faces, {len(owner)} owners and {len(inner)} neighbours do not fit together"
        )
    neighbour = np.full(len(owner), -1, np.int64)
    neighbour[: len(inner)] = inner
    n_inner = int((neighbour >= 0).sum())  # some versions fill up with -1
    patches = _patches(files["boundary"])
    position = n_inner
    for patch in patches:
        if patch.start != position and patch.count:
            raise FileError(f"{folder}/boundary: patch {patch.name} begins at face {patch.start}, expected {position}")
        position += patch.count
    if position != len(owner):
        raise FileError(f"{folder}/boundary: its patches end at face {position}, the mesh has {len(owner)}")
    return PolyMesh(folder, PolyhedralPart(points, offsets, nodes, owner, neighbour), patches, n_inner)


def _open(path: Path) -> Scanner:
    """A scanner that stands behind the file's header."""
    scanner = Scanner(path, unpacked(path), 0, 0)
    scanner.end = len(scanner.data)
    word = scanner.word()
    if word is None or scanner.data[slice(*word)] != b"FoamFile":
        raise FileError(f"{path}: does not begin with FoamFile; is it a file of OpenFOAM?")
    header = scanner.entry(word)
    scanner.take_format(header)
    return scanner


def _list(scanner: Scanner, kind: str) -> np.ndarray:
    """The list at the scanner's place, which it passes."""
    place = scanner.word()
    if place is None:
        raise FileError(f"{scanner.path}: ends after its header; is the file cut?")
    found = find_list(scanner.path, scanner.data, place[0], kind, scanner.binary, scanner.label)
    if found is None:
        raise FileError(f"{scanner.path}: has no list of {kind}s after its header")
    scanner.position = found.end
    return values_of(scanner.path, scanner.data, found)


def _faces(scanner: Scanner) -> tuple[np.ndarray, np.ndarray]:
    """Where each face's nodes begin, and the nodes."""
    compact = re.search(rb"class\s+faceCompactList", scanner.data[: scanner.position])
    if compact:
        return _list(scanner, "label"), _list(scanner, "label")
    if scanner.binary:
        raise FileError(f"{scanner.path}: is binary and no faceCompactList; have foamFormatConvert write it again")
    data = scanner.data[scanner.position :]
    data = re.sub(rb"//[^\n]*", b"", data)
    match = re.match(rb"\s*(\d+)\s*\(", data)
    end = data.rfind(b")")
    if match is None or end < match.end():
        raise FileError(f"{scanner.path}: has no list of faces, or is cut")
    rows = data[match.end() : end].split(b")")[:-1]
    sizes_nodes = [row.split(b"(") for row in rows]
    try:
        sizes = np.array([int(pair[0]) for pair in sizes_nodes], np.int64)
        nodes = np.array(b" ".join(pair[1] for pair in sizes_nodes).split(), np.int64)
    except (ValueError, IndexError):
        raise FileError(f"{scanner.path}: a face is no list of numbers") from None
    if len(sizes) != int(match[1]) or sizes.sum() != len(nodes):
        raise FileError(f"{scanner.path}: says {int(match[1])} faces and has {len(sizes)}, of {len(nodes)} nodes")
    return np.append(0, np.cumsum(sizes)), nodes


def _patches(scanner: Scanner) -> tuple[Patch, ...]:
    count = scanner.word()
    opening = scanner.word()
    if count is None or opening is None or scanner.data[slice(*opening)] != b"(":
        raise FileError(f"{scanner.path}: has no list of patches")
    patches = []
    while (word := scanner.word()) is not None and scanner.data[slice(*word)] != b")":
        entry = scanner.entry(word)
        inside = Dictionary(scanner.path, scanner.data, entry.children or (), scanner.binary, scanner.label)
        numbers = {key: inside.number(key) for key in ("startFace", "nFaces", "neighbProcNo")}
        kind = inside.text("type")
        if numbers["startFace"] is None or numbers["nFaces"] is None or kind is None:
            raise FileError(f"{scanner.path}: patch {entry.key} lacks type, startFace or nFaces")
        groups = re.findall(r"[^\s()]+", re.sub(r"^\s*(List<word>)?\s*\d*\s*\(", "(", inside.text("inGroups") or ""))
        seam = numbers["neighbProcNo"]
        other = int(seam) if seam is not None else inside.text("neighbourPatch")
        patches.append(Patch(entry.key, kind, tuple(groups), int(numbers["startFace"]), int(numbers["nFaces"]), other))
    return tuple(patches)
