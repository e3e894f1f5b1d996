"""A field's file of a time folder: values in cells and on patches, read, and replaced; all other bytes stay."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from coupling.common.files import FileError
from coupling.openfoam.dictionary import Dictionary, Entry, parse_dictionary, replaced, unpacked
from coupling.openfoam.lists import COMPONENTS, values_of, words_of, written
from coupling.openfoam.mesh import Patch

# classes of files that hold a field, and the kind of its numbers; those at cells, and those on faces
AT_CELLS = {f"vol{kind[0].upper()}{kind[1:]}Field": kind for kind in COMPONENTS}
ON_FACES = {f"surface{kind[0].upper()}{kind[1:]}Field": kind for kind in COMPONENTS}


@dataclass(frozen=True)
class FieldFile:
    """A field's file.

    dictionary : its entries and bytes
    kind : scalar, vector, symmTensor, tensor or sphericalTensor
    """

    dictionary: Dictionary
    kind: str

    @property
    def path(self) -> Path:
        """The file."""
        return self.dictionary.path

    def internal(self, count: int) -> np.ndarray:
        """(count,) or (count, k) values in the cells, or on the inner faces.

        Raises
        ------
        FileError
            if they are of another number, or no numbers
        """
        entry = self.dictionary.find("internalField")
        if entry is None:
            raise FileError(f"{self.path}: has no internalField")
        return self._values(entry, count, "internalField")

    def lists(self) -> Iterator[np.ndarray]:
        """Each list of numbers: of the cells or inner faces, and of patches with values of their own.

        FileError if one is broken
        """
        boundary = self.dictionary.find("boundaryField")
        patches = () if boundary is None else boundary.children or ()
        entries = [self.dictionary.find("internalField"), *(patch.child("value") for patch in patches)]
        for entry in entries:
            for found in () if entry is None else entry.lists:
                yield values_of(self.path, self.dictionary.data, found)

    def patch(self, patch: Patch) -> Entry | None:
        """What the file says of a patch: by its name, a group of it, or a pattern, in OpenFOAM's order."""
        boundary = self.dictionary.find("boundaryField")
        children = () if boundary is None else boundary.children or ()
        named = [entry for entry in children if not entry.quoted and entry.key == patch.name]
        if named:
            return named[-1]
        group = [entry for entry in children if not entry.quoted and entry.key in patch.groups]
        if group:
            return group[-1]
        return next((e for e in reversed(children) if e.quoted and re.fullmatch(e.key, patch.name)), None)

    def patch_type(self, patch: Patch) -> str | None:
        """The type of its condition on a patch; None where the file says nothing of it."""
        entry = self.patch(patch)
        child = None if entry is None else entry.child("type")
        return None if child is None else self.dictionary.text_of(child)

    def patch_values(self, patch: Patch) -> np.ndarray | None:
        """(nFaces,) or (nFaces, k) values on a patch, where the file has them under the patch's own name."""
        entry = self.patch(patch)
        value = None if entry is None or entry.quoted or entry.key != patch.name else entry.child("value")
        return None if value is None else self._values(value, patch.count, f"{patch.name}/value")

    def replaced(self, internal: np.ndarray | None, patches: Mapping[str, np.ndarray]) -> bytes:
        """The file's bytes with other values in the cells, and on patches that have values of their own."""
        changes = []
        if internal is not None:
            entry = self.dictionary.find("internalField")
            assert entry is not None
            changes.append((entry, internal))
        boundary = self.dictionary.find("boundaryField")
        for child in () if boundary is None else boundary.children or ():
            if child.key in patches and not child.quoted:
                value = child.child("value")
                assert value is not None
                changes.append((value, patches[child.key]))
        spans = [
            (entry.start, entry.end, written(values, self.kind, self.dictionary.binary)) for entry, values in changes
        ]
        return replaced(self.dictionary.data, spans)

    def _values(self, entry: Entry, count: int, what: str) -> np.ndarray:
        data, k = self.dictionary.data, COMPONENTS[self.kind]
        if len(entry.lists) == 1:
            found = entry.lists[0]
            if found.kind != self.kind:
                raise FileError(f"{self.path}: {what} is a list of {found.kind}s, expected {self.kind}s")
            values = values_of(self.path, data, found)
        else:
            values = self._plain(data[entry.start : entry.end], count, k, what)
        if len(values) != count:
            raise FileError(f"{self.path}: {what} has {len(values)} values, its mesh {count}")
        return values

    def _plain(self, data: bytes, count: int, k: int, what: str) -> np.ndarray:
        words = words_of(data, k)
        if words[:1] == [b"nonuniform"] and words[1:] in ([b"0"], []):
            return np.empty((0,) if k == 1 else (0, k))
        try:
            if words[0] != b"uniform" or len(words) != 1 + k:
                raise ValueError
            value = np.array(words[1:], np.float64)
        except (ValueError, IndexError):
            raise FileError(
                f"{self.path}: {what} is {data[:60].decode(errors='replace')!r}, expected uniform or nonuniform "
                f"numbers of a {self.kind}; where it is a macro, take a time that OpenFOAM has written"
            ) from None
        return np.full(count, value[0]) if k == 1 else np.tile(value, (count, 1))


def read_field(path: Path, kinds: Mapping[str, str]) -> FieldFile:
    """Read a field's file.

    Parameters
    ----------
    path : the file
    kinds : the classes that it may have, `AT_CELLS` or `ON_FACES`

    Raises
    ------
    FileError
        if it is missing, broken, or of another class
    """
    dictionary = parse_dictionary(unpacked(path), path)
    name = dictionary.text("FoamFile", "class")
    if name is None or name not in kinds:
        raise FileError(f"{path}: is a {name}, expected one of {', '.join(kinds)}")
    return FieldFile(dictionary, kinds[name])
