"""A street's forecast by members that do not know wind and source: python -m examples.ensemble.demo

The truth, sensors and readings of examples/street. There the forecast keeps the wrong wind and source that its options
give; here they are unknown numbers that each member has its own of, and that every analysis brings nearer to the truth.
See README.md beside this file.
"""

import argparse
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from coupling.common.files import FileError, whole_file
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import FluidityRestart, open_restart, write_restart
from coupling.fluidity.driver import embedded_model
from coupling.simulation.launch import ModelError
from coupling.simulation.parameters import Numbers
from examples.score import present, show_parameters
from examples.street import demo as street
from examples.twin import COMM, Say, Twin, allow_mpirun, command, launcher, read_sensors, stopwatch, train
from plugin.case.configuration import read_case

HERE = Path(__file__).resolve().parent
METHODS = ("etkf", "letkf", "4denvar", "hybrid")
REACH = 150.0  # m, length of the localisation of the methods that have one
MODES = 60  # of earlier runs, as in examples/street
NAMED = ("wind_speed", "wind_angle", "source_x", "source_y", "source_strength")  # what a fire brigade asks
# amplitude, period [s] and phase of the wind's gusts and swings in examples/street/street.flml
GUSTS = {
    "gust97": (0.22, 97.0, 0.0),
    "gust41": (0.14, 41.0, 1.3),
    "gust17": (0.08, 17.0, 0.0),
    "swing263": (0.35, 263.0, 0.0),
    "swing71": (0.20, 71.0, 0.7),
}
WRONG = {
    "wind_angle": 0.0,
    "wind_speed": 0.8,
    "clock": 0.0,
    "source_x": 76.0,
    "source_y": 147.0,
    "source_strength": 1.0,
}


def parameters(numbers: Mapping[str, float]) -> dict[str, float]:
    """What parameters.json has for a wind and source as examples/street gives them.

    Its `clock` moves all gusts in time; here each has two amplitudes: A sin(w + φ) = A cos φ sin w + A sin φ cos w.
    """
    values = {name: numbers[name] for name in NAMED}
    for name, (amplitude, period, phase) in GUSTS.items():
        shifted = 2.0 * math.pi * numbers["clock"] / period + phase
        values |= {f"{name}_sin": amplitude * math.cos(shifted), f"{name}_cos": amplitude * math.sin(shifted)}
    return values


@dataclass(frozen=True)
class Size:
    """members, windows : of a run that is smaller than the case's; None for the case's own"""

    members: int | None = None
    windows: int | None = None


@dataclass(frozen=True)
class Variant:
    """A cycle: its method, and whether wind and source are unknown or those of the options, which are wrong."""

    method: str
    parameters: bool

    @property
    def name(self) -> str:
        """For people."""
        label = {"4denvar": "4DEnVar", "hybrid": "hybrid"}.get(self.method, self.method.upper())
        return label if self.parameters else f"{label} without parameters"

    @property
    def file(self) -> str:
        """Name of its case file, and without the suffix of its run."""
        return f"{self.method}.yml" if self.parameters else f"{self.method}-without.yml"


def ensemble_twin(run: Path, variants: Sequence[Variant], size: Size) -> Twin:
    """The experiment, with a cycle for each variant; those of which one asks for modes need earlier runs."""
    of_street = street.street_twin(run)
    modes = any(_has_modes(of) for of in variants)
    return replace(
        of_street,
        options=HERE / "street.flml",
        model=embedded_model(timeout=600.0),
        cycles={of.name: run / of.file for of in variants},
        windows=size.windows or street.WINDOWS,
        training=of_street.training if modes else (),
    )


def _has_modes(of: Variant) -> bool:
    return of.method == "hybrid" or not of.parameters


def write_cases(twin: Twin, variants: Sequence[Variant], size: Size) -> None:
    """For each cycle case.yml with its method and size, its files in the folder of the experiment."""

    def here(path: str) -> str:
        return str(twin.run / Path(path).relative_to("run"))

    for of in variants:
        case = yaml.safe_load((HERE / "case.yml").read_text(encoding="utf-8"))
        case["analysis"]["method"] = of.method
        case["cycle"]["windows"] = twin.windows
        case["ensemble"]["members"] = size.members or case["ensemble"]["members"]
        if of.method != "etkf":
            case["background"]["localisation"] = {"horizontal": REACH}
        if _has_modes(of):
            case["background"] |= {"snapshots": [{"path": "run/training/*.vtkhdf"}], "truncation": MODES}
        if not of.parameters:
            del case["parameters"]
            case["ensemble"]["start"] = {"from": "modes"}
        case["background"]["snapshots"] = [{"path": here(one["path"])} for one in case["background"]["snapshots"]]
        case["model"]["start"] = here(case["model"]["start"])
        case["observations"]["file"] = here(case["observations"]["file"])
        case["run"] = here(f"run/{Path(of.file).stem}")
        with whole_file(twin.run / of.file) as beside:
            Path(beside).write_text(yaml.safe_dump(case, sort_keys=False), encoding="utf-8")


