"""Run by test_archive on three ranks: archives written by 1, 2 and 3 ranks, read by 1, 2 and 3.

With the word "fail", the last rank fails while all write.
"""

import sys
from pathlib import Path

import numpy as np
from contents import FIELDS, SELF, changing_states, content
from mpi4py import MPI
from places import DATA
from polyhedra import street_states

from coupling.archive import Archive, ArchiveWriter
from coupling.archive.series import open_series
from coupling.common.files import FileError
from coupling.geometry.mesh import MeshError

WORLD = MPI.COMM_WORLD
FOLDER = Path(sys.argv[1])
RUNS = ("parallel", "adaptive", "changing", "polyhedra")


def first_ranks(n):
    """Communicator of the first n ranks, COMM_NULL on the others."""
    return WORLD.Split(0 if WORLD.rank < n else MPI.UNDEFINED, WORLD.rank)


def states_of(run, comm):
    if run == "changing":
        return list(changing_states(DATA, comm))
    if run == "polyhedra":
        return list(street_states(comm))
    series = open_series(DATA / run, comm)
    return [series.read(step, FIELDS[run]) for step in range(len(series))]


def gathered(values, comm):
    return np.concatenate(comm.allgather(values))


def check(archive, states, comm):
    assert archive.times.tolist() == [s.time for s in states]
    for step, whole in enumerate(states):
        state = archive.read(step)
        assert set(state.fields) == set(whole.fields)
        mesh, expected = (next(iter(of.fields.values())).mesh for of in (state, whole))
        assert (mesh.fingerprint, mesh.n_pieces) == (expected.fingerprint, expected.n_pieces)
        np.testing.assert_array_equal(gathered(mesh.points, comm), expected.points)
        np.testing.assert_array_equal(gathered(mesh.ghost, comm), expected.ghost)
        for name, field in whole.fields.items():
            assert state[name].mesh is mesh
            np.testing.assert_array_equal(gathered(state[name].values, comm), field.values)


def write_and_read():
    alone = {run: states_of(run, SELF) for run in RUNS}
    comms = {n: first_ranks(n) for n in (1, 2, 3)}
    for n, comm in comms.items():
        if comm != MPI.COMM_NULL:
            for run in RUNS:
                with ArchiveWriter(FOLDER / f"{run}_{n}.vtkhdf", comm) as archive:
                    for state in states_of(run, comm):
                        archive.append(state)
    WORLD.Barrier()
    for comm in comms.values():
        if comm != MPI.COMM_NULL:
            for run in RUNS:
                for n in comms:
                    with Archive(FOLDER / f"{run}_{n}.vtkhdf", comm) as archive:
                        check(archive, alone[run], comm)
                        if comm.size == 1:
                            again = [archive.read(k) for k in range(len(archive))]
                            assert list(map(content, again)) == list(map(content, alone[run]))


def fail_together():
    """A state that is refused on one rank raises on all, and the job continues."""
    states = states_of("parallel", WORLD)
    try:
        with ArchiveWriter(FOLDER / "failed.vtkhdf", WORLD) as archive:
            archive.append(states[1])
            archive.append(states[0])
        raise AssertionError("falling times were written")
    except MeshError as error:
        assert "must be after 12.0 s" in str(error)
    broken = FOLDER / "broken.vtkhdf"
    if WORLD.rank == 0:
        broken.write_text("text")
    WORLD.Barrier()
    for wrong in (FOLDER / "none.vtkhdf", broken):
        try:
            Archive(wrong, WORLD)
            raise AssertionError(f"{wrong} was opened")
        except FileError as error:
            assert wrong.name in str(error)
    with Archive(FOLDER / "parallel_2.vtkhdf", WORLD) as archive:
        try:
            archive.read(0, ["Nothing"])
            raise AssertionError("a missing field was not noticed")
        except FileError as error:
            assert "Nothing" in str(error)
    WORLD.Barrier()
    if WORLD.rank == 0:
        broken.unlink()


if "fail" in sys.argv:
    states = states_of("adaptive", WORLD)
    with ArchiveWriter(FOLDER / "failed.vtkhdf", WORLD) as writer:
        for k in range(3):
            writer.append(states[k])
            if WORLD.rank == WORLD.size - 1:
                raise RuntimeError("fails on purpose")
else:
    write_and_read()
    fail_together()
    if WORLD.rank == 0:
        sys.stdout.write("same\n")
