"""Analyses with all that may be asked for, on the ranks that run this; controls and tables into one file: FILE."""

import sys
from dataclasses import replace

import numpy as np
from assimilation import OUTSIDE, make_background, make_readings
from mpi4py import MPI

from da.background.anamorphosis import Logarithm, SquareRoot
from plugin.case.background import BackgroundSection, LengthsSection
from plugin.case.configuration import MinimiserSection
from plugin.case.observations import BiasSection, ErrorSection, LaggedSection, QualitySection
from plugin.state.fgat import FirstGuess
from plugin.window.analysis_cache import AnalysisCache
from plugin.window.assimilate import assimilate
from plugin.window.background.lagged import lagged_snapshots
from plugin.window.background.lengths import length_rule
from plugin.window.background.localisation import make_taper
from plugin.window.observations.selection import ObservationSettings

comm = MPI.COMM_WORLD
background, state = make_background(comm)
quality = QualitySection(background=4.0, buddy={"length": 100.0}, thinning={"cell": 60.0})
bias = BiasSection(std={"Tracer": 0.5})
kept = {}
for name, speeds, treatment in (
    ("plain", False, ObservationSettings()),
    ("quality", False, ObservationSettings(quality=quality)),
    ("speeds", True, ObservationSettings(quality=quality, bias=bias, outer_loops=40)),
    ("correlated", False, ObservationSettings(error_model=ErrorSection(correlation={"length": 80.0}), bias=bias)),
    ("huber", False, ObservationSettings(huber=1.0)),
    ("speeds_huber", True, ObservationSettings(huber=1.0, outer_loops=40)),
):
    found = assimilate(background, state, make_readings(background, state, speeds), comm, MinimiserSection(), treatment)
    used = [row["used"] == "yes" for row in found.table]
    residual = [np.nan if row["residual"] is None else row["residual"] for row in found.table]
    kept[name] = np.concatenate([found.analysis.control, used, residual])
section = BackgroundSection(
    snapshots=[{"path": "earlier"}],
    transform="reduced",
    localisation={"horizontal": 60.0, "vertical": {"Tracer": 30.0, "Velocity": 50.0}},
    between={"Tracer": {"Velocity": 0.5}},
)
tapered = replace(background, taper=make_taper(section, background.transfer))
for name, speeds, treatment in (
    ("localised", False, ObservationSettings(bias=bias)),
    ("localised_speeds", True, ObservationSettings(outer_loops=40)),
):
    found = assimilate(tapered, state, make_readings(background, state, speeds), comm, MinimiserSection(), treatment)
    # the control's signs are those of eigenvectors, and depend on the ranks
    kept[name] = np.array([np.nan if row["residual"] is None else row["residual"] for row in found.table])
following = replace(background, lengths=length_rule(LengthsSection(), background.transfer))
for name, speeds in (("lengths", False), ("lengths_speeds", True)):
    readings = make_readings(background, state, speeds)
    found = assimilate(following, state, readings, comm, MinimiserSection(), ObservationSettings(outer_loops=40))
    residual = [np.nan if row["residual"] is None else row["residual"] for row in found.table]
    kept[name] = np.concatenate([residual, *found.losses.values()])
for name, of, speeds, treatment in (
    ("anamorphoses", background, False, ObservationSettings(quality=quality, bias=bias, outer_loops=40)),
    ("anamorphoses_speeds", background, True, ObservationSettings(outer_loops=40)),
    ("anamorphoses_localised", tapered, False, ObservationSettings(outer_loops=40, withheld=("a",))),
):
    kinds = {"Tracer": SquareRoot(0.0, 1e-3), "Velocity.y": Logarithm(-20.0, 0.1)}
    of = replace(of, transfer=replace(of.transfer, anamorphoses=kinds))
    found = assimilate(of, state, make_readings(background, state, speeds), comm, MinimiserSection(), treatment)
    residual = [np.nan if row["residual"] is None else row["residual"] for row in found.table]
    tracer = comm.allreduce(found.changes["Tracer"].values.min(initial=np.inf), MPI.MIN)
    kept[name] = np.append(residual, tracer)
once = make_readings(background, state).select(np.arange(12) != OUTSIDE)
lag, rng, n = np.repeat([0, 1, 2], 11), np.random.default_rng(5), background.modes.n_samples
earlier = replace(once.select(np.tile(np.arange(11), 3)), time=state.time - lag)
guess = FirstGuess(earlier.value + 0.2 * rng.normal(size=33), *np.ones((2, 33), bool))
before = lagged_snapshots(LaggedSection(lags=(1.0, 2.0), time_scale=3.0), np.arange(float(n)), [0] * n)
for name, of in (("lagged", background), ("lagged_localised", tapered)):
    of = replace(of, lagged=before, transfer=replace(of.transfer, anamorphoses=kinds))
    treatment = ObservationSettings(lag=lag, first_guess=guess, withheld=("a",), outer_loops=40)
    found = assimilate(of, state, earlier, comm, MinimiserSection(), treatment)
    residual = [np.nan if row["residual"] is None else row["residual"] for row in found.table]
    tracer = comm.allreduce(found.changes["Tracer"].values.min(initial=np.inf), MPI.MIN)
    kept[f"anamorphoses_{name}"] = np.append(residual, tracer)
readings = make_readings(background, state)
sure = replace(readings, error=np.full(len(readings), 0.01))
found = assimilate(
    background, state, sure, comm, MinimiserSection(), ObservationSettings(bias=bias), AnalysisCache(), "shrink"
)
assert found.verdict.worse
kept["shrunk"] = np.array([np.nan if row["residual"] is None else row["residual"] for row in found.table])
if comm.rank == 0:
    np.savez(sys.argv[1], **kept)
