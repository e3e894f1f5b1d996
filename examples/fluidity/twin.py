"""A twin experiment on a run of Fluidity of your own: python -m examples.fluidity.twin CHECKPOINT DUMP ARCHIVES RUN

The truth goes on from the checkpoint. Sensors at random nodes measure it, a network for each seed. Forecasts begin at
the same time under the same forcing: warm with the fields of an earlier dump, cold in calm air without tracer. The
table has errors at places that are no sensors, of forecast and analysis in each window. See README.md beside this file.

    RUN/truth/                what the sensors measure
    RUN/warm/, RUN/cold/      start/ of the forecasts, and free/, the forecast without analyses
    RUN/readings-SEED.csv     what the network of this seed reads
    RUN/warm-SEED/            the files of a cycle; warm-SEED.yml is its case file
    RUN/table.md              the errors

What is there is not made again, so that the command may be given once more after it was stopped.
"""

import argparse
import copy
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from ruamel.yaml import YAML

from coupling.common.files import FileError, whole_file
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import FluidityRestart, open_restart, read_fields, write_restart
from coupling.fluidity.driver import FluidityModel
from coupling.geometry.mesh import Field
from coupling.simulation.launch import ModelError
from coupling.vtk.vtu import read_state
from examples.score import ANALYSIS, FORECAST, FREE, places_to_score, restart_values, restarts
from examples.twin import COMM, Network, Twin, allow_mpirun, analysis_times, command, dumps, read_sensors, values_at
from plugin.run.ledger import read_ledger

HERE = Path(__file__).resolve().parent
TRACER, WIND = "Tracer", ("Velocity.x", "Velocity.y", "Velocity.z")
SENSORS, ANEMOMETERS = 34, 8  # of the tracer, at random nodes; of two components of the wind, at others
ERROR = {TRACER: 0.05, "Velocity.x": 0.1, "Velocity.y": 0.1}  # of readings, in the variables' units
HEIGHT, APART = 40.0, 6.0  # m: sensors and places to score are below, places not nearer to a sensor
STARTS = ("warm", "cold")


