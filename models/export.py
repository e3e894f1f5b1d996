"""Networks for other programs: two ONNX files, one that encodes and one that decodes.

ONNX Runtime and others run them, without Python or torch where one likes (https://onnx.ai). Fields are
(1, C, nx, ny, nz) and codes (1, m), float32, both as the network has them: standardised, zero at solid points.
"""

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from coupling.common.files import whole_file
from models.traced import Way
from models.zoo.autoencoder import Autoencoder
from models.zoo.observation_encoder import ObservationEncoder

OPSET = 17
FIELDS, CODE, SPREAD = "fields", "code", "spread"


class ExportError(ValueError):
    """A network that ONNX cannot say, or no package that writes it."""


def write_onnx(model: Autoencoder, stem: str | Path, about: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write STEM.encode.onnx and STEM.decode.onnx; each appears complete or not at all.

    Parameters
    ----------
    model : Autoencoder; it is copied, in evaluation mode and float32
    stem : path without its ending
    about : dict of what JSON can hold, kept in both files as the property "about"

    Returns
    -------
    the two paths

    Raises
    ------
    ExportError
        if a layer has no counterpart in ONNX, or the package onnx is missing
    OSError
        if a file cannot be written
    """
    model = copy.deepcopy(model).eval().float().requires_grad_(False)
    fields, code = torch.zeros(1, model.channels, *model.shape), torch.zeros(1, model.n_latent)
    return (
        _write(Way(model, "encode"), fields, (FIELDS, CODE), Path(f"{stem}.encode.onnx"), about),
        _write(Way(model, "decode"), code, (CODE, FIELDS), Path(f"{stem}.decode.onnx"), about),
    )


def write_observation_onnx(model: ObservationEncoder, stem: str | Path, about: Mapping[str, Any]) -> Path:
    """Write STEM.encode.onnx of an observation encoder, from `SPREAD`, (1, 2C, nx, ny, nz), to `CODE`, (1, m).

    Readings are put on the grid before, as `models.gridding` does; parameters and errors are those of `write_onnx`.
    """
    model = copy.deepcopy(model).eval().float().requires_grad_(False)
    spread = torch.zeros(1, 2 * model.channels, *model.shape)
    return _write(Way(model, "encode"), spread, (SPREAD, CODE), Path(f"{stem}.encode.onnx"), about)


def _write(way, example, names, path, about):
    """One file; it appears complete or not at all."""
    try:
        import onnx
    except ImportError as error:
        raise ExportError("the package onnx is missing: pip install 'fluidity-da[onnx]'") from error
    with whole_file(path) as beside:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on shapes that are fixed here, and on the exporter's successor
                torch.onnx.export(
                    way.eval(), (example,), str(beside), dynamo=False, opset_version=OPSET,
                    input_names=[names[0]], output_names=[names[1]],
                )  # fmt: skip
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            raise ExportError(f"a layer has no counterpart in ONNX: {error}") from error
        made = onnx.load(str(beside))
        onnx.helper.set_model_props(made, {"about": json.dumps(dict(about))})
        onnx.checker.check_model(made)
        onnx.save(made, str(beside))
    return path
