"""What the sections of a case file are made of."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Part = Annotated[float, Field(ge=0, le=1)]
Triple = tuple[float, float, float]


class SeriesSection(Section):
    """States of earlier runs: an archive (.vtkhdf), or a folder of dumps."""

    path: Path = Field(
        description="archive, folder of dumps, or a pattern (*, ?) of either archives or one run's dumps"
    )
    start: float | None = Field(None, alias="from", description="first time used [s]")
    until: float | None = Field(None, description="last time used [s]")
    every: int = Field(1, ge=1, description="use every so-many-th state")
