"""Run a case: python -m coupling.embedded [-l] case.flml, alone or under mpirun.

It begins as Fluidity does: it changes to the folder $PWD, whatever its working directory is, and with
-l writes to fluidity.log-RANK and fluidity.err-RANK there. Any error ends all processes with exit code
16, and so does a solver that fails, after a last dump.
"""

import argparse
import io
import os
import sys
import time
import traceback
from collections.abc import Sequence

_FAILED = 16
_PATIENCE = 1.0  # s


def _go_to_pwd():
    """Change to $PWD; exit 255 if there is no such folder."""
    folder = os.environ.get("PWD", os.getcwd())
    try:
        os.chdir(folder)
    except OSError as error:
        sys.stderr.write(f"cannot change to $PWD {folder!r}: {error.strerror}\n")
        raise SystemExit(255) from None
    if folder not in sys.path:  # modules beside the options file, last so that they hide none
        sys.path.append(folder)


def _redirect(rank):
    for stream, name in ((sys.stdout, "log"), (sys.stderr, "err")):
        stream.flush()
        with open(f"fluidity.{name}-{rank}", "w") as file:
            os.dup2(file.fileno(), stream.fileno())


def main(words: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m coupling.embedded", description="The embedded forecast model.")
    parser.add_argument("-l", action="store_true", dest="log", help="write to fluidity.log-RANK and fluidity.err-RANK")
    parser.add_argument("options", help="options file (.flml)")
    arguments = parser.parse_args(words)
    _go_to_pwd()
    # PETSc must not read our words as its own
    import petsc4py

    petsc4py.init([sys.argv[0]])
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    if arguments.log:
        _redirect(comm.rank)
    if isinstance(sys.stdout, io.TextIOWrapper):  # a test may have put something else there
        sys.stdout.reconfigure(line_buffering=True)
    try:
        code = _run(arguments.options, comm)
    except Exception as error:  # an error on one rank must end them all, whatever it is
        _report(error)
        if comm.size > 1:
            _wait_for_the_others(comm)
            comm.Abort(_FAILED)
        code = _FAILED
    return code


def _run(options, comm):
    from coupling.embedded.options import read_case
    from coupling.embedded.simulation import make_model, run

    return 0 if run(make_model(read_case(options), comm)) else _FAILED


def _wait_for_the_others(comm):
    """Give ranks that fail alike time to say so; do not wait for a rank that continues."""
    arrived = comm.Ibarrier()
    deadline = time.monotonic() + _PATIENCE
    while not arrived.Test() and time.monotonic() < deadline:
        time.sleep(0.01)


def _report(error):
    from coupling.common.files import FileError
    from coupling.common.text import printable

    if not isinstance(error, FileError | OSError):
        traceback.print_exception(error)
    sys.stderr.write(f"*** ERROR ***\n{printable(str(error))}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
