"""How a network is trained."""

import math
from dataclasses import dataclass
from typing import Any

from models.names.choices import OBJECTIVES, OPTIMISERS, PRECISIONS, SCHEDULES
from models.names.nearest import unknown
from models.training.augmentation import Augmentation
from models.training.sensors import SensorDraws

_WARM_UP, _LAST_RATE = 0.02, 0.01  # part of the epochs in which the rate rises; part of it that is left at the end


@dataclass(frozen=True)
class Recipe:
    """How to train.

    epochs : at most; patience : epochs without a lower validation loss after which training ends
    batch : samples of all ranks in a step
    optimiser : "adamw" or "muon"; rate : its largest learning rate, None for its own
    schedule : of the rate, "cosine" or "constant", both after a short rise from zero
    weight_decay : on convolutions' and dense layers' weights
    average : decay of the mean of weights over steps that is judged and kept (Polyak & Juditsky 1992); 0 for none
    settle : part of the epochs after which batch norm keeps the statistics it has, as in evaluation; 1 for never
    clip : largest norm of the gradient, or None
    objective : a name of :mod:`models.training.objectives`
    beta, free_bits : of vae; discriminator : weight of its word, of adversarial
    augmentation : Augmentation, SensorDraws, or None
    precision : of convolutions on a GPU, "bfloat16" or "float32". (On CPUs gradients in bfloat16 overflow, torch 2.13.)
    seed : of order and augmentation; that of the weights is the model's own
    """

    epochs: int = 300
    batch: int = 16
    optimiser: str = "adamw"
    rate: float | None = None
    schedule: str = "cosine"
    weight_decay: float = 1e-4
    patience: int = 50
    clip: float | None = 1.0
    average: float = 0.0
    settle: float = 1.0
    objective: str = "reconstruction"
    beta: float = 0.01
    free_bits: float = 0.0
    discriminator: float = 0.01
    augmentation: Augmentation | SensorDraws | None = Augmentation()
    precision: str = "bfloat16"
    seed: int = 0


def check(recipe: Recipe) -> None:
    """ValueError that names the first item which is none of its choices."""
    for item, choices in (
        ("schedule", SCHEDULES),
        ("precision", PRECISIONS),
        ("objective", OBJECTIVES),
        ("optimiser", OPTIMISERS),
    ):
        if getattr(recipe, item) not in choices:
            raise unknown(item, getattr(recipe, item), choices)


def told(recipe: Recipe) -> dict[str, Any]:
    """What a training that goes on must agree in: {item: value}, those alone that count for its objective."""
    items = ["objective", "optimiser", "batch", "seed"]
    items += {"vae": ["beta", "free_bits"], "adversarial": ["discriminator"]}.get(recipe.objective, [])
    if recipe.average:
        items.append("average")
    return {name: getattr(recipe, name) for name in items}


def rate_factor(schedule: str, passed: float) -> float:
    """Part of the largest learning rate when a part of the epochs has passed."""
    rising = min(1.0, (passed + 1e-3) / _WARM_UP)
    if schedule == "constant":
        return rising
    return rising * (_LAST_RATE + (1.0 - _LAST_RATE) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, passed))))
