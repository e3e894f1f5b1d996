"""Every analysis of an ensemble, for the suite `tests/da/ensemble/test_every_method.py`: a new one gets a line here.

A method is a function (EnsembleProblem, EnsembleReadings, comm) → EnsembleUpdate of this rank's rows.
"""

from collections.abc import Callable

import numpy as np
from ensemble_problem import FIELDS, EnsembleProblem
from mpi4py import MPI

from da.ensemble.ensemble import EnsembleReadings, EnsembleUpdate
from da.ensemble.etkf import etkf
from da.ensemble.letkf import letkf
from da.ensemble.reach import Reach

Method = Callable[[EnsembleProblem, EnsembleReadings, MPI.Comm], EnsembleUpdate]


def _etkf(problem, readings, comm):
    return etkf(readings, comm)


def _letkf(problem, readings, comm):
    of = np.searchsorted(FIELDS, readings.field)
    between = np.array([[1.0, 0.5], [0.5, 1.0]])[:, of]
    reach = Reach(
        problem.position[problem.rows], problem.variable[problem.rows], np.array([15.0, 25.0]), np.full(2, 9.0), between
    )  # fmt: skip
    return letkf(readings, reach, comm)


METHODS: dict[str, Method] = {"etkf": _etkf, "letkf": _letkf}
