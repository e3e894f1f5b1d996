"""The case file's `estimate`: unknown numbers of the model from all readings of a period."""

from typing import Any

from pydantic import Field

from plugin.case.sections import Section


class EstimateSection(Section):
    """Parameters of the whole period by ES-MDA (plugin.estimate); members, seed and priors are those of a cycle."""

    iterations: int = Field(
        4, ge=1, description="updates by all readings; before each one all members are run over the whole period"
    )
    fall: float = Field(
        1.0,
        ge=1.0,
        le=100.0,
        description="factor on the readings' error variances of an update over that of the next one; above 1 the first "
        "updates are smaller",
    )
    rerun: bool = Field(
        False, description="run the members once more with what was estimated, to see how well the readings are met"
    )
    place: tuple[str, str] | None = Field(
        None, description="two parameters that are x and y of a place, such as a source's, for a map of it [m]"
    )


def refusal(case: Any) -> str | None:
    """What of the section does not go with the Case; None if all fits."""
    for name in case.estimate.place or ():
        section = case.parameters.get(name)
        if section is None:
            known = ", ".join(case.parameters) or "none"
            return f"estimate.place: {name!r} is no parameter; there are {known}"
        if section.in_time is not None:
            return f"estimate.place: {name} has several values in time, a place has one"
    return None
