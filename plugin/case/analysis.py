"""The case file's `analysis`: its method, and what follows from one that is worse than its forecast."""

from typing import Literal

from pydantic import Field

from plugin.case.ensemble import HybridSection, Method
from plugin.case.sections import Section

Guard = Literal["off", "warn", "shrink", "skip"]


class AnalysisSection(Section):
    """How an analysis is made, and how far it is believed."""

    method: Method | None = Field(
        None,
        description="3dvar of one model run; with an ensemble etkf, letkf, 4denvar, hybrid, or latent: an etkf among "
        "the codes of the section network's file. If left out, 3dvar without an ensemble, else letkf where "
        "background.localisation is given and etkf where not",
    )
    hybrid: HybridSection | None = Field(None, description="weights of method: hybrid; a half each if left out")
    guard: Guard = Field(
        "shrink",
        description="what follows from readings that are withheld, or left out with their neighbours: where the "
        "analysis is farther from them than its forecast, a line in output, ledger and report (warn) and no increment "
        "of the field (skip); in every window an increment of the size that they bear out for certain (shrink); "
        "off: no comparison",
    )
