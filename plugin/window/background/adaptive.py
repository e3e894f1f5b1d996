"""Background errors of the day: a factor for each field, from a window's innovations and those before."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from da.background.adaptive import next_factor
from da.background.linear_transform import LinearTransform
from plugin.case.variables import fields_of
from plugin.window.background.of_case import Background
from plugin.window.observations.innovation import Innovation


def next_factors(
    before: Mapping[str, float],
    background: Background,
    innovation: Innovation,
    used: np.ndarray,
    std: Callable[[], np.ndarray],
) -> dict[str, float]:
    """{field: factor of the background's standard deviation} with this window's innovations.

    before : of the windows before; fields without an estimate are not there
    used : numbers of the readings that passed quality control
    std : function that computes (M,) of the background at all readings, without a factor; called if it is needed
    """
    rule = background.adaptive
    if rule is None:
        return {}
    field = fields_of(innovation.readings.variable[used])
    value, error = innovation.value[used], innovation.readings.error[used]
    factors, spread = {}, std()[used]
    for name in dict.fromkeys(v.field for v in background.transfer.variables):
        of = field == name
        factor = next_factor(before.get(name), value[of], spread[of], error[of], rule)
        if factor is not None:
            factors[name] = factor
    return factors


def at_readings(factors: Mapping[str, float], variable: np.ndarray) -> np.ndarray:
    """(M,) factor of each reading's field."""
    return np.array([factors.get(name, 1.0) for name in fields_of(variable).tolist()])


def adapted(background: Background, factors: Mapping[str, float]) -> Background:
    """The background errors times factors; itself where there are none."""
    if not factors:
        return background
    factor = np.array([factors.get(v.field, 1.0) for v in background.transfer.variables])
    inner = background.transform
    rows = np.tile(factor, len(inner.modes.vectors) // len(factor))
    scale = rows if inner.scale is None else rows * inner.scale
    return replace(background, transform=LinearTransform(inner.modes, scale, inner.comm), factor=factor)
