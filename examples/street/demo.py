"""A twin experiment in a street of nine buildings: python -m examples.street.demo

Sensors at street level and on roofs measure a truth run, whose wind and source differ from the forecast's;
the cycle pulls the forecast towards them. See README.md beside this file.
"""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from coupling.common.files import FileError
from coupling.fluidity.driver import embedded_model
from coupling.simulation.launch import ModelError
from examples.score import present, score, write_page
from examples.twin import Network, Twin, allow_mpirun, run_twin, stopwatch

HERE = Path(__file__).resolve().parent
SPIN_UP, TRAINING_TIME, WINDOW, WINDOWS = 150.0, 270.0, 30.0, 14  # s
TRUTH = {
    "wind_angle": 0.22,
    "wind_speed": 0.95,
    "clock": 137.0,
    "source_x": 70.0,
    "source_y": 160.0,
    "source_strength": 1.6,
}
# least and largest value in earlier runs
RANGES = {
    "wind_angle": (-0.4, 0.4),
    "wind_speed": (0.6, 1.1),
    "clock": (0.0, 500.0),
    "source_x": (60.0, 90.0),
    "source_y": (130.0, 165.0),
    "source_strength": (0.5, 2.0),
}
# building: x, y, width, depth, height [m], as in street.geo
BUILDINGS = (
    (90, 50, 45, 50, 25), (95, 120, 40, 55, 35), (90, 195, 45, 50, 20),
    (155, 45, 40, 60, 30), (155, 125, 35, 45, 55), (155, 190, 40, 60, 25),
    (215, 55, 50, 45, 40), (210, 120, 55, 55, 20), (215, 195, 45, 45, 45),
)  # fmt: skip


def street_sensors() -> np.ndarray:
    """(32, 3) places 2.5 m above the ground: along the streets, and behind the last row."""
    along = [(x, y) for x in (80, 145, 202, 285) for y in (40, 75, 110, 150, 183, 220, 260)]
    behind = [(330, 80), (330, 130), (330, 170), (330, 220)]
    return np.array([(x, y, 2.5) for x, y in along + behind], float)


def roof_sensors() -> np.ndarray:
    """(9, 3) places 2 m above the middle of each roof."""
    return np.array([(x + w / 2, y + d / 2, h + 2.0) for x, y, w, d, h in BUILDINGS])


def earlier_winds(rng: np.random.Generator, runs: int) -> tuple[dict[str, float], ...]:
    """Numbers of the earlier runs, spread over their ranges by a Latin hypercube (McKay et al. 1979)."""
    places = {name: (rng.permutation(runs) + rng.random(runs)) / runs for name in RANGES}
    return tuple(
        {name: round(low + (high - low) * places[name][k], 4) for name, (low, high) in RANGES.items()}
        for k in range(runs)
    )


def street_twin(run: Path, train: bool = False) -> Twin:
    """The experiment. train : also with a network that is trained on the way"""
    trained = {"autoencoder trained here": HERE / "autoencoder.yml"} if train else {}
    everywhere, roofs = np.concatenate([street_sensors(), roof_sensors()]), roof_sensors()
    return Twin(
        options=HERE / "street.flml",
        mesh=HERE / "street.msh",
        model=embedded_model(processes=2, timeout=600.0),
        cycles={
            "TSVD": HERE / "case.yml",
            "included autoencoder": HERE / "tucodec.yml",
            **trained,
        },
        run=run,
        truth=TRUTH,
        training=earlier_winds(np.random.default_rng(7), 16),
        spin_up=SPIN_UP,
        training_time=TRAINING_TIME,
        window=WINDOW,
        windows=WINDOWS,
        networks=(
            Network("Tracer", everywhere, 0.3),
            Network("Velocity.x", roofs, 0.2),
            Network("Velocity.y", roofs, 0.2),
        ),
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the demo in a fresh folder."""
    parser = argparse.ArgumentParser(prog="python -m examples.street.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="MPI ranks of the cycle (the model has its own 2)")
    parser.add_argument("--train", action="store_true", help="also train a network, and run its cycle")
    asked = parser.parse_args(words)
    twin = street_twin(HERE / "run", asked.train)
    allow_mpirun()
    try:
        experiment(twin, asked.processes, "A forecast in the street, pulled towards its sensors")
    except (ModelError, FileError) as error:
        raise SystemExit(f"the experiment stopped: {error}") from None


def experiment(twin: Twin, processes: int, title: str) -> None:
    """Run an experiment in a fresh folder and show the result."""
    shutil.rmtree(twin.run, ignore_errors=True)
    say = stopwatch()

    units = {"Tracer": "[kg/m³]", "Velocity.x": "[m/s]", "Velocity.y": "[m/s]"}

    def show(ready: Twin) -> None:
        if len(ready.cycles) < len(twin.cycles):
            write_page(ready, score(ready), title, units)
            has = ["truth and free run", *ready.cycles]
            say(f"open {ready.run / 'report.html'}: it has {', '.join(has)}, and grows")

    run_twin(twin, processes, say, show)
    present(twin, title, units, say)


if __name__ == "__main__":
    main()
