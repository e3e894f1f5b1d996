"""A case's trained network as ONNX, for programs without torch: python -m plugin.train case.yml --onnx

Beside NAME.safetensors of `network.file` there are then NAME.encode.onnx, (1, C, nx, ny, nz) → (1, m), and
NAME.decode.onnx, back. A trained observation encoder has NAME.encode.onnx beside its own file. Fields are standardised:
(x − mean) / scale, with the arrays of the network's own file.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.export import ExportError, write_observation_onnx, write_onnx
from models.files import AUTOENCODER, OBSERVATION_ENCODER, ModelFileError, load
from plugin.case.configuration import Case, ConfigurationError

_KEPT = ("name", "channels", "shape", "n_latent", "variables", "grid", "scaling")


def export_network(case: Case) -> tuple[Path, ...]:
    """Write a case's network as two ONNX files, and its observation encoder, if it is trained, as one. For one rank.

    Returns
    -------
    paths of the files

    Raises
    ------
    ConfigurationError
        if the case names no network, its file cannot be read, or ONNX cannot say it
    OSError
        if a file cannot be written
    """
    if case.network is None:
        raise ConfigurationError("network: this section is missing; it names the network and its file")
    section, key = case.network, "network.file"
    try:
        network, about = load(section.file, {"name": section.name}, AUTOENCODER)
        made: tuple[Path, ...] = write_onnx(network, section.file.with_suffix(""), _kept(about))
        if section.observations is not None and section.observations.file.exists():
            key, file = "network.observations.file", section.observations.file
            encoder, about = load(file, {"name": section.name}, OBSERVATION_ENCODER)
            made = (*made, write_observation_onnx(encoder, file.with_suffix(""), _kept(about)))
        return made
    except (ModelFileError, ExportError) as error:
        raise ConfigurationError(f"{key}: {error}") from error


def _kept(about: Mapping[str, Any]) -> dict[str, Any]:
    return {key: about[key] for key in _KEPT if key in about}