def main(words: Sequence[str] | None = None) -> None:
    """Run what is not there yet, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m examples.fluidity.twin", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoint", type=Path, help="options of the checkpoint (.flml) that the truth goes on from")
    parser.add_argument("dump", type=Path, help="an earlier dump (.vtu) with the fields of the warm start")
    parser.add_argument("archives", type=Path, help="states of the same run for background errors, as in a case file")
    parser.add_argument("run", type=Path, help="folder for all files")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1], help="a network of sensors for each; 1 by default")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=STARTS, help="which cycles; both by default")
    parser.add_argument("--case", type=Path, default=HERE / "twin.yml", help="case file without what twin.py adds")
    asked = parser.parse_args(words)
    if shutil.which("fluidity") is None:
        raise SystemExit("fluidity is not on PATH; install it, or add its bin folder to PATH")
    allow_mpirun()
    try:
        print(experiment(asked))
    except (ModelError, FileError) as error:
        raise SystemExit(f"the experiment stopped: {error}") from None


def experiment(asked: argparse.Namespace) -> str:
    """Truth, free runs, and for each seed the cycles; the table."""
    settings, checkpoint = YAML(typ="safe").load(asked.case), open_restart(asked.checkpoint.absolute())
    twin = empty_twin(settings, checkpoint, asked.run.absolute())
    simulate(twin, checkpoint, asked.dump, asked.starts)
    tables = []
    for seed in asked.seeds:
        twin = with_network(twin, seed)
        readings = twin.run / f"readings-{seed}.csv"
        read_sensors(twin, readings)
        for start in asked.starts:
            file = twin.run / f"{start}-{seed}.yml"
            write_case(file, settings, asked.archives.absolute(), twin, start, readings)
            twin.cycles[start] = file
            run_cycle(file, twin.windows)
        tables.append(table(twin))
        with whole_file(twin.run / "table.md") as beside:
            Path(beside).write_text("\n".join(tables), encoding="utf-8")
    return "\n".join(tables)


def empty_twin(settings: Mapping, checkpoint: FluidityRestart, run: Path) -> Twin:
    """The experiment without sensors and cycles yet."""
    # Fluidity's Python functions may import modules from beside their options
    model = FluidityModel(timeout=1800.0, environment={"PYTHONPATH": str(checkpoint.folder)})
    window, windows = (settings["cycle"][key] for key in ("window", "windows"))
    return Twin(checkpoint.options, None, model, {}, run, {}, (), checkpoint.time, 0.0, window, windows, ())


def simulate(twin: Twin, checkpoint: FluidityRestart, dump: Path, starts: Sequence[str]) -> None:
    """The truth; for each start its checkpoint and its free run."""

    def run(beginning: FluidityRestart, folder: Path) -> None:
        if not folder.is_dir():
            twin.model.run(beginning, analysis_times(twin)[-1], folder.with_suffix(".unfinished"), COMM)
            folder.with_suffix(".unfinished").rename(folder)

    def begun(name: str, folder: Path, changes: Mapping[str, Field]) -> FluidityRestart:
        def edit(tree):
            flml.set_option(tree, "simulation_name", name)
            flml.set_option(tree, "io/dump_period/constant", float(twin.window))

        if not folder.is_dir():
            write_restart(checkpoint, folder, COMM, changes, edit)
        return open_restart(folder / "restart.flml")

    for unfinished in twin.run.glob("**/*.unfinished"):
        shutil.rmtree(unfinished)
    run(begun("truth", twin.run / "beginning", {}), twin.run / "truth")
    own = read_fields(checkpoint, COMM).fields
    earlier = read_state(dump, COMM, own).fields
    fields = {
        "warm": {name: field.replaced(earlier[name].values) for name, field in own.items()},
        "cold": {name: field.replaced(np.zeros_like(field.values)) for name, field in own.items()},
    }
    for start in starts:
        run(begun("forecast", twin.run / start / "start", fields[start]), twin.run / start / "free")


def with_network(twin: Twin, seed: int) -> Twin:
    """With sensors of the tracer, and anemometers, at random nodes in the air below HEIGHT."""
    state = dumps(twin, "truth").read(0, [TRACER])
    low = np.unique(state[TRACER].mesh.points, axis=0)
    low = low[low[:, 2] < HEIGHT]
    nodes = low[np.random.default_rng(seed).choice(len(low), SENSORS + ANEMOMETERS, replace=False)]
    places = {name: nodes[:SENSORS] if name == TRACER else nodes[SENSORS:] for name in ERROR}
    networks = tuple(Network(name, places[name], error) for name, error in ERROR.items())
    return replace(twin, networks=networks, seed=seed, cycles={})


def write_case(file: Path, settings: Mapping, archives: Path, twin: Twin, start: str, readings: Path) -> None:
    """The case file of a cycle: the given settings, and where the experiment's files are."""
    case = copy.deepcopy(dict(settings))
    case["model"] |= {
        "start": str(twin.run / start / "start/restart.flml"),
        "environment": twin.model.environment,
    }
    for entry in case["background"]["snapshots"]:
        entry["path"] = str(archives)
    case["observations"] = case.get("observations", {}) | {"file": str(readings)}
    case["run"] = str(file.with_suffix(""))
    with whole_file(file) as beside, open(beside, "w", encoding="utf-8") as stream:
        YAML(typ="safe").dump(case, stream)


def run_cycle(file: Path, windows: int) -> None:
    """The cycle as a user starts it, from where it was stopped."""
    ledger = file.with_suffix("") / "ledger.jsonl"
    done = len(read_ledger(ledger)) if ledger.is_file() else 0
    if done < windows:
        command("plugin.cycle", file, *(["--resume"] if done else []))


def table(twin: Twin) -> str:
    """Errors ‖x − x_t‖ / ‖x_t‖ of tracer and wind: free runs', forecasts' and analyses', as a table in Markdown."""
    places, times = places_to_score(twin, height=HEIGHT, apart=APART), analysis_times(twin)
    rows = [_row(f"network {twin.seed}", (f"{time:g} s" for time in times)), "|---" * (len(times) + 1) + "|"]

    def of_dumps(run: Path, name: str, variables: Sequence[str]) -> np.ndarray:
        series = dumps(replace(twin, run=run), name)
        return np.hstack([values_at(series, times, places, variable) for variable in variables])

    def of_cycle(paths: Sequence[Sequence[Path]], variables: Sequence[str]) -> np.ndarray:
        return np.array([np.hstack([restart_values(twin, path, places, v) for v in variables]) for path in paths])

    for field, variables in ((TRACER, (TRACER,)), ("Velocity", WIND)):
        truth = of_dumps(twin.run, "truth", variables)
        for start in twin.cycles:
            found = {
                FREE: of_dumps(twin.run / start, "free", variables),
                FORECAST: of_cycle(restarts(twin, start, "forecast"), variables),
                ANALYSIS: of_cycle(restarts(twin, start, "restart"), variables),
            }
            for kind, values in found.items():
                errors = np.linalg.norm(values - truth, axis=1) / np.linalg.norm(truth, axis=1)
                rows.append(_row(f"{start}, {field}, {kind}", (f"{error:.3f}" for error in errors)))
    return "\n".join([*rows, ""])


def _row(name: str, cells: Iterable[str]) -> str:
    return "| " + " | ".join([name, *cells]) + " |"


if __name__ == "__main__":
    main()
