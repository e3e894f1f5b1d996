"""The case file's `reanalysis`: which states are analysed, what is kept, and how the ranks share the work."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from plugin.case.sections import Positive, Precision, Section, SeriesSection


class ReanalysisSection(Section):
    """Analyses of states that are there already: python -m plugin.reanalysis."""

    states: list[SeriesSection] = Field(min_length=1, description="what is analysed, later series after earlier ones")
    output: Path = Field(
        Path("analyses.vtkhdf"),
        description="archive of the analyses, NAME.vtkhdf; or a folder of archives, one for each block, which nobody "
        "has to wait for where ranks are many",
    )
    keep: list[Literal["analysis", "background", "increment", "std"]] = Field(
        ["analysis"],
        min_length=1,
        description="what the archive holds: the analysis under the fields' names, the others as Tracer_background, "
        "Tracer_increment, and Tracer_std, the standard deviation of the analysis' error",
    )
    missing: Literal["stop", "skip"] = Field(
        "stop", description="a state that cannot be read ends the job, or is left out and listed in steps.csv"
    )
    groups: int | None = Field(
        None, ge=1, description="ranks are cut into so many groups, which take states in turn; chosen if left out"
    )
    memory: Positive | None = Field(
        None, description="GiB of a node's memory that the groups' modes may take; half of it if left out"
    )
    block: int = Field(8, ge=1, description="states that are written together; a stop loses at most one block a group")
    precision: Precision = Field("float64", description="of the archive's fields")
    compression: Annotated[int, Field(ge=0, le=9)] = Field(1, description="of the archive, 0 (none) to 9")

    @field_validator("keep")
    @classmethod
    def _each_once(cls, value):
        if len(set(value)) != len(value):
            raise ValueError("expected different names")
        return value

    @field_validator("output")
    @classmethod
    def _suffix(cls, value):
        if value.suffix not in (".vtkhdf", ""):
            raise ValueError("expected a name that ends with .vtkhdf, or a folder's name without an ending")
        return value
