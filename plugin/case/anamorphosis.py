"""The case file's `background.variables`: variables that are analysed by an anamorphosis."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from plugin.case.sections import Positive, Section
from plugin.case.variables import is_of


class VariableSection(Section):
    """How a variable is analysed."""

    anamorphosis: Literal["sqrt", "log", "quantile"] = Field(
        description="the analysis happens in the root, the logarithm, or the Gaussian quantile of the rank among the "
        "snapshots' values, and never goes below `lower`"
    )
    lower: float | None = Field(
        0.0, allow_inf_nan=False, description="lowest possible value, in the variable's units; null for none (quantile)"
    )
    offset: Positive | None = Field(
        None,
        description="added before the root or the logarithm; least distance of values with different ranks (quantile); "
        "in the variable's units, a thousandth of the snapshots' standard deviation if left out",
    )

    @model_validator(mode="after")
    def _a_bound(self) -> Self:
        if self.lower is None and self.anamorphosis != "quantile":
            raise ValueError(f"lower: null goes with anamorphosis: quantile; {self.anamorphosis} begins at a number")
        return self


def section_of(sections: Mapping[str, VariableSection], variable: str) -> VariableSection | None:
    """That of a variable, by its own name or by its field's; None where there is none."""
    named = [of for name, of in sections.items() if is_of(variable, name)]
    return sections.get(variable, named[0] if named else None)


def check_names(sections: Mapping[str, VariableSection], variables: Sequence[str]) -> None:
    """ValueError if one is of no variable."""
    unknown = [name for name in sections if not any(is_of(variable, name) for variable in variables)]
    if unknown:
        raise ValueError(f"variables: {unknown[0]} is not analysed; the variables are {', '.join(variables)}")
