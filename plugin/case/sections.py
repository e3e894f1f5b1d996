"""What the sections of a case file are made of."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(ge=0, le=1)]
Triple = tuple[float, float, float]
Pair = tuple[float, float]
Scaling = Literal["variable", "point"]  # how values are standardised
Precision = Literal["float64", "float32"]  # of what is kept


def _whole_or_part(value):
    if value >= 1.0:
        if value != int(value):
            raise ValueError("expected a whole number of modes, or a part of the variance below 1")
        return int(value)
    return value


Truncation = Annotated[float, Field(gt=0, allow_inf_nan=False), AfterValidator(_whole_or_part)]


class SeriesSection(Section):
    """States of earlier runs: an archive (.vtkhdf), or a folder of dumps."""

    path: Path = Field(
        description="archive, folder of dumps, or a pattern (*, ?) of either archives or one run's dumps"
    )
    start: float | None = Field(None, alias="from", description="first time used [s]")
    until: float | None = Field(None, description="last time used [s]")
    every: int = Field(1, ge=1, description="use every so-many-th state of all that the entry names")
