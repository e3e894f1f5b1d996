"""Temporal archives: many states in one VTKHDF file, which VTK's own readers open as a time series.

    with ArchiveWriter("run.vtkhdf", comm) as archive:      with Archive("run.vtkhdf", comm) as archive:
        for state in states:                                    for k in range(len(archive)):
            archive.append(state)                                   state = archive.read(k, ["Tracer"])

A mesh is stored once, for any number of states; the pieces of a parallel run are the file's
parts. Each rank writes and reads its own pieces, and no rank holds more than one state.
"""

from coupling.archive.describing import describe
from coupling.archive.joining import join_archives
from coupling.archive.reader import Archive
from coupling.archive.writer import ArchiveWriter

__all__ = ["Archive", "ArchiveWriter", "describe", "join_archives"]
