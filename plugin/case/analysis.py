"""The case file's `analysis`: what follows from an analysis that is worse than its forecast."""

from typing import Literal

from pydantic import Field

from plugin.case.sections import Section

Guard = Literal["off", "warn", "shrink", "skip"]


class AnalysisSection(Section):
    """How far an analysis is believed. It is compared with its forecast at readings that it did not know."""

    guard: Guard = Field(
        "shrink",
        description="what follows from readings that are withheld, or left out one at a time: where the analysis is "
        "farther from them than its forecast, a line in output, ledger and report (warn) and no increment of the field "
        "(skip); in every window an increment of the size that they bear out for certain (shrink); off: no comparison",
    )
