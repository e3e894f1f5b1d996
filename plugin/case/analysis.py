"""The case file's `grid` and `analysis`: where an analysis lives, its method, and what follows from a bad one."""

from typing import Literal

from pydantic import Field, model_validator

from plugin.case.ensemble import HybridSection, Method
from plugin.case.sections import Pair, Positive, Section, Triple


class GridSection(Section):
    """Where the analysis lives: a regular grid of some shape or spacing, or the mesh's own nodes or cells."""

    space: Literal["grid", "mesh"] = Field(
        "grid", description="mesh: no interpolation, for tsvd and reduced on a mesh that never changes"
    )
    shape: tuple[int, int, int] | tuple[int, int] | None = Field(
        None, description="numbers of points; two for a mesh of two dimensions"
    )
    spacing: Positive | tuple[Positive, Positive, Positive] | tuple[Positive, Positive] | None = Field(
        None, description="distance of points [m]"
    )
    box: tuple[Triple, Triple] | tuple[Pair, Pair] | None = Field(
        None, description="lowest and highest corner [m]; the mesh's own if left out"
    )
    reconstruction: Literal["constant", "linear"] = Field(
        "constant",
        description="of values in cells of polyhedra at the points: the cell's value, or with its slope, which may go "
        "below zero",
    )

    @model_validator(mode="after")
    def _one_of_two(self):
        if self.space == "mesh":
            if any(value is not None for value in (self.shape, self.spacing, self.box)):
                raise ValueError("space: mesh has the mesh's own points; leave shape, spacing and box out")
            if self.reconstruction != "constant":
                raise ValueError("space: mesh has the cells' own values; leave reconstruction out")
            return self
        if (self.shape is None) == (self.spacing is None):
            raise ValueError("give either shape or spacing")
        if self.shape is not None and (min(self.shape[:2]) < 2 or self.shape[2:] == (0,)):
            raise ValueError(f"shape is {list(self.shape)}, at least 2 points in each direction are needed")
        return self


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
