"""Is this machine, and this case, ready for the cycle? python -m plugin.check [case.yml] [--quick] [--fix OUT.flml]

Libraries, processors, the model and its launcher, the model's options, a restart's round trip, one time step of the
model, earlier states, grid, readings, weights, memory, disk and time: a line for each, ok, warn or FAIL, and what to
do about it. Without a case only the machine is checked. Under mpirun all ranks' libraries and nodes are checked; start
it as you will start the cycle. The case's own files and its run folder stay as they are. Exit code 1: a line says FAIL.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from mpi4py import MPI

from coupling.common.waiting import wait_asleep
from plugin.case.configuration import ConfigurationError, CycleCase, read_cycle_case
from plugin.check.case.estimate import estimate
from plugin.check.case.files import CaseFiles
from plugin.check.case.grid import grid
from plugin.check.case.model import launcher, nodes, processes, program
from plugin.check.case.network import network
from plugin.check.case.parameters import parameters
from plugin.check.case.readings import in_air, in_windows
from plugin.check.case.resources import disk, duration, memory
from plugin.check.case.restart import round_trip
from plugin.check.case.settings import model_settings
from plugin.check.case.states import same_mesh, states
from plugin.check.case.trial import one_time_step
from plugin.check.finding import FAIL, OK, WARN, Finding, as_text, findings, without_folder
from plugin.check.machine.libraries import libraries, loaded, packages
from plugin.check.machine.processors import Placement, gpu, here, processors
from plugin.run.job import read_words, run_job
from plugin.run.output import show

Rank = tuple[dict[str, list[str]], Placement]  # loaded libraries, and where the rank runs


def check_machine(by_rank: Sequence[Rank], model_processes: int = 1) -> Iterator[Finding]:
    """Findings about libraries and processors.

    by_rank : loaded libraries and placement of each rank, after the packages were imported
    """
    yield from findings("libraries", libraries, [paths for paths, _ in by_rank])
    yield from findings("processors", processors, [place for _, place in by_rank], model_processes)
    yield from findings("GPU", gpu)


def check_case(
    case: CycleCase, scratch: Path, places: Sequence[Placement], quick: bool = False, fix: Path | None = None
) -> Iterator[Finding]:
    """Findings about a case, one by one. On one rank.

    Parameters
    ----------
    scratch : folder to write to
    places : of all ranks
    quick : skip the model's time step
    fix : file to write with the options' changes that help; None writes none
    """
    files = CaseFiles(case, scratch)
    yield from findings("model", program, files)
    yield from findings("launcher", launcher, case, scratch)
    yield from findings("model's options", model_settings, files, fix)
    yield from findings("parameters", parameters, files)
    yield from findings("estimate", estimate, files)
    yield from findings("pieces of the mesh", processes, files)
    yield from findings("nodes", nodes, files)
    yield from findings("restart round trip", round_trip, files)
    yield from findings("earlier states", states, files)
    yield from findings("grid", grid, files)
    yield from findings("mesh", same_mesh, files)
    yield from findings("readings", in_windows, files)
    yield from findings("sensors", in_air, files)
    yield from findings("network", network, files)
    free = sum({place.host: place.memory for place in places}.values())
    yield from findings("memory", memory, files, free)
    yield from findings("disk", disk, files)
    if not quick:
        yield from findings("one time step", one_time_step, files)
        yield from findings("one window", duration, files, len(places))


def _read(path: Path) -> tuple[CycleCase | None, list[Finding]]:
    """(the case or None, findings about its file)."""
    try:
        return read_cycle_case(path), [Finding(OK, "case file", str(path))]
    except ConfigurationError as error:
        return None, [Finding(FAIL, "case file", line) for line in str(error).splitlines()]


def _examine(
    words: argparse.Namespace, by_rank: Sequence[Rank], imported: Sequence[Finding], say: Callable[[Finding], None]
) -> list[Finding]:
    """All findings. On one rank, while the others sleep."""
    reported: list[Finding] = []

    def report(some: Iterable[Finding]) -> None:
        for finding in some:
            reported.append(finding)
            say(finding)

    case, of_file = (None, []) if words.case is None else _read(words.case)
    report([*imported, *check_machine(by_rank, 1 if case is None else case.model.processes), *of_file])
    if case is None:
        return reported
    beside = next(p for p in case.run.parents if p.is_dir())
    try:
        with tempfile.TemporaryDirectory(prefix=".check-", dir=beside) as scratch:
            checked = check_case(case, Path(scratch), [place for _, place in by_rank], words.quick, words.fix)
            report(without_folder(finding, Path(scratch)) for finding in checked)
    except OSError as error:
        report([Finding(FAIL, "run folder", f"{beside} cannot be written: {error}", "choose another `run` folder")])
    return reported


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.check", description="Check that a cycle can run.")
    parser.add_argument("case", nargs="?", type=Path, help="case file (YAML)")
    parser.add_argument("--quick", action="store_true", help="skip the model's time step")
    parser.add_argument(
        "--fix", type=Path, metavar="OUT.flml", help="write the model's options with the changes that help"
    )
    parser.add_argument("--json", action="store_true", help="print findings as JSON")
    words = read_words(parser, argv, comm)
    imported = findings("packages", packages, comm.size)
    by_rank = comm.gather((loaded(), here())) or []
    reported: list[Finding] = []
    if comm.rank == 0:
        reported = _examine(words, by_rank, imported, (lambda finding: None) if words.json else _say)
    wait_asleep(comm)
    failed = comm.bcast(sum(finding.level == FAIL for finding in reported))
    if comm.rank == 0:
        _summarise(reported, words.json)
    return 1 if failed else 0


def _say(finding: Finding) -> None:
    show(as_text(finding))


def _summarise(reported: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        print(json.dumps([asdict(finding) for finding in reported], indent=1))
        return
    counts = {level: sum(finding.level == level for finding in reported) for level in (OK, WARN, FAIL)}
    show(f"{counts[OK]} ok, {counts[WARN]} to look at, {counts[FAIL]} in the way")


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
