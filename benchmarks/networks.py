"""Analyses by networks trained for the same time on one archive's states, beside TSVD's.

    OMP_NUM_THREADS=1 python -m benchmarks.networks ARCHIVE --variable Pressure --shape 46 43 16 --minutes 10
        [--also Tucodec-NeXt 25 256] [--network NAME …] [--folder networks]

ARCHIVE is any archive of states packed by `plugin.archive`. Trained networks are kept in the folder and are not trained
again, so that what was interrupted goes on where it stopped, at the next network. The protocol is that of Mack et al.
2020: the first 4/5 of the states train, their last tenth being for validation, and the others test; each point is
standardised with the training states' mean and spread. A background is the mean, a truth a test state that is observed
at every point; V has no root of S − 1, the background term the factor 0.1, σ_o² is 0.05 of standardised values or codes.

An error is ‖x_a − x_t‖ / ‖x_t‖, the mean over the test states; the round trip's is that of x − g(f(x)). Time of an
analysis is that of the minimum and of the increment with its scaling undone, the median over the test states. Minutes are
those of the processor, so that other load on the machine takes little from a network; epochs are as many as fit in by
the time that some steps take before.
"""

import argparse
import hashlib
import json
import math
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from mpi4py import MPI

from benchmarks.measuring import keep, machine, table
from coupling.grid import make_grid
from coupling.interpolation import fluid_points
from coupling.series import open_series
from da.analysis import analyse, prepare
from da.bireduced import LatentMinimum, bireduced, latent_error
from da.decoder import parallel_decoder
from da.latent import decoded_transform, latent_modes
from da.modes import reduced_modes, truncated_modes
from da.observation_error import diagonal_error
from da.operator import selection
from da.scaling import point_scaling
from da.transform import LinearTransform
from models import files, zoo
from models.inference import fast_decoder
from models.training.augmentation import Augmentation
from models.training.evaluation import codes_and_round_trips
from models.training.loop import Recipe, train
from plugin.transfer import Transfer, variables_of

COMM = MPI.COMM_SELF
VARIANCE, WEIGHT = 0.05, 0.1  # σ_o² and the background term's factor
RECIPE = Recipe(
    batch=8, optimiser="muon", objective="relative", settle=0.5, patience=10**6,
    augmentation=Augmentation(noise=(0.0, 0.0), combine=1.0),
)  # fmt: skip
TRIAL = 4  # batches that are timed


@dataclass(frozen=True)
class States:
    """Standardised states on the grid.

    fields : (S, 1, nx, ny, nz) float32, zero where a point takes no part
    fluid : (nx, ny, nz) bool, true for air
    part : (nx, ny, nz) bool, true where a point takes part
    n_training, n_validation : of the first states, and of the last of those
    about : what they are
    """

    fields: np.ndarray
    fluid: np.ndarray
    part: np.ndarray
    n_training: int
    n_validation: int
    about: dict

    @property
    def rows(self):
        """(S, n) fields as rows of numbers in double precision."""
        return self.fields.reshape(len(self.fields), -1).astype(np.float64)

    @property
    def norms(self):
        """(S,) root mean square over the points that take part."""
        return np.sqrt((self.rows**2).sum(axis=1) / self.part.sum())


def read_states(archive, variable, shape):
    """States of an archive's scalar field on a grid over all of its mesh."""
    with open_series(archive, COMM) as series:
        first = series.read(0, [variable])
        mesh = first[variable].mesh
        grid = make_grid(mesh.bounds(COMM), shape)
        grid = grid.with_fluid(fluid_points(grid, mesh, COMM))
        transfer = Transfer(grid, variables_of((variable,), first), COMM)
        columns = np.stack([transfer.to_grid(series.read(k, [variable])) for k in range(len(series))], axis=1)
    n_training = columns.shape[1] * 4 // 5
    training = columns[:, :n_training]
    scaling = point_scaling(training, (variable,), COMM, grid.fluid_points)
    fields = scaling.divide(columns - training.mean(axis=1, keepdims=True)).T.astype(np.float32)
    digest = hashlib.sha256(np.ascontiguousarray(fields)).hexdigest()[:16]
    about = {"variables": [variable], "grid": grid.description, "states": digest}
    part = (scaling.scale != 0.0).reshape(shape)
    return States(fields.reshape(-1, 1, *shape), grid.fluid, part, n_training, round(n_training / 10), about)


def errors(found, wanted):
    """Mean of ‖x_a − x_t‖ / ‖x_t‖ over rows."""
    return float((np.linalg.norm(found - wanted, axis=1) / np.linalg.norm(wanted, axis=1)).mean())


def tsvd(states, tau):
    """A row of figures for τ modes, None for a column of V for each state."""
    rows, part = states.rows, np.flatnonzero(states.part)
    training, test = rows[: states.n_training].T, rows[states.n_training :]
    if tau is None:
        modes = reduced_modes(training, COMM, unbiased=False)
    else:
        modes = truncated_modes(training, COMM, tau, unbiased=False)
    transform, operator = LinearTransform(modes, None, COMM), selection(part, rows.shape[1], COMM)
    error = diagonal_error(np.full(len(part), math.sqrt(VARIANCE)), operator.rows)
    observed = prepare(transform, operator, error, COMM)
    found = [
        analyse(
            transform, operator, error, truth[part], COMM,
            background_weight=WEIGHT, observed=observed, gradient_tolerance=1e-10,
        )
        for truth in test
    ]  # fmt: skip
    span = np.linalg.qr(modes.vectors)[0]
    name = f"TSVD, τ = {'S' if tau is None else tau}"
    return {
        "name": name, "parameters": modes.vectors.size, "numbers": modes.vectors.shape[1],
        "round_trip_test": errors(test @ span @ span.T, test),
        "analysis": errors(np.array([each.increment for each in found]), test), "analysis_s": _seconds(found),
    }  # fmt: skip


