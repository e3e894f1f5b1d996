"""Compression of a case's trained network: python -m plugin.train case.yml --compress

Channels are pruned, the smaller network is fine-tuned with the whole one as its teacher, and what is left is written in
the precision asked for, with codes and errors of its own: `trust` judges it as it judges any network.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from mpi4py import MPI

from coupling.common.collective import on_rank_0, on_rank_0_asleep
from coupling.common.locks import sole_writer
from models import files
from models.compression.channels import ChannelError
from models.compression.pruning import (
    PruningError,
    importance,
    network_channels,
    products,
    pruned,
    pruned_widths,
    with_shuffles,
)
from models.int8 import lacks_int8, largest_inputs, round_weights
from models.local_network import in_full_precision
from models.stored_passes import stored_passes
from models.training.evaluation import codes_and_round_trips
from models.training.loop import Trained
from models.training.objectives import Batch, relative
from models.training.recipe import Recipe
from models.zoo.autoencoder import Autoencoder
from models.zoo.coarsening import Coarsening
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.network import CompressionSection, NetworkSection
from plugin.run.progress import Progress
from plugin.training.runs import first_epoch, keep_network, run_training
from plugin.training.training_set import TrainingSet, training_set
from plugin.window.background.observation_encoding import file_hash

_KEY = "network.compression"
_BATCH = 8  # states of which the loss is taken together


@dataclass(frozen=True)
class Judged:
    """A network and how good and costly it is.

    products : of one encoding and decoding
    bytes : of its file
    round_trip : rms of x − g(f(x)) over the validation states, in standard deviations
    """

    products: int
    bytes: int
    round_trip: float

    def __str__(self) -> str:
        return (
            f"{self.products / 1e6:,.4g} million products, {self.bytes / 1e6:.3g} MB, round trip {self.round_trip:.4g}"
        )


def compress_network(
    case: Case, recipe: Recipe, comm: MPI.Comm, progress: Progress | None = None, start: int | str | None = None
) -> tuple[Judged, Judged]:
    """Compress a case's network and write its file. Collective.

    Parameters
    ----------
    case : Case with `network.compression`
    recipe : of the network's training; objective, epochs and rate are those of fine-tuning instead
    comm, progress, start : as for `plugin.train.train_network`

    Returns
    -------
    the network and the compressed one, as Judged

    Raises
    ------
    ConfigurationError
        if case, states, network, or the epoch to go on from do not fit each other; there is a file already; or the
        network cannot be compressed so
    FileError, MeshError, OSError
        if states cannot be read, or files not be written; or another job writes the same file
    TrainingError
        if the loss is no longer a number
    """
    progress = progress or Progress(comm)
    if case.network is None or case.network.compression is None:
        raise ConfigurationError(f"{_KEY}: this section is missing; it names the file")
    section = case.network.compression
    if section.precision == "int8":
        problem = on_rank_0(lacks_int8, comm)
        if problem is not None:
            raise ConfigurationError(f"{_KEY}.precision: int8: {problem}; give bfloat16 or float32")
    with sole_writer(section.file, comm, say=progress.say):
        return _compress(case, case.network, section, recipe, comm, progress, start)


def _compress(
    case: Case,
    network: NetworkSection,
    section: CompressionSection,
    recipe: Recipe,
    comm: MPI.Comm,
    progress: Progress,
    start: int | str | None,
) -> tuple[Judged, Judged]:
    begin = on_rank_0(lambda: first_epoch(f"{_KEY}.file", section.file, start), comm)
    with progress.stage("training set"):
        data = training_set(case, comm, case.run / "cache", progress.say)
    whole = on_rank_0(lambda: _trained(network, data), comm)
    round_trips = codes_and_round_trips(whole, data.samples, comm, data.part)[1][-data.n_validation :]
    before = Judged(products(whole), network.file.stat().st_size, _rms(round_trips))
    progress.say(f"{network.file}: {before}")
    with progress.stage("pruning"):
        small = on_rank_0_asleep(lambda: _pruned(whole, section, data), comm)
    about: dict[str, Any] = {**data.about, "compressed": file_hash(network.file), **_asked(section)}
    recipe = replace(recipe, objective="distilled", epochs=section.epochs, rate=section.rate or recipe.rate)
    trained = None
    if _takes_something(section):
        progress.say(f"{section.file}: {_in_words(small)}")
        trained = run_training(
            "fine-tuning", section.file, small, data, recipe, about, comm, progress,
            every=network.training.keep, start=begin, teacher=whole,
        )  # fmt: skip
    about["passes"] = on_rank_0_asleep(lambda: _passes(small, section, data), comm)
    if section.precision == "int8":
        round_weights(small)
    elif section.precision == "bfloat16":
        small = in_full_precision(small.bfloat16())
    passes = stored_passes(about)(small)
    codes, round_trips = codes_and_round_trips(small, data.samples, comm, data.part, passes)
    arrays = {
        "mean": data.mean, "scale": data.scale, "times": data.times,
        "codes": codes, "round_trips": round_trips[-data.n_validation :],
    }  # fmt: skip
    on_rank_0(lambda: _write(section, small, about, recipe, trained, arrays), comm)
    after = Judged(products(small), on_rank_0(lambda: section.file.stat().st_size, comm), _rms(arrays["round_trips"]))
    progress.say(f"{section.file}: {after}")
    return before, after


def _trained(network: NetworkSection, data: TrainingSet) -> Autoencoder:
    """The case's network, which must be of these very states. For rank 0."""
    try:
        expected = {**data.about, "name": network.name, "mask": data.grid.fluid}
        return in_full_precision(files.load(network.file, expected, files.AUTOENCODER)[0])
    except ValueError as error:  # ModelFileError too
        raise ConfigurationError(f"network.file: {error}") from error


