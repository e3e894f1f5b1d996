"""The small case of .ci/slurm.sh: python .ci/slurm_case.py FOLDER [windows]

The street on its coarse mesh, the model on two processes, started by srun; with earlier runs, a truth and readings.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from coupling.fluidity.driver import embedded_model  # noqa: E402 the checkout comes first on the path
from examples.reanalysis.demo import small_street  # noqa: E402
from examples.street.demo import earlier_winds  # noqa: E402
from examples.twin import prepare, read_sensors, simulate, train  # noqa: E402

CASE = """\
model:
  {driver: embedded, start: run/start/restart.flml, processes: 2, launcher: [srun, --mpi=pmix, --overlap, -n, "{n}"]}
cycle: {window: 10, windows: WINDOWS}
grid: {spacing: [16.0, 16.0, 6.0]}
variables: [Tracer, Velocity]
background: {snapshots: [{path: run/training/*.vtkhdf}], truncation: 12}
observations: {file: run/readings.csv}
run: NAME
"""


def main() -> None:
    """Make the case."""
    folder, windows = Path(sys.argv[1]).resolve(), int(sys.argv[2])
    twin = replace(
        small_street(folder / "run"),
        model=embedded_model(processes=2, timeout=600.0),
        training=earlier_winds(np.random.default_rng(7), 2),
        windows=windows,
    )
    prepare(twin, print)
    train(twin, print)
    simulate(twin, print)
    read_sensors(twin, twin.run / "readings.csv")
    for name in ("undisturbed", "preempted", "limited"):
        text = CASE.replace("WINDOWS", str(windows)).replace("NAME", name)
        (folder / f"{name}.yml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
