"""The case file's `report`: what the page about a run shows beside what it always does."""

from typing import Annotated

from pydantic import Field

from plugin.case.sections import Section

Finite = Annotated[float, Field(allow_inf_nan=False)]


class ReportSection(Section):
    """What the page about a run shows beside what it always does."""

    exceed: dict[str, Finite] = Field(
        {},
        description="limit by variable, {Tracer: 5}: a map of how many members exceed it, with an ensemble",
    )
