"""A cycle of several models around the crash case's model, for the tests of ensembles."""

import numpy as np
from crash_case import COMM, case_settings, cycled, hidden, left_by, python_ended, write_case_file

from coupling.fluidity.checkpoint import open_restart, read_fields

MEMBERS = 4


class Job:
    """A cycle with an ensemble in a folder of its own."""

    def __init__(self, case, folder, ranks=1, **changes):
        self.run, self.ranks = folder / "run", ranks
        changes = {"ensemble": {"members": MEMBERS}, **changes}
        self.file = write_case_file(folder / "case.yml", case_settings(case, self.run, **changes))

    def start(self, *words, **how):
        begun = (self.run / "case.json").exists() and not words
        words = ["--resume"] if begun else words
        if self.ranks > 1:
            return python_ended(self.ranks, "plugin.cycle", self.file, *words, **how)
        return cycled(self.file, *words, **how)

    def finish(self, *words):
        ended = self.start(*words)
        assert ended.code == 0, ended
        assert hidden(self.run) == []
        self.said = ended.said
        return left_by(self.run)


def analysis(run, window, member):
    options = run / f"{window:04d}/members/{member:02d}/analysis/restart.flml"
    return read_fields(open_restart(options), COMM)


def tracers(run, window):
    """(nodes, MEMBERS) analyses."""
    return np.column_stack([analysis(run, window, m)["Tracer"].values for m in range(1, MEMBERS + 1)])
