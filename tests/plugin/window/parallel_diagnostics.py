"""All diagnostics of an analysis with speeds, on the ranks that run this, into a folder: FOLDER."""

import json
import sys
from pathlib import Path

from assimilation import make_background, make_readings
from mpi4py import MPI

from plugin.case.configuration import DiagnosticsSection, MinimiserSection
from plugin.window.assimilate import assimilate
from plugin.window.diagnostics import diagnose

comm, folder = MPI.COMM_WORLD, Path(sys.argv[1])
background, state = make_background(comm)
found = assimilate(background, state, make_readings(background, state, speeds=True), comm, MinimiserSection())
settings = DiagnosticsSection(influence=True, posterior=True, stations=True)
told = diagnose(found, background, state, settings, folder, comm)
if comm.rank == 0:
    (folder / "told.json").write_text(json.dumps({"told": told, "table": found.table}))
