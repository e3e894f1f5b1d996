"""What a driver says about a model's own settings before a cycle begins; `plugin.check` prints it."""

from dataclasses import dataclass
from typing import Any

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Plan:
    """What a cycle is going to do with the model.

    window : time between analyses [s]
    variables : that are analysed: Tracer, Velocity, Velocity.x …
    dumped : whether readings are compared with dumps of the model
    within : in which way they are compared with dumps within a window, in a word; "" if they are not
    fixed_mesh : whether the analysis needs a mesh that never changes
    """

    window: float
    variables: tuple[str, ...]
    dumped: bool
    within: str
    fixed_mesh: bool


@dataclass(frozen=True)
class Remark:
    """One thing to know about a model's settings.

    level : "ok", "warn", or "fail", which the cycle would not survive
    text : what is so
    advice : what to do; "" for nothing
    changes : of the settings, which would help, in the driver's own form
    """

    level: str
    text: str
    advice: str = ""
    changes: tuple[Any, ...] = ()