def _prunes(section: CompressionSection) -> bool:
    return not (section.products is None and section.width is None and section.decoder_width is None)


def _takes_something(section: CompressionSection) -> bool:
    """Whether the network is another afterwards, and not only its precision."""
    return _prunes(section) or section.upsampling is not None


def _calibration(section: CompressionSection, data: TrainingSet) -> list[torch.Tensor]:
    """Training states, spread evenly over their time, in batches."""
    count = len(data.samples) - data.n_validation
    numbers = np.unique(np.linspace(0, count - 1, min(section.states, count)).round().astype(int))
    batches = np.array_split(numbers, -(-len(numbers) // _BATCH))
    return [torch.from_numpy(np.concatenate([data.samples[k : k + 1] for k in batch])) for batch in batches]


def _pruned(whole: Autoencoder, section: CompressionSection, data: TrainingSet) -> Autoencoder:
    """The smaller network before its fine-tuning; the whole one if nothing is taken from it. For rank 0."""
    try:
        model = with_shuffles(whole) if section.upsampling == "shuffle" else whole
        if not _prunes(section):
            return model
        channels, part = network_channels(model), torch.from_numpy(data.part).to(model.mask)
        generator = torch.Generator()
        losses = (
            lambda network, fields=fields: relative(network, Batch(fields, fields, part), generator)
            for fields in (each.to(model.mask) for each in _calibration(section, data))
        )
        worth = importance(model, channels, losses)
        assert isinstance(model, Coarsening)  # `network_channels` refuses others
        widths: dict[str, Any] = {"width": _listed(section.width), "decoder_width": _listed(section.decoder_width)}
        if section.products is not None:
            widths = {**pruned_widths(model, channels, worth, section.products)}
        elif section.width is None:
            widths["width"] = list(model.widths)
        elif section.decoder_width is None:
            widths["decoder_width"] = widths["width"]
        return pruned(model, channels, worth, **widths)
    except (PruningError, ChannelError) as error:
        raise ConfigurationError(f"{_KEY}: {error}") from error


def _passes(model: Autoencoder, section: CompressionSection, data: TrainingSet) -> dict[str, Any]:
    """What the file says of its passes. For rank 0."""
    if section.precision != "int8":
        return {"precision": section.precision}
    own = model.mask.dtype
    passes = [lambda fields=fields: model(fields.to(own)) for fields in _calibration(section, data)]
    return {"precision": "int8", "largest": largest_inputs(model, passes)}


def _write(
    section: CompressionSection,
    model: Autoencoder,
    about: Mapping[str, Any],
    recipe: Recipe,
    trained: Trained | None,
    arrays: Mapping[str, np.ndarray],
) -> None:
    eight, half = section.precision == "int8", section.precision == "bfloat16"
    stored = model.bfloat16() if half else model
    if trained is None:
        files.save(section.file, stored, about, arrays, eight)
    else:
        keep_network("fine-tuning", section.file, stored, about, recipe, trained, arrays, eight_bits=eight)
    in_full_precision(model)


def _asked(section: CompressionSection) -> dict[str, Any]:
    return {"compression": section.model_dump(mode="json", exclude={"file"}, exclude_none=True)}


def _in_words(model: Autoencoder) -> str:
    if not isinstance(model, Coarsening):
        return "shuffles"
    return f"channels {list(model.widths)} to encode and {list(model.decoder_widths)} to decode"


def _listed(width: int | tuple[int, ...] | None) -> int | list[int] | None:
    return list(width) if isinstance(width, tuple) else width


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values))))
