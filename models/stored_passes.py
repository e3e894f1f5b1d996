"""The passes that a network's file asks for: float32, bfloat16, or convolutions of eight bits."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch

from coupling.common.headers import short
from models.inference import fast_passes
from models.local_network import PlainPasses
from models.zoo.autoencoder import Autoencoder


def stored_passes(about: Mapping[str, Any]) -> Callable[[Autoencoder], PlainPasses]:
    """Fast passes in the precision that a network's file asks for, a function of the network.

    Parameters
    ----------
    about : header of the file; its item `passes` has `precision` and, of int8, `largest`; float32 without it

    Raises
    ------
    ValueError
        if the item is none of these
    """
    asked = about.get("passes") or {"precision": "float32"}
    if asked == {"precision": "float32"}:
        return fast_passes
    if asked == {"precision": "bfloat16"}:
        return partial(fast_passes, precision=torch.bfloat16)
    largest = asked.get("largest") if isinstance(asked, dict) and asked.get("precision") == "int8" else None
    if not isinstance(largest, dict) or not all(isinstance(value, float) for value in largest.values()):
        raise ValueError(f"passes {short(str(asked))}, expected precision float32, bfloat16, or int8 with its largest")
    return partial(fast_passes, largest=largest)
