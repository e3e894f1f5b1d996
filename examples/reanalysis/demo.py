"""An archive of forecasts, analysed with simultaneous readings: python -m examples.reanalysis.demo

No model runs during the analyses. See README.md beside this file.
"""

import argparse
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 the backend must be chosen first
from matplotlib.figure import Figure  # noqa: E402

from coupling.archive.series import open_series  # noqa: E402
from coupling.common.files import whole_file  # noqa: E402
from coupling.fluidity.driver import embedded_model  # noqa: E402
from examples.score import draw_slices, places_to_score, slice_places  # noqa: E402
from examples.street.demo import earlier_winds, street_twin  # noqa: E402
from examples.twin import (  # noqa: E402
    COMM,
    Series,
    Twin,
    allow_mpirun,
    analysis_times,
    command,
    dumps,
    launcher,
    prepare,
    read_sensors,
    simulate,
    stopwatch,
    train,
    values_at,
)

HERE = Path(__file__).resolve().parent
COARSE = HERE.parent / "fluidity" / "street.msh"
VARIABLES = ("Tracer", "Velocity.x", "Velocity.y")


def small_street(run: Path) -> Twin:
    """The experiment of examples/street on a coarser mesh and for a shorter time, without a cycle."""
    return replace(
        street_twin(run),
        mesh=COARSE,
        model=embedded_model(timeout=600.0),
        cycles={},
        training=earlier_winds(np.random.default_rng(7), 6),
        spin_up=60.0,
        training_time=120.0,
        window=10.0,
        windows=12,
    )


def errors(twin: Twin, analyses: Series) -> dict[str, dict[str, np.ndarray]]:
    """{variable: {"forecast", "analysis": (windows,) ‖x − x_t‖ / ‖x_t‖}} at places without sensors."""
    places, times = places_to_score(twin), analysis_times(twin)
    relative = {}
    for variable in VARIABLES:
        name, dot, letter = variable.partition(".")
        truth = values_at(dumps(twin, "truth"), times, places, variable)
        kinds = {"forecast": f"{name}_background{dot}{letter}", "analysis": variable}
        relative[variable] = {
            kind: np.linalg.norm(values_at(analyses, times, places, field) - truth, axis=1)
            / np.linalg.norm(truth, axis=1)
            for kind, field in kinds.items()
        }
    return relative


def pictures(
    twin: Twin, analyses: Series, relative: Mapping[str, Mapping[str, np.ndarray]], height: float = 2.0
) -> None:
    """Write errors.png and tracer.png."""
    times, figure = analysis_times(twin), plt.figure(figsize=(13, 3.4))
    for ax, (variable, kinds) in zip(figure.subplots(1, len(relative)), relative.items(), strict=True):
        for kind, values in kinds.items():
            ax.plot(times, values, "o-", ms=3, label=kind)
        ax.set(title=variable, xlabel="time [s]", ylabel="‖x − truth‖ / ‖truth‖", ylim=(0, None))
        ax.legend(frameon=False)
    _save(figure, twin.run / "errors.png")
    x, y, places = slice_places(analyses, height)
    shown = {
        "truth": values_at(dumps(twin, "truth"), times[-1:], places, "Tracer")[0],
        **{
            label: values_at(analyses, times[-1:], places, name)[0]
            for label, name in (("forecast", "Tracer_background"), ("analysis", "Tracer"), ("std", "Tracer_std"))
        },
    }
    _save(draw_slices(x, y, shown, twin.sensors, f"Tracer [kg/m³] at {height:g} m"), twin.run / "tracer.png")


def _save(figure: Figure, path: Path) -> None:
    with whole_file(path) as beside:
        figure.savefig(beside, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)


def main(words: Sequence[str] | None = None) -> None:
    """Run the model, pack the archive, analyse it and show the result, in a fresh folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.reanalysis.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="MPI ranks of the reanalysis")
    asked, say = parser.parse_args(words), stopwatch()
    allow_mpirun()
    twin = small_street(HERE / "run")
    shutil.rmtree(twin.run, ignore_errors=True)

    prepare(twin, say)
    train(twin, say)
    simulate(twin, say)
    read_sensors(twin, twin.run / "readings.csv")
    command("plugin.archive", "pack", twin.run / "forecast.vtkhdf", twin.run / "free")
    say("the reanalysis")
    command("plugin.reanalysis", HERE / "case.yml", under=launcher(asked.processes))
    with open_series(twin.run / "analyses.vtkhdf", COMM) as analyses:
        relative = errors(twin, analyses)
        pictures(twin, analyses, relative)
    say("relative error at places without sensors, mean over all times:")
    for variable, kinds in relative.items():
        say(f"  {variable:12}" + "  ".join(f"{kind} {values.mean():.3f}" for kind, values in kinds.items()))
    say(f"open {twin.run / 'tracer.png'} and {twin.run / 'errors.png'},")
    say(f"or the archive in ParaView: {twin.run / 'analyses.vtkhdf'}")


if __name__ == "__main__":
    main()
