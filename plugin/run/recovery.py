"""What to do when a model fails after an analysis: stop, or try once more from less of the last increment.

A model that stops soon after an analysis often cannot cope with the analysed state. It can be run once more from the
state before that analysis, or from half way to it. Both come from files of the previous window, so that a run that is
stopped meanwhile and resumed does the same.

    RUN/0007/failed/     what the model left that failed, its logs among it
    RUN/0007/half/       the restart from half of the increment
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from mpi4py import MPI

from coupling.common.collective import on_rank_0
from coupling.simulation.forecast import Forecast
from coupling.simulation.launch import ModelError
from coupling.simulation.simulation import Restart, Simulation


@dataclass(frozen=True)
class Beginning:
    """What a window begins from.

    restart : the last analysis, or the start of the run
    background : the forecast that was analysed; None if there is none, or the analysis is no other
    biases : {"station variable": bias} as the last analysis left them
    factors : {field: factor of background errors} as the last analysis left them
    losses : {field: losses of localisation lengths} as the last analysis left them
    """

    restart: Restart
    background: Restart | None
    biases: dict[str, float]
    factors: dict[str, float] = field(default_factory=dict)
    losses: dict[str, list[float]] = field(default_factory=dict)


def forecast_from(
    beginning: Beginning,
    run: Callable[[Restart], Forecast],
    on_failure: str,
    folder: Path,
    simulation: Simulation,
    comm: MPI.Comm,
    say: Callable[[str], None],
) -> tuple[Forecast, dict[str, str] | None]:
    """Forecast from the beginning of a window, and if the model fails as `on_failure` says. Collective.

    Parameters
    ----------
    beginning : Beginning
    run : function of a restart, which forecasts in `folder`/forecast and raises ModelError if that fails. Collective
    on_failure : "stop"; "background", once more from what was analysed; "half", once more from half of the increment
    folder : of the window
    simulation : Simulation of the restarts
    comm : MPI communicator
    say : function of a text, called if there is another try

    Returns
    -------
    Forecast, and None or what the ledger records of another try: {"from": on_failure, "problem": text}

    Raises
    ------
    ModelError
        of the model's last failure; where there was no increment there is no other try
    """
    try:
        return run(beginning.restart), None
    except ModelError as failure:
        before = beginning.background
        began = on_rank_0((folder / "forecast").is_dir, comm)  # else it was refused, not started
        if on_failure == "stop" or before is None or not began:
            raise
        problem = str(failure).partition("\n")[0]
    say(f"{problem}; once more from {_TOLD[on_failure]}; the logs of the failure are in {folder / 'failed'}")
    on_rank_0(lambda: os.replace(folder / "forecast", folder / "failed"), comm)
    start = (
        before if on_failure == "background" else _half(before, beginning.restart, folder / "half", simulation, comm)
    )
    return run(start), {"from": on_failure, "problem": problem}


_TOLD = {"background": "the last forecast, as it was before its analysis", "half": "half of the last increment"}


def _half(before, after, folder, simulation, comm):
    """A restart half way between two of the same files. Collective."""
    old, new = (simulation.read_fields(one, comm) for one in (before, after))
    changes = {}
    for name, of in old.fields.items():
        values = new[name].values
        if comm.allreduce(int(np.any(values != of.values))):
            changes[name] = of.replaced(0.5 * (of.values + values))
    return simulation.write_restart(before, folder, comm, changes)