def _seconds(analyses):
    return float(np.median([each.seconds["minimise"] + each.seconds["increment"] for each in analyses]))


@dataclass(frozen=True)
class Asked:
    """A network to be trained for some minutes, with its own number of latent numbers or a given one."""

    name: str
    minutes: float
    n_latent: int | None = None

    def make(self, states):
        return zoo.make(self.name, 1, states.fields.shape[2:], mask=states.fluid, n_latent=self.n_latent)


def trained(asked, states, folder):
    """A network and how it was trained, from the folder or by training it now."""
    model = asked.make(states)
    path = folder / f"{asked.name}-{model.n_latent}-{asked.minutes:g}.safetensors"
    about = {**states.about, "minutes": asked.minutes}
    if path.exists():
        model, found = files.load(path, {**about, "name": asked.name, "mask": states.fluid, "n_latent": model.n_latent})
        told = found["trained"]
        if told["recipe"] != json.loads(json.dumps(asdict(replace(RECIPE, epochs=told["epochs"])))):
            raise files.ModelFileError(f"{path}: trained by another recipe, {told['recipe']}; remove it, or move it away")
        return model, told
    recipe, before = replace(RECIPE, epochs=_epochs(asked, states)), machine()
    wall, processor = time.perf_counter(), time.process_time()
    found = train(
        model, states.fields[: states.n_training], states.n_validation, recipe, COMM, part=states.part[None],
        told=lambda history: print(asked.name, json.dumps(history[-1]), flush=True),
    )  # fmt: skip
    told = {
        "epochs": len(found.history), "best_epoch": found.epoch, "validation_loss": found.loss,
        "minutes": (time.process_time() - processor) / 60.0, "wall_minutes": (time.perf_counter() - wall) / 60.0,
        "recipe": asdict(recipe), "before": before, "after": machine(),
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    files.save(path, model, {**about, "trained": told})
    return model, told


def _epochs(asked, states):
    """Epochs that fit into the minutes asked for."""
    clock = [time.process_time()]
    count = TRIAL * RECIPE.batch
    train(
        asked.make(states), states.fields[: count + 1], 1, replace(RECIPE, epochs=3), COMM, part=states.part[None],
        told=lambda history: clock.append(time.process_time()),
    )  # fmt: skip
    each = min(np.diff(clock)) / count * (states.n_training - states.n_validation)
    return max(1, round(60.0 * asked.minutes / each))


def network(asked, states, folder):
    """A row of figures for a trained network."""
    model, told = trained(asked, states, folder)
    codes, round_trips = codes_and_round_trips(model, states.fields, COMM, states.part[None])
    relative, split = round_trips / states.norms, states.n_training
    decoder = parallel_decoder(model, states.part.ravel().astype(float), COMM, faster=fast_decoder)
    modes = latent_modes(codes[:, :split], COMM, unbiased=False)
    transform = decoded_transform(decoder, modes)
    minimum = LatentMinimum(modes, latent_error(VARIANCE, modes.n_latent), COMM, WEIGHT)
    test = states.rows[split:]
    found = [bireduced(transform, truth, COMM, minimum=minimum) for truth in test]
    return {
        "name": f"{asked.name}, {asked.minutes:g} min", "parameters": sum(p.numel() for p in model.parameters()),
        "numbers": model.n_latent, "round_trip_validation": float(relative[split - states.n_validation : split].mean()),
        "round_trip_test": float(relative[split:].mean()),
        "analysis": errors(np.array([each.increment for each in found]), test), "analysis_s": _seconds(found), **told,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("archive", type=Path)
    parser.add_argument("--variable", required=True, help="a scalar field of the archive")
    parser.add_argument("--shape", type=int, nargs=3, required=True, metavar=("NX", "NY", "NZ"))
    parser.add_argument("--minutes", type=float, default=10.0, help="of the processor, for each network")
    parser.add_argument("--network", nargs="*", default=list(zoo.NAMES), metavar="NAME")
    parser.add_argument(
        "--also", nargs=3, action="append", default=[], metavar=("NAME", "MINUTES", "NUMBERS"),
        help="a network trained for other minutes, or with so many latent numbers",
    )  # fmt: skip
    parser.add_argument("--folder", type=Path, default=Path("networks"), help="where trained networks are kept")
    arguments = parser.parse_args()
    states = read_states(arguments.archive, arguments.variable, tuple(arguments.shape))
    asked = [Asked(name, arguments.minutes) for name in arguments.network]
    asked += [Asked(name, float(minutes), int(numbers)) for name, minutes, numbers in arguments.also]
    rows = [network(each, states, arguments.folder) for each in asked]
    rows += [tsvd(states, tau) for tau in [*sorted({32, *(row["numbers"] for row in rows)}), None]]
    counts = {"training": states.n_training, "of them validation": states.n_validation, "all": len(states.fields)}
    figures = {**states.about, "counts": counts, **machine(), "torch": torch.__version__}
    columns = {
        "name": "", "parameters": "parameters", "numbers": "numbers", "epochs": "epochs", "minutes": "minutes",
        "round_trip_validation": "round trip, validation", "round_trip_test": "round trip, test",
        "analysis": "analysis", "analysis_s": "analysis [s]",
    }  # fmt: skip
    title = f"{arguments.variable}, grid {' × '.join(map(str, arguments.shape))}"
    table(title, list(columns.values()), [[row.get(key, "") for key in columns] for row in rows])
    keep("networks", {**figures, "rows": rows}, 1.0)


if __name__ == "__main__":
    main()
