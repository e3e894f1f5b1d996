"""Train the autoencoder of a case: mpirun -n 4 python -m plugin.train case.yml

The section `network` of the case file names the network, the file it is kept in and how it is trained. Beside the
file NAME.safetensors a folder NAME.training holds history.csv, loss.png and the states of epochs: `--resume` goes on
from the last one, `--from EPOCH` from any that was kept. A network that is there already is not trained again. Exit
code 2 is bad input, 4 a loss that is no longer a number. Once the autoencoder is trained, `--observations` trains the
observation encoder instead, `--dynamics` a model from codes to those a time step later, and `--compress` makes a
smaller network of the trained one.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

from mpi4py import MPI

from coupling.common.collective import on_rank_0, on_rank_0_asleep
from coupling.common.locks import sole_writer
from models import zoo
from models.files import AUTOENCODER, ModelFileError, load, read_about
from models.training.augmentation import Augmentation
from models.training.evaluation import codes_and_round_trips
from models.training.linear_start import begins_at_modes, begun
from models.training.loop import Recipe, Trained
from plugin.case.configuration import Case, ConfigurationError, read_case
from plugin.case.network import TrainingSection
from plugin.run.job import read_words, run_job
from plugin.run.progress import Progress
from plugin.training.compression import compress_network
from plugin.training.dynamics import train_case_dynamics
from plugin.training.linear import keep_linear
from plugin.training.observation_encoder import train_observation_encoder
from plugin.training.onnx_files import export_network
from plugin.training.runs import LAST, first_epoch, keep_network, rooted, run_training
from plugin.training.training_set import training_set
from plugin.window.background.observation_encoding import file_hash

LINEAR = "Linear"  # whose matrix is TSVD's modes


def train_network(
    case: Case, comm: MPI.Comm, progress: Progress | None = None, start: int | str | None = None
) -> Trained | None:
    """Train a case's network and write its file. Collective.

    Parameters
    ----------
    case : Case with a `network` section
    comm : MPI communicator
    progress : Progress
    start : epoch to go on from, LAST for the last one that was kept, None to begin

    Returns
    -------
    Trained; None of a network that is made of modes, and not trained

    Raises
    ------
    ConfigurationError
        if case, states, network, or the epoch to go on from do not fit each other; or there is a network already
    FileError, MeshError, OSError
        if states cannot be read, or files not be written; or another job trains into the same file
    TrainingError
        if the loss is no longer a number
    """
    progress = progress or Progress(comm)
    if case.network is None:
        raise ConfigurationError("network: this section is missing; it names the network and its file")
    with sole_writer(case.network.file, comm, say=progress.say):
        return _train(case, comm, progress, start)


def _train(case, comm, progress, start):
    section, title = case.network, case.network.name
    start = on_rank_0(lambda: first_epoch("network.file", section.file, start), comm)
    with progress.stage("training set"):
        data = training_set(case, comm, case.run / "cache", progress.say)
    if title == LINEAR:
        return keep_linear(section, data, comm, progress)
    model, cross_fitted = _network(section, data, comm)
    recipe = recipe_of(section.training)
    teacher, taught = on_rank_0(lambda: _teacher(section, data), comm)
    trained = run_training(
        title, section.file, model, data, recipe, {**data.about, **taught}, comm, progress,
        every=section.training.keep, start=start, cross_fitted=cross_fitted, teacher=teacher,
    )  # fmt: skip
    codes, round_trips = codes_and_round_trips(model, data.samples, comm, data.part)
    if cross_fitted is not None:  # errors above are of states that made no modes; all make those that are kept
        cross_fitted.final.load(model)
        codes, _ = codes_and_round_trips(model, data.samples, comm, data.part)
    arrays = {
        "mean": data.mean, "scale": data.scale, "times": data.times,
        "codes": codes, "round_trips": round_trips[-data.n_validation :],
    }  # fmt: skip
    about = {**data.about, **taught, "training": asdict(recipe)}
    on_rank_0(lambda: keep_network(title, section.file, model, about, recipe, trained, arrays), comm)
    progress.say(f"{section.file}: epoch {trained.epoch}, validation loss {trained.loss:.4g}")
    return trained


def recipe_of(settings: TrainingSection) -> Recipe:
    """A TrainingSection as a Recipe."""
    values = {item.name: getattr(settings, item.name) for item in fields(Recipe)}
    augmentation = settings.augmentation and Augmentation(**settings.augmentation.model_dump())
    return Recipe(**{**values, "augmentation": augmentation})


def _network(section, data, comm):
    """The network before its training, and the modes it begins at, or None. Collective."""
    options = {name: getattr(section, name) for name in ("n_latent", "activation", "block", "upsampling", "overlap")}
    # lists, as the file's header gives them back
    more = {name: _listed(getattr(section, name)) for name in ("width", "decoder_width", "blocks")}
    more["roots"] = rooted("network", section.square_roots, data.about["variables"]) or None
    more["windows"] = section.windows and {**section.windows.model_dump(), "points": list(section.windows.points)}
    options |= {name: value for name, value in more.items() if value is not None}
    training = section.training
    try:
        model = zoo.make(
            section.name, data.samples.shape[1], data.grid.shape, **options, mask=data.grid.fluid,
            seed=training.seed, variational=training.objective == "vae",
        )  # fmt: skip
        if not begins_at_modes(model):
            return model, None
        words = (data.n_validation, training.folds, training.gap, training.seed, data.zero)
        return on_rank_0_asleep(lambda: begun(model, data.samples, *words), comm)
    except ValueError as error:
        raise ConfigurationError(f"network: {error}") from error


def _teacher(section, data):
    """The network that `distilled` learns from, and what says in headers which it was; none for other objectives."""
    path = section.training.teacher
    if path is None:
        return None, {}
    expected = {**data.about, "channels": data.samples.shape[1], "mask": data.grid.fluid}
    try:
        if read_about(path)["name"] == section.name:  # code of a user's own that the case names
            expected["name"] = section.name
        return load(path, expected, AUTOENCODER)[0], {"teacher": file_hash(path)}
    except (OSError, ModelFileError) as error:
        raise ConfigurationError(f"network.training.teacher: {error}") from error


def _listed(numbers):
    return list(numbers) if isinstance(numbers, tuple) else numbers


def main(argv: Sequence[str], comm: MPI.Comm) -> int:
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m plugin.train", description="Train a case's autoencoder.")
    parser.add_argument("case", type=Path, help="case file (YAML) with the section network")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument("--resume", action="store_const", const=LAST, dest="start", help="go on after the last epoch")
    begin.add_argument("--from", type=int, dest="start", metavar="EPOCH", help="go on after an epoch that was kept")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--observations", action="store_true", help="train the observation encoder of the network")
    what.add_argument("--dynamics", action="store_true", help="train the learned dynamics of the network's codes")
    what.add_argument("--onnx", action="store_true", help="write the trained network as ONNX, and train nothing")
    what.add_argument("--compress", action="store_true", help="make the trained network smaller and fine-tune it")
    words = read_words(parser, argv, comm)
    case = read_case(words.case, needed=("network",))
    if words.dynamics:
        if words.start is not None:
            raise ConfigurationError("--dynamics begins anew, in seconds; leave out --resume and --from")
        train_case_dynamics(case, comm)
    elif words.onnx:
        if words.start is not None:
            raise ConfigurationError("--onnx trains nothing; leave out --resume and --from")
        for path in on_rank_0(lambda: export_network(case), comm):
            Progress(comm).say(str(path))
    elif words.compress:
        assert case.network is not None  # it was needed
        compress_network(case, recipe_of(case.network.training), comm, start=words.start)
    else:
        train = train_observation_encoder if words.observations else train_network
        train(case, comm, start=words.start)
    return 0


if __name__ == "__main__":
    run_job(lambda: main(sys.argv[1:], MPI.COMM_WORLD), MPI.COMM_WORLD)
