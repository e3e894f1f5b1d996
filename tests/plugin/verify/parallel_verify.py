"""plugin.verify with something that depends on the number of ranks: state, analysis, or limit, then its words."""

import sys
from dataclasses import replace

from mpi4py import MPI

from plugin.run.job import run_job
from plugin.verify import __main__ as verify
from plugin.verify import ranks as verify_ranks

broken, words = sys.argv[1], sys.argv[2:]
analyse = verify_ranks.analyse

if broken == "limit":
    verify_ranks._LIMIT = 100_000  # of 7 states 3 are left
if broken == "state":
    made_of = verify_ranks._outcome

    def outcome(of, comm):
        state, *rest = made_of(of, comm)
        return (state * (1.0 + 1e-7 * (comm.size > 1)), *rest)

    verify_ranks._outcome = outcome
if broken == "analysis":

    def other(transform, operator, error, innovation, comm, **named):
        found = analyse(transform, operator, error, innovation, comm, **named)
        return replace(found, increment=found.increment * (1.0 + 1e-7 * (comm.size > 1)))

    verify_ranks.analyse = other
run_job(lambda: verify.main(words, MPI.COMM_WORLD), MPI.COMM_WORLD)
