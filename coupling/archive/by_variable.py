"""Archives of the same states that hold different variables, as one series of states.

Somebody who packs Pressure into one file and Velocity into another has two archives of equal times on one mesh. They
are joined by these: where times or meshes differ, that is an error that names both files.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from coupling.archive.reader import Archive
from coupling.common.files import FileError
from coupling.geometry.mesh import Field, MeshError, State

Place = tuple[Archive, int]  # an archive and the number of a state in it


@dataclass(frozen=True)
class SplitArchive:
    """Several archives, used like one that has the variables of all. Collective.

    times : (S,) [s]
    parts : for each set of variables, S pairs of an archive and the number of a state in it
    """

    times: np.ndarray
    parts: tuple[tuple[Place, ...], ...]

    def __len__(self) -> int:
        return len(self.times)

    def __enter__(self) -> "SplitArchive":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def field_names(self) -> tuple[str, ...]:
        """Names of all archives' fields, sorted."""
        return tuple(sorted({name for part in self.parts for name in part[0][0].field_names}))

    @property
    def archives(self) -> tuple[Archive, ...]:
        """Each archive once."""
        return tuple({id(archive): archive for part in self.parts for archive, _ in part}.values())

    def close(self) -> None:
        """Close the files; states that were read remain valid."""
        for archive in self.archives:
            archive.close()

    def places(self, step: int) -> tuple[Place, ...]:
        """Where a state is kept, for each set of variables."""
        return tuple(part[step] for part in self.parts)

    def read(self, step: int, names: Collection[str] | None = None) -> State:
        """Read one state. Collective.

        Parameters
        ----------
        step : 0 … S − 1, or from −S to count from the end
        names : fields to read; None reads all. Of a field in several archives the first is read

        Returns
        -------
        State, all its fields on one Mesh

        Raises
        ------
        FileError
            if none of the archives has one of `names`, or one is damaged
        MeshError
            if the state lies on different meshes in the archives
        IndexError
            if there is no such step
        """
        places, wanted = self.places(step), list(self.field_names if names is None else names)
        missing = [name for name in wanted if name not in self.field_names]
        if missing:
            files = ", ".join(str(archive.path) for archive, _ in places)
            raise FileError(f"{files}: no array {missing[0]!r}; they have {list(self.field_names)}")
        fields: dict[str, Field] = {}
        mesh, origin = None, places[0][0]
        for archive, number in places:
            here = [name for name in wanted if name in archive.field_names and name not in fields]
            if not here:
                continue
            state = archive.read(number, here)
            own = state[here[0]].mesh
            if mesh is None:
                mesh, origin = own, archive
            if own.fingerprint != mesh.fingerprint:
                raise MeshError(
                    f"{archive.path}: its mesh at {state.time:g} s, with {', '.join(here)}, is another than that of "
                    f"{origin.path}; archives that are split by variable must be of one run"
                )
            fields |= {name: replace(state[name], mesh=mesh) for name in here}
        return State(float(self.times[step]), {name: fields[name] for name in wanted})


def join_by_variable(archives: Sequence[Archive]) -> list[Archive | SplitArchive]:
    """Archives as they are, one after another in time, or joined where they are split by variable.

    They are split if no two that differ in their variables have one in common. If some are in common, they are split if
    the times are the same, too, and otherwise follow each other.

    Parameters
    ----------
    archives : in the order of their states

    Returns
    -------
    the archives, or a SplitArchive alone

    Raises
    ------
    FileError
        if archives are split by variable, and one has states at times that another lacks
    """
    kinds: dict[frozenset[str], list[Archive]] = {}
    for archive in archives:
        kinds.setdefault(frozenset(archive.field_names), []).append(archive)
    if len(kinds) < 2:
        return list(archives)
    parts = [tuple((archive, step) for archive in of for step in range(len(archive))) for of in kinds.values()]
    times = [np.array([archive.times[step] for archive, step in part]) for part in parts]
    apart = sum(map(len, kinds)) == len(frozenset().union(*kinds))
    for part, own in zip(parts[1:], times[1:], strict=True):
        if _same(own, times[0]):
            continue
        if not apart:
            return list(archives)
        raise FileError(_difference(parts[0], times[0], part, own))
    return [SplitArchive(times[0], tuple(parts))]


def _same(one, other):
    return len(one) == len(other) and np.allclose(one, other, rtol=1e-9, atol=1e-12)


def _difference(first, times, second, others):
    """What to say of two sets of archives whose times differ."""
    for there, own, lacking, theirs in ((first, times, second, others), (second, others, first, times)):
        for (has, _), time in zip(there, own, strict=True):
            if not np.isclose(theirs, time, rtol=1e-9, atol=1e-12).any():
                lacks = lacking[0][0]
                return (
                    f"{has.path}: has a state at {time:g} s, {lacks.path} has none; they hold different variables "
                    f"({', '.join(has.field_names)}; {', '.join(lacks.field_names)}), so their times must be the same"
                )
    names = f"{first[0][0].path}, {second[0][0].path}"
    return f"{names}: hold different variables of the same times in another order or number; pack them anew"


def reopened_parts(series: SplitArchive, comm: MPI.Comm) -> SplitArchive:
    """The same archives, for other ranks. Collective over these."""
    again = {str(archive.path): Archive(archive.path, comm) for archive in series.archives}
    return SplitArchive(
        series.times, tuple(tuple((again[str(archive.path)], k) for archive, k in part) for part in series.parts)
    )
