"""The case file's `gates`: what an analysis must be like before the model goes on from it."""

import math
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from plugin.case.sections import Positive, Section

Bounds = tuple[float | None, float | None]


class GateError(ValueError):
    """An analysis that the model must not go on from; the message says why."""


class TaperSection(Section):
    """Where increments fade towards open boundaries."""

    surfaces: list[Annotated[int, Field(ge=0)]] = Field(min_length=1, description="surface ids of the mesh")
    distance: Positive = Field(description="from where on an increment counts in full [m]")


class GatesSection(Section):
    """What an analysis must be like before the model goes on from it; what is left out is not asked for."""

    taper: TaperSection | None = Field(None, description="increments fade towards open boundaries")
    divergence_free: str | None = Field(
        None,
        description="vector field whose increment is to have no divergence, and nothing at walls and inflows: Velocity",
    )
    largest: dict[str, Positive] = Field(
        {}, description="largest |increment| by variable, of a vector its length: Tracer, Velocity, Velocity.x …"
    )
    too_large: Literal["scale", "refuse"] = Field(
        "scale",
        description="an increment beyond `largest` is made smaller as a whole, or the forecast goes on as it is",
    )
    bounds: dict[str, Bounds] = Field(
        {}, description="lowest and highest value by variable, null for none; the total over the mesh is kept"
    )
    range: dict[str, tuple[float, float]] = Field(
        {}, description="a forecast, or an analysis, with a value of this variable outside is an error"
    )

    @field_validator("bounds", "range")
    @classmethod
    def _low_before_high(cls, value):
        for name, (low, high) in value.items():
            if low is None and high is None:
                raise ValueError(f"{name} has no bound; give one, or leave it out")
            if low is not None and high is not None and not low < high:
                raise ValueError(f"{name} from {low:g} to {high:g}, expected the lower limit first")
        return value

    @model_validator(mode="after")
    def _what_goes_together(self):
        of = self.divergence_free
        both = [name for name in self.bounds if of is not None and name.rpartition(".")[0] == of]
        if both:
            raise ValueError(f"bounds of {both[0]} would give {of} divergence again; leave one of them out")
        return self

    @property
    def changing(self) -> bool:
        """Whether a gate may change an analysis."""
        return bool(self.largest or self.taper or self.divergence_free or self.bounds)

    def limits(self, name: str) -> tuple[float, float]:
        """(low, high) of a variable's `bounds`, infinite where there is none."""
        low, high = self.bounds[name]
        return -math.inf if low is None else low, math.inf if high is None else high