def simulate(twin: Twin, say: Say) -> None:
    """The truth, the forecast model's spin-up with the wrong numbers, and its free run."""
    end = twin.spin_up + twin.window * twin.windows
    say("truth")
    twin.model.run(cold_start(twin, "truth", street.TRUTH), end, twin.run / "truth", COMM)
    say("forecast: spin-up, then the free run")
    spun = twin.model.run(cold_start(twin, "forecast", WRONG), twin.spin_up, twin.run / "spin-up", COMM)
    start = write_restart(spun.restart, twin.run / "start", COMM)
    twin.model.run(start, end, twin.run / "free", COMM)


def cold_start(twin: Twin, name: str, numbers: Mapping[str, float]) -> FluidityRestart:
    """A cold start with its own numbers."""
    cold = open_restart(twin.run / "case" / twin.options.name)
    entries = Numbers(entries=parameters(numbers))
    return write_restart(
        cold,
        twin.run / f"cold-{name}",
        COMM,
        edit=lambda tree: flml.set_option(tree, "simulation_name", name),
        numbers=entries,
    )


def main(words: Sequence[str] | None = None) -> None:
    """Run the demo in a fresh folder, or go on with it."""
    parser = argparse.ArgumentParser(prog="python -m examples.ensemble.demo", description=__doc__.split("\n")[0])
    parser.add_argument("--processes", type=int, default=2, help="MPI ranks of the cycle: models that run at once")
    parser.add_argument("--members", type=int, help="members, in place of the case's")
    parser.add_argument("--windows", type=int, help="windows, in place of the case's")
    parser.add_argument("--methods", nargs="+", default=["etkf"], choices=METHODS, help="a cycle for each")
    parser.add_argument("--without", nargs="+", default=[], choices=METHODS, help="cycles without parameters")
    parser.add_argument("--run", type=Path, default=HERE / "run", help="folder of the run, made anew")
    parser.add_argument("--resume", action="store_true", help="go on with what is in the folder, and add cycles")
    asked = parser.parse_args(words)
    size = Size(asked.members, asked.windows)
    variants = [*(Variant(of, True) for of in asked.methods), *(Variant(of, False) for of in asked.without)]
    twin = ensemble_twin(asked.run.resolve(), variants, size)
    allow_mpirun()
    if not asked.resume:
        shutil.rmtree(twin.run, ignore_errors=True)
    try:
        experiment(twin, variants, size, asked.processes)
    except (ModelError, FileError) as error:
        raise SystemExit(f"the experiment stopped: {error}") from None


def experiment(twin: Twin, variants: Sequence[Variant], size: Size, processes: int) -> None:
    """Run what is not there yet of the experiment, and show the result."""
    say = stopwatch()

    if not (twin.run / "readings.csv").is_file():  # the last of what all cycles need
        shutil.rmtree(twin.run, ignore_errors=True)
        case = twin.run / "case"
        case.mkdir(parents=True)
        assert twin.mesh is not None  # that of the street
        for path in (twin.options, twin.mesh):
            shutil.copy(path, case)
        simulate(twin, say)
        read_sensors(twin, twin.run / "readings.csv")
    write_cases(twin, variants, size)
    if twin.training:
        train(twin, say, cold_start)
    for name, file in twin.cycles.items():
        say(f"{name}: the cycle")
        begun = (read_case(file).run / "case.json").is_file()
        command("plugin.cycle", file, *(["--resume"] if begun else []), under=launcher(processes))
    units = {"Tracer": "[kg/m³]", "Velocity.x": "[m/s]", "Velocity.y": "[m/s]"}
    present(twin, "A forecast that learns its wind and source", units, say)
    truth = parameters(street.TRUTH)
    for of in variants:
        if of.parameters:
            show_parameters(twin, of.name, {name: truth[name] for name in NAMED}, say)


if __name__ == "__main__":
    main()
