"""The case file's `parameters`: numbers of the model that are unknown, and are analysed with its state."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from plugin.case.sections import Part, Positive, Section
from plugin.case.variables import field_of

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Finite = Annotated[float, Field(allow_inf_nan=False)]


class PriorSection(Section):
    """What is known of a parameter before its first reading: one of these. Analyses never leave its bounds."""

    normal: tuple[Finite, Positive] | None = Field(None, description="mean and standard deviation")
    lognormal: tuple[Positive, Positive] | None = Field(
        None, description="median, and standard deviation of the logarithm: 0.5 is a factor of 1.65; above zero"
    )
    uniform: tuple[Finite, Finite] | None = Field(None, description="least and largest value")

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        given = [name for name in ("normal", "lognormal", "uniform") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"found {' and '.join(given) or 'none'}; give one of normal, lognormal and uniform")
        if self.uniform is not None and self.uniform[0] >= self.uniform[1]:
            raise ValueError(f"uniform is {list(self.uniform)}; give the lower first")
        return self


class TargetSection(Section):
    """Where the model finds the number: one of these."""

    option: str | None = Field(
        None,
        min_length=1,
        description="path of a number in the model's own settings: of the .flml, as Fluidity writes it, "
        "/material_phase::Air/…/constant; of a case of OpenFOAM constant/transportProperties:nu, "
        "TIME/U:boundaryField/inflow/value[0]; with in_time, of OpenFOAM alone, an entry that becomes a table",
    )
    file: Literal["parameters.json"] | None = Field(
        None, description="parameters.json beside the restart, which the Python functions of the .flml read"
    )

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.option is None) == (self.file is None):
            raise ValueError("give either option or file")
        return self


class FirstOrderSection(Section):
    """AR(1): the mean goes back to the prior's median, the spread to `spread`, within some `time`."""

    time: Positive = Field(description="correlation time [s]")
    spread: Positive = Field(1.0, description="spread without readings, in standard deviations of the prior")


class WanderSection(Section):
    """How a parameter may change from one window to the next: one of these."""

    random_walk: Positive | None = Field(
        None, description="standard deviation of a step from window to window, in standard deviations of the prior"
    )
    ar1: FirstOrderSection | None = Field(None, description="a walk that goes back to the prior")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if (self.random_walk is None) == (self.ar1 is None):
            raise ValueError("give either random_walk or ar1")
        return self


class InTimeSection(Section):
    """A parameter that changes with the model's time: linear between some times, each value a parameter of its own."""

    coefficients: int = Field(ge=2, le=1000, description="number of times, evenly spaced")
    over: Positive = Field(description="from the first to the last of them [s]")
    start: Finite | None = Field(None, alias="from", description="the first of them [s]; the start's time if left out")
    correlation: Positive = Field(description="time over which the prior's values are alike [s]: exp(−|Δt| / it)")


class ParameterSection(Section):
    """An unknown number of the model."""

    prior: PriorSection
    to: TargetSection
    in_time: InTimeSection | None = Field(None, description="several values in time; one for all times if left out")
    wander: WanderSection | None = Field(None, description="change between windows; none if left out")
    floor: Part = Field(
        0.1, description="least spread after an analysis, in standard deviations of the prior; 0 for none"
    )
    readings: list[str] | None = Field(
        None,
        min_length=1,
        description="fields whose readings the parameter follows, e.g. [Velocity] for a wind; all if left out",
    )


def refusal(parameters: Mapping[str, ParameterSection], case: Any) -> str | None:
    """What of the parameters does not go with each other or with the Case; None if all fits."""
    if parameters and case.ensemble is None:
        return "parameters needs the section ensemble, whose members differ in them"
    options: dict[str, str] = {}
    known = {field_of(name) for name in case.variables}
    for name, section in parameters.items():
        if not _NAME.fullmatch(name):
            return f"parameters: {name!r} is no name; expected letters, digits and _, no digit first"
        option = (section.to.option or "").strip("/")
        if option and (other := options.setdefault(option, name)) != name:
            return f"parameters: {other} and {name} go to the same option, {section.to.option}"
        unknown = [of for of in section.readings or () if of not in known]
        if unknown:
            return (
                f"parameters.{name}.readings: {unknown[0]} is not analysed; the fields are {', '.join(sorted(known))}"
            )
    return None
