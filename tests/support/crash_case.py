"""A cycle and a reanalysis that take parts of a second, to be killed and resumed many times.

The model only copies: what it leaves is what it started from, at the time that it was asked for. It keeps the contract
that the cycle needs, the analyses add up from window to window, and a run of it costs no more than the copying.

FOLDER/training/0     a run of the embedded model, for the background errors; its end is the cycle's start
FOLDER/dumps/T.vtu    a dump of each time T at which a window ends
FOLDER/model          the model
FOLDER/readings.csv   readings at the end of each window, and of states of the training
"""

import csv
import os
import subprocess
import sys
import tempfile
import traceback

import numpy as np
import yaml
from cycle_case import (
    COMM,
    ROOT,
    SENSORS,
    WINDOW,
    command,
    environment,
    files,
    ledger,
    settings,
    values_at,
    write_case,
    write_readings,
)

from coupling.archive import Archive
from coupling.common import faults
from coupling.fluidity.checkpoint import open_restart
from coupling.fluidity.driver import embedded_model
from coupling.geometry.mesh import State
from coupling.vtk.dumps import write_dump
from plugin import cycle, reanalysis
from plugin.run.job import run_job

WINDOWS, BEGAN = 3, 40.0
KILLED, STOPPED, TIMED_OUT = -9, 143, 124
MODEL = """#!/bin/sh
# goes on for no time at all; waits for ever, or fails, where a file in FOLDER asks for it
set -e
if [ -e {folder}/wait ]; then echo $$ > {folder}/pid.new; mv {folder}/pid.new {folder}/pid; exec sleep 600; fi
case $PWD in */0002/*) if [ -e {folder}/fail ] && [ ! -e ../failed ]; then echo 'cannot bear it'; exit 7; fi;; esac
case $PWD/ in $(cat {folder}/broken 2>/dev/null)) echo 'broken'; exit 7;; esac
finish=$(sed -n 's/.*<finish_time><real_value rank="0">\\([^<]*\\)<.*/\\1/p' restart.flml)
time=$(awk "BEGIN {{printf \\"%.0f\\", $finish}}")
cp {folder}/dumps/$time.vtu case_1.vtu
sed -e "s/<current_time><real_value rank=\\"0\\">[^<]*/<current_time><real_value rank=\\"0\\">$time/" \\
    -e "s/<string_value lines=\\"1\\">case</<string_value lines=\\"1\\">case_checkpoint</" \\
    restart.flml > case_1_checkpoint.flml
"""


def make_case(folder):
    """Make all that the docstring above tells."""
    start = open_restart(write_case(folder / "start"))
    made = embedded_model(timeout=60).run(start, BEGAN, folder / "training/0", COMM)
    rows = []
    for number in range(1, WINDOWS + 1):
        time = BEGAN + number * WINDOW
        write_dump(State(time, {"Tracer": made.state["Tracer"]}), _folder(folder / "dumps") / f"{time:.0f}", COMM)
        rows += [(time, *place, "Tracer", 1.0 + 0.1 * number, 0.2) for place in SENSORS[::3]]
    for time in np.arange(WINDOW, BEGAN + 1, WINDOW):
        values = values_at(made.state, SENSORS[::3], "Tracer")
        rows += [(time, *place, "Tracer", 0.9 * value, 0.2) for place, value in zip(SENSORS[::3], values, strict=True)]
    write_readings(folder / "readings.csv", rows)
    model = folder / "model"
    model.write_text(MODEL.format(folder=folder))
    model.chmod(0o755)
    return folder


def _folder(path):
    path.mkdir(exist_ok=True)
    return path


def case_settings(folder, run, **changes):
    """Settings of a cycle and of a reanalysis with the case in `folder`."""
    training = {"path": str(folder / "training/0"), "from": WINDOW}
    given = {
        "model": {"driver": "fluidity", "start": str(made_restart(folder)), "program": [str(folder / "model")]},
        "cycle__windows": WINDOWS,
        "variables": ["Tracer"],
        "background": {"snapshots": [training], "truncation": 4},
        "reanalysis": {"states": [training], "output": str(run / "analyses.vtkhdf"), "block": 3, "compression": 0},
        **changes,
    }
    return settings(folder, run, **given)


def made_restart(folder):
    """Options file of the checkpoint that the training left."""
    (options,) = (folder / "training/0").glob("*_checkpoint.flml")
    return options


class Ended:
    """How a command ended: its exit code, negative for a signal's number, and what it said."""

    def __init__(self, code, said):
        self.code, self.said = code, said

    def __repr__(self):
        return f"exit code {self.code}\n{self.said}"


def cycled(path, *words, **how):
    """Run the cycle in a process of its own."""
    return _in_a_child(lambda: cycle.main([str(path), *map(str, words)], COMM), **how)


def reanalysed(path, *words, **how):
    """Run the reanalysis in a process of its own."""
    return _in_a_child(lambda: reanalysis.main([str(path), *map(str, words)], COMM), **how)


def _in_a_child(main, fault=None, before=None, meanwhile=None):
    """Run a job in a fork of this process, which has all modules loaded.

    fault : as FLUIDITY_DA_FAULT has it
    before : function called in the child first
    meanwhile : function of the child's process id, called here
    """
    with tempfile.TemporaryFile() as said:
        child = os.fork()
        if child == 0:
            _be_a_job(main, said, fault, before)
        if meanwhile is not None:
            meanwhile(child)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        return Ended(code, said.read().decode())


def _be_a_job(main, said, fault, before):
    """Never returns: nothing of the tests may go on here."""
    code = 99
    try:
        for stream in (1, 2):
            os.dup2(said.fileno(), stream)
        sys.stdout, sys.stderr = (open(stream, "w", closefd=False) for stream in (1, 2))  # noqa: SIM115
        faults.plan(fault)
        if before is not None:
            before()
        run_job(main, COMM)
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def left_by(run):
    """What a job must leave the same however often it was killed: all but what clocks told.

    Of a cycle the ledger and the bytes of all other files; of a reanalysis the archive's values and the tables.
    """
    if (run / "reanalysis.json").exists():
        steps = (run / "steps.csv").read_text().splitlines()
        with Archive(run / "analyses.vtkhdf", COMM) as archive:
            states = [archive.read(k) for k in range(len(archive))]
        values = [(state.time, name, of.values.tobytes()) for state in states for name, of in state.fields.items()]
        untimed = [
            [text for name, text in row.items() if not name.endswith("_seconds")] for row in csv.DictReader(steps)
        ]
        return values, untimed, (run / "readings.csv").read_bytes()
    others = ("cache", "ledger.jsonl", "case.json", "lock")
    return ledger(run), {name: digest for name, digest in files(run).items() if not name.startswith(others)}


def hidden(run):
    """Names of what a kill may leave behind, and of locks."""
    return sorted(str(p.relative_to(run)) for p in run.rglob("*") if p.name.startswith(".") or p.name == "lock")


def write_case_file(path, given):
    """Write settings as a case file; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(given, sort_keys=False))
    return path


def python_ended(ranks, module, *words, fault=None):
    """Run a command as a person does, on several ranks."""
    given = environment() | ({} if fault is None else {faults.VARIABLE: fault})
    ended = subprocess.run(
        command(ranks, "-m", module, *words), env=given, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert ended.returncode != TIMED_OUT, "stopped by the time-out\n" + ended.stdout + ended.stderr
    return Ended(ended.returncode, ended.stdout + ended.stderr)
