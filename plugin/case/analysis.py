"""The case file's `analysis`: what follows from an analysis that is worse than its forecast."""

from typing import Literal

from pydantic import Field

from plugin.case.sections import Section

Guard = Literal["off", "warn", "shrink", "skip"]


class AnalysisSection(Section):
    """How far an analysis is believed. It is compared with its forecast at readings that it did not know."""

    guard: Guard = Field(
        "warn",
        description="what follows where the analysis is farther than its forecast from readings that are withheld, or "
        "left out one at a time: a line in output, ledger and report (warn); also an increment of the size that these "
        "readings bear out, by field (shrink); or none (skip); off: no comparison",
    )
