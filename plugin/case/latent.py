"""The case file's `background.latent`: how a network's latent space is used, and when it is to be believed."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from plugin.case.sections import Positive, Section, Truncation


class TrustSection(Section):
    """When an analysis by the network is given up for that by TSVD; what was measured is in the ledger."""

    quantile: Annotated[float, Field(gt=0, le=1)] = Field(
        0.99, description="part of the states of training and validation that would pass as backgrounds"
    )
    margin: Positive = Field(1.0, description="factor on the limits that follow from it")
    cost_ratio: Positive = Field(1.0, description="most that an analysis may leave of J_o of the background")


class LatentSection(Section):
    """Background errors in the latent space of the `network` section's file."""

    form: Literal["centred", "paper"] = Field(
        "centred",
        description="centred: the network decodes states, δx = g(z_b + V_l w) − g(z_b); paper: it decodes increments, "
        "δx = g(V_l w), right where the background is the training mean",
    )
    errors: Literal["states", "prior", "encoder"] = Field(
        "states",
        description="of codes of the background: states, the spread of the training states' codes; of a network with "
        "objective: vae also prior, N(0, I), or encoder, the deviations that it tells of the background's own code",
    )
    truncation: Truncation | None = Field(
        None, description="latent modes to keep, or the part of their variance; a mode for each state if left out"
    )
    variance: Positive | None = Field(
        None,
        description="of the errors of a code from readings, R_l = variance · I (bireduced); the observation encoder's "
        "own errors if left out",
    )
    trust: TrustSection = TrustSection()

    @model_validator(mode="after")
    def _what_goes_with_errors(self) -> Self:
        if self.errors != "states" and self.truncation is not None:
            raise ValueError(f"truncation goes with errors: states; those of errors: {self.errors} have no order")
        if self.errors == "encoder" and self.form != "centred":
            raise ValueError("errors: encoder are about the background; give form: centred")
        return self
