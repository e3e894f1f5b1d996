"""Every analysis of an ensemble, for the suite `tests/da/ensemble/test_every_method.py`: a new one gets a line here.

A method is a function (EnsembleProblem, EnsembleReadings, comm) → EnsembleUpdate of this rank's rows.
"""

from collections.abc import Callable

import numpy as np
from ensemble_problem import FIELDS, EnsembleProblem
from mpi4py import MPI

from da.background.linear_transform import LinearTransform
from da.background.localisation import Taper
from da.background.modes import Modes
from da.ensemble.ensemble import EnsembleReadings, EnsembleUpdate
from da.ensemble.envar import envar, patterns_of
from da.ensemble.etkf import etkf
from da.ensemble.hybrid import StaticErrors, hybrid
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


def _taper(problem):
    between = np.array([[1.0, 0.5], [0.5, 1.0]])
    position, variable = problem.position[problem.rows], problem.variable[problem.rows]
    return Taper(position, variable, np.full(2, 20.0), np.full(2, 9.0), between)


def _patterns(problem, readings, comm):
    return patterns_of(_taper(problem), readings, np.searchsorted(FIELDS, readings.field), comm)


def _4denvar(problem, readings, comm):
    return envar(readings, comm)


def _localised_4denvar(problem, readings, comm):
    return envar(readings, comm, _patterns(problem, readings, comm))


def _hybrid(problem, readings, comm):
    spread = np.std(problem.state, axis=1, ddof=1)[:, None]  # so that the modes have the members' units
    vectors = spread * np.random.default_rng(9).normal(size=(len(spread), 3))
    modes = Modes(vectors[problem.rows], None, np.zeros(len(vectors[problem.rows])), 4, "static")
    at = [
        np.flatnonzero((problem.position == place).all(axis=1) & (problem.variable == FIELDS.index(field)))[0]
        for place, field in zip(readings.place, readings.field, strict=True)
    ]
    static = StaticErrors(LinearTransform(modes, None, comm), vectors[np.array(at, int)])
    patterns = _patterns(problem, readings, comm)
    return hybrid(readings, comm, static, patterns, static_weight=0.3, ensemble_weight=0.7)


METHODS: dict[str, Method] = {
    "etkf": _etkf, "letkf": _letkf, "4denvar": _4denvar, "4denvar, localised": _localised_4denvar, "hybrid": _hybrid
}  # fmt: skip
