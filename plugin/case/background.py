"""The case file's `background`: where background errors come from, and the control space of the analysis."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from plugin.case.anamorphosis import VariableSection
from plugin.case.latent import LatentSection
from plugin.case.localisation import Between, LocalisationSection
from plugin.case.sections import Positive, Precision, Scaling, Section, SeriesSection, Truncation


class AdaptiveSection(Section):
    """A factor on the background standard deviation of each field, from the innovations of this run (plugin.cycle)."""

    memory: float = Field(2.0, ge=1, description="windows over which an innovation's word fades; 1: the last one alone")
    lowest: Positive = Field(0.1, description="least factor")
    highest: Positive = Field(3.0, description="largest factor")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if self.lowest > self.highest:
            raise ValueError(f"lowest is {self.lowest:g}, highest {self.highest:g}; give the lower first")
        return self


class LengthsSection(Section):
    """Covariances that fall with distance, as fast as left-out readings of this run say (plugin.cycle)."""

    tried: list[Positive] | None = Field(
        None,
        min_length=1,
        description="lengths across the vertical that are weighed [m], along it half of each; 1/2 to 1/16 of the "
        "domain's longer side if left out. The sample's own reach and no increment at all are always among them",
    )
    memory: float = Field(2.0, ge=1, description="windows over which a reading's word fades; 1: the last one alone")


class LocalSection(Section):
    """Principal components of neighbourhoods: blocks of points with components of their own, all variables together."""

    size: Positive | tuple[Positive, Positive, Positive] | None = Field(
        None, description="length of a block's sides [m]; the domain is divided evenly into about such blocks"
    )
    points: tuple[int, int, int] | None = Field(
        None, description="grid points along a block's sides, in place of `size`"
    )
    overlap: bool = Field(True, description="blocks fade into their neighbours, so that analyses have no seams")
    horizontal: Positive | None = Field(
        None, description="length with which covariances of blocks fall across the vertical [m]; none if left out"
    )
    vertical: Positive | None = Field(None, description="the same along the vertical [m]")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.size is None) == (self.points is None):
            raise ValueError("give either size or points")
        if self.points is not None and min(self.points) < 1:
            raise ValueError(f"points is {list(self.points)}; expected one or more in each direction")
        return self


class BackgroundSection(Section):
    """Background errors, from the spread of earlier states."""

    snapshots: list[SeriesSection] = Field(
        [],
        description="where the states come from; may be left out with an ensemble that starts without them (restart)",
    )
    transform: Literal["tsvd", "reduced", "local", "decoded", "bireduced"] = Field(
        "tsvd",
        description="control space: truncated SVD, all anomalies, principal components of blocks (local), or the "
        "latent space of a network: its decoder with the true H (decoded), or readings encoded by "
        "network.observations and one decode (bireduced)",
    )
    truncation: Truncation | None = Field(
        None,
        description="modes to keep, or the part of the variance they explain, below 1; σ ≥ √σ₁ if left out (tsvd)",
    )
    scaling: Scaling = Field("variable", description="each variable by its standard deviation, over all or by point")
    unbiased: bool = Field(True, description="anomalies divided by √(S − 1); false leaves them as they are")
    inflation: Positive = Field(1.0, description="factor on the background standard deviation")
    precision: Precision = Field(
        "float64", description="of the modes; float32 takes half the memory and changes analyses by less than 1e-6"
    )
    local: LocalSection | None = Field(None, description="the blocks of transform: local")
    variables: dict[str, VariableSection] = Field(
        {}, description="variables that are analysed by an anamorphosis: {Tracer: {anamorphosis: sqrt}}"
    )
    adaptive: AdaptiveSection | None = Field(
        AdaptiveSection(), description="a further factor by field that follows the innovations; null for none"
    )
    localisation: LocalisationSection | None = Field(
        None, description="covariances that fall with distance, as fast in all windows; if left out, see `lengths`"
    )
    lengths: LengthsSection | None = Field(
        LengthsSection(),
        description="several lengths at once, with weights by field that follow the left-out readings, where "
        "`localisation` is left out and a window has at most 1,000 readings (tsvd, reduced); null for none",
    )
    between: Between | None = Field(
        None,
        description="covariances between variables: sample keeps all; {Tracer: [Velocity]} leaves those of tracer and "
        "wind out, {Tracer: {Velocity: 0.5}} halves them, the others are kept. If left out, each field is "
        "corrected by its own readings alone",
    )
    latent: LatentSection = LatentSection()
    modes: Path | None = Field(None, description="file (.h5) of the modes: used if it is there and fits, else made")
    scratch: Path | None = Field(None, description="folder for states that do not fit into memory while modes are made")

    @property
    def linear_transform(self) -> Literal["tsvd", "reduced", "local"]:
        """A network's analysis begins with TSVD's, and falls back to it."""
        return self.transform if self.transform in ("reduced", "local") else "tsvd"

    @property
    def following_lengths(self) -> LengthsSection | None:
        """`lengths` where they count: without a localisation of its own, and with modes of the whole domain."""
        counts = self.localisation is None and self.transform in ("tsvd", "reduced")
        return self.lengths if counts else None

    @property
    def by_network(self) -> bool:
        """Whether analyses are made in a network's latent space."""
        return self.transform in ("decoded", "bireduced")

    @model_validator(mode="after")
    def _networks_know_variables_as_they_are(self) -> Self:
        if self.by_network and self.variables:
            raise ValueError(
                f"variables.{next(iter(self.variables))}: an anamorphosis goes with transform: tsvd, reduced or local; "
                "networks are trained on variables as they are"
            )
        return self

    @model_validator(mode="after")
    def _truncation_needs_tsvd(self):
        if self.truncation is not None and self.linear_transform == "reduced":
            raise ValueError("truncation goes with transform: tsvd, local, or a network's")
        return self

    @model_validator(mode="after")
    def _blocks_and_their_number(self) -> Self:
        if (self.local is not None) != (self.transform == "local"):
            raise ValueError("transform: local needs the section local, and only it has one")
        if self.transform == "local" and self.truncation is None:
            raise ValueError(
                "transform: local needs a truncation, the number of components of all blocks or a part below 1"
            )
        return self

    @model_validator(mode="after")
    def _lengths_count_where_they_are_given(self) -> Self:
        if "lengths" in self.model_fields_set and self.lengths is not None and self.following_lengths is None:
            other = "localisation" if self.localisation is not None else f"transform: {self.transform}"
            raise ValueError(
                f"lengths goes with transform: tsvd or reduced, and without localisation; there is {other}"
            )
        return self

    @model_validator(mode="after")
    def _leading_modes_need_an_order(self):
        if self.localisation is not None and self.localisation.modes and self.linear_transform != "tsvd":
            raise ValueError("localisation.modes goes with transform: tsvd, whose modes have an order")
        return self
