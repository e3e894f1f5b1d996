"""Is this machine, and this case, ready for the cycle? python -m plugin.check [case.yml] [--quick] [--fix OUT.flml]

Libraries, processors, the model and its launcher, the model's options, a restart's round trip, one time step of the
model, earlier states, grid, readings, weights, memory, disk and time: a line for each, ok, warn or FAIL, and what to
do about it. Without a case only the machine is looked at. Under mpirun it looks at all ranks' libraries and nodes;
start it as you will start the cycle. The case's own files and its run folder stay as they are. Exit code 1: a line
says FAIL.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from mpi4py import MPI

from coupling.fluidity import options as flml
from coupling.simulation.launch import wait_asleep
from plugin.case.configuration import ConfigurationError, read_case
from plugin.check.case.files import Subject
from plugin.check.case.grid import grid
from plugin.check.case.model import launcher, processes, program
from plugin.check.case.network import network
from plugin.check.case.options import options, write_fixed
from plugin.check.case.readings import in_air, in_windows
from plugin.check.case.resources import disk, duration, memory
from plugin.check.case.restart import round_trip
from plugin.check.case.states import same_mesh, states
from plugin.check.finding import FAIL, OK, WARN, Finding, findings, told
from plugin.check.machine.libraries import libraries, loaded, packages
from plugin.check.machine.processors import gpu, here, processors
from plugin.run.job import read_words, run_job


def check_machine(seen, model_processes=1):
    """Findings about libraries and processors.

    seen : [(loaded libraries, Place)] of all ranks, after the packages were imported
    """
    yield from findings("libraries", libraries, [of for of, _ in seen])
    yield from findings("processors", processors, [place for _, place in seen], model_processes)
    yield from findings("GPU", gpu)


def check_case(case, scratch, places, quick=False, fix=None):
    """Findings about a case, as they are made. On one rank.

    Parameters
    ----------
    case : Case
    scratch : folder to write to
    places : Place of all ranks
    quick : leave the model's time step out
    fix : where to write options with the changes that help; None does not
    """
    subject = Subject(case, scratch)
    yield from findings("model", program, case)
    yield from findings("launcher", launcher, case, scratch)
    yield from findings("model's options", _options, subject, fix)
    yield from findings("pieces of the mesh", processes, subject)
    yield from findings("restart round trip", round_trip, subject)
    yield from findings("earlier states", states, subject)
    yield from findings("grid", grid, subject)
    yield from findings("mesh", same_mesh, subject)
    yield from findings("readings", in_windows, subject)
    yield from findings("sensors", in_air, subject)
    yield from findings("network", network, subject)
    free = sum({place.host: place.memory for place in places}.values())
    yield from findings("memory", memory, subject, free)
    yield from findings("disk", disk, subject)
    if not quick:
        yield from findings("one time step", _trial, subject)
        yield from findings("one window", duration, subject, len(places))


def _options(subject, fix):
    case = subject.case
    made = options(case, flml.read_options(case.model.start))
    yield from (finding for finding, _ in made)
    changes = [change for _, some in made for change in some]
    if fix is not None and changes:
        write_fixed(case, changes, fix)
        yield Finding(OK, "--fix", f"{fix} has {len(changes)} change(s)", f"name it in model.start: {fix}")
    elif fix is not None:
        yield Finding(OK, "--fix", "nothing is to be changed, and nothing was written")


def _trial(subject):
    seconds = subject.trial
    text = f"the model made it and left a checkpoint that can be read; {seconds:.1f} s with start-up"
    yield Finding(OK, "one time step", text)


def _read(path):
    """(Case or None, findings about its file)."""
    try:
        return read_case(path), [Finding(OK, "case file", str(path))]
    except ConfigurationError as error:
        return None, [Finding(FAIL, "case file", line) for line in str(error).splitlines()]


def _examine(words, seen, imported, say):
    """All findings. On one rank, while the others sleep."""
    made = []

    def tell(some):
        for finding in some:
            made.append(finding)
            say(finding)

    case, about = (None, []) if words.case is None else _read(words.case)
    tell([*imported, *check_machine(seen, 1 if case is None else case.model.processes), *about])
    if case is None:
        return made
    beside = next(p for p in case.run.parents if p.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".check-", dir=beside) as scratch:
            tell(check_case(case, Path(scratch), [place for _, place in seen], words.quick, words.fix))
    except OSError as error:
        tell([Finding(FAIL, "run folder", f"{beside} cannot be written: {error}", "choose another `run` folder")])
    return made


def main(argv, comm):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m plugin.check", description="Look for what a cycle would trip over."
    )
    parser.add_argument("case", nargs="?", type=Path, help="case file (YAML)")
    parser.add_argument("--quick", action="store_true", help="do not run the model for one time step")
    parser.add_argument("--fix", type=Path, metavar="OUT.flml", help="write the model's options with what they lack")
    parser.add_argument("--json", action="store_true", help="print findings as JSON")
    words = read_words(parser, argv, comm)
    imported = findings("packages", packages, comm.size)
    seen = comm.gather((loaded(), here()))
    made = None
    if comm.rank == 0:
        made = _examine(words, seen, imported, (lambda finding: None) if words.json else _say)
    wait_asleep(comm)
    failed = comm.bcast(None if made is None else sum(finding.level == FAIL for finding in made))
    if comm.rank == 0:
        _summarise(made, words.json)
    return 1 if failed else 0


def _say(finding):
    print(told(finding), flush=True)


def _summarise(made, as_json):
    if as_json:
        print(json.dumps([asdict(finding) for finding in made], indent=1, ensure_ascii=False))
        return
    counts = {level: sum(finding.level == level for finding in made) for level in (OK, WARN, FAIL)}
    print(f"{counts[OK]} ok, {counts[WARN]} to be looked at, {counts[FAIL]} in the way")


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
