"""Errors with several settings and the gap between folds, on any number of ranks: CASE OUT.npz."""

import sys

import numpy as np
from mpi4py import MPI

from plugin.case.configuration import read_case
from plugin.run.progress import Progress
from plugin.tune.folds import folds_of
from plugin.tune.score import Judge
from plugin.tune.setting import Setting
from plugin.tune.states import read_states
from plugin.tune.tuning import Options, tune

comm = MPI.COMM_WORLD
path, out = sys.argv[1:]
case = read_case(path, needed=("observations",))
states = read_states(case, comm, 120)
judge = Judge(states, folds_of(states.times, 3, 4.0, 2.0, 10), case.background, 1.0, comm)
base = Setting(case.background, {"Tracer": 1.3})
kept = {}
for name, keys in {
    "tsvd": {"truncation": 9},
    "localised": {"truncation": 0.95, "localisation": {"horizontal": 60.0, "modes": 2}},
    "reduced": {"transform": "reduced", "inflation": 0.5},
    "root": {"truncation": 9, "variables": {"Tracer": {"anamorphosis": "sqrt", "lower": -5.0}}},
    "score": {"transform": "reduced", "variables": {"Tracer": {"anamorphosis": "quantile", "lower": -5.0}}},
    "local": {"transform": "local", "truncation": 0.9, "local": {"size": 70.0, "horizontal": 90.0}},
}.items():
    scores = judge.scores(base.with_background(**keys))
    kept[f"{name}, everywhere"], kept[f"{name}, far"] = scores.everywhere, scores.far
given = {"background.localisation.horizontal": [None, 60.0], "background.truncation": [0.9, 0.99]}
of = tune(case, comm, Options(0.0, folds=3, states=10, places=120, given=given), Progress(comm))
kept["chosen"] = of.chosen.scores.everywhere
kept["training"] = np.array([len(fold.training) for fold in of.folds])  # the gap is the correlation time
kept["length"] = np.array([getattr(of.chosen.setting.background.localisation, "horizontal", 0.0)])
if comm.rank == 0:
    np.savez(out, **kept)
