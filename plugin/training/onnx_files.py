"""A case's trained network as ONNX, for programs without torch: python -m plugin.train case.yml --onnx

Beside NAME.safetensors of `network.file` there are then NAME.encode.onnx, (1, C, nx, ny, nz) → (1, m), and
NAME.decode.onnx, back. Fields are standardised: (x − mean) / scale, with the arrays of the network's own file.
"""

from pathlib import Path

from models.export import ExportError, write_onnx
from models.files import AUTOENCODER, ModelFileError, load
from plugin.case.configuration import Case, ConfigurationError

_KEPT = ("name", "channels", "shape", "n_latent", "variables", "grid", "scaling")


def export_network(case: Case) -> tuple[Path, Path]:
    """Write a case's network as two ONNX files. For one rank.

    Returns
    -------
    paths of the files that encode and decode

    Raises
    ------
    ConfigurationError
        if the case names no network, its file cannot be read, or ONNX cannot say it
    OSError
        if a file cannot be written
    """
    if case.network is None:
        raise ConfigurationError("network: this section is missing; it names the network and its file")
    try:
        network, about = load(case.network.file, {"name": case.network.name}, AUTOENCODER)
        kept = {key: about[key] for key in _KEPT if key in about}
        return write_onnx(network, case.network.file.with_suffix(""), kept)
    except (ModelFileError, ExportError) as error:
        raise ConfigurationError(f"network.file: {error}") from error
