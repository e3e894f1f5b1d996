"""A setting that is tried: what the case file's keys for background and observation errors would be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from plugin.case.background import BackgroundSection
from plugin.case.configuration import Case, ConfigurationError
from plugin.case.variables import field_of


@dataclass(frozen=True)
class Setting:
    """B and R of an analysis.

    background : BackgroundSection
    factor : {field: factor on the standard deviations of its readings}
    """

    background: BackgroundSection
    factor: Mapping[str, float]

    @property
    def structure(self) -> str:
        """All of B but its size, for comparison."""
        names = {"transform", "truncation", "local", "localisation", "between", "scaling", "unbiased", "variables"}
        return self.background.model_dump_json(include=names)

    def with_background(self, **changes: Any) -> "Setting":
        """The same with other keys of `background`, its lengths the same in all windows.

        ConfigurationError where they do not go together
        """
        values = {**self.background.model_dump(by_alias=True), "lengths": None, **changes}
        try:
            return replace(self, background=BackgroundSection.model_validate(values))
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(["background", *map(str, problem["loc"])])
            raise ConfigurationError(f"{where}: {problem['msg'].removeprefix('Value error, ')}") from None


def of_case(case: Case, fields: Sequence[str]) -> Setting:
    """The setting that a case has today; fields : of its readings.

    ConfigurationError where the factors on its errors are of components
    """
    assert case.observations is not None
    given = case.observations.error_model.factor
    if not isinstance(given, Mapping):
        return Setting(case.background, dict.fromkeys(fields, float(given)))
    parts = {name for name in given if field_of(name) != name}
    if parts:
        raise ConfigurationError(
            f"observations.error_model.factor: {min(parts)} is a component; plugin.tune chooses factors of whole fields"
        )
    return Setting(case.background, {name: float(given.get(name, 1.0)) for name in fields})


def keys_of(setting: Setting) -> dict[str, Any]:
    """The keys of a case file that a setting stands for, in sections; null switches off what a case may have."""
    background, factors = setting.background, setting.factor
    names = ["transform", "truncation", "inflation", "localisation"]
    names += ["local"] if background.local is not None else []
    names += ["variables"] if background.variables else []
    fixed = {"lengths": None} if background.localisation is None and background.transform != "local" else {}
    values = background.model_dump(mode="json", include=set(names))
    same = len(set(factors.values())) == 1
    factor = next(iter(factors.values())) if same else dict(factors)
    return {
        "background": {name: values[name] for name in names} | fixed,
        "observations": {"error_model": {"factor": factor}},
    }


def tuned(case: Case, setting: Setting) -> Case:
    """The case with a setting's keys, checked as a case file is.

    ConfigurationError where they do not go together with the case's others
    """
    keys = keys_of(setting)
    values = case.model_dump(by_alias=True)
    values["background"] |= {"local": None, "variables": {}, "lengths": None, **keys["background"]}
    observations = values["observations"]
    observations["error_model"] = {**observations["error_model"], **keys["observations"]["error_model"]}
    try:
        return Case.model_validate(values)
    except ValidationError as error:
        raise ConfigurationError(f"the chosen keys do not fit the case: {error.errors()[0]['msg']}") from None
