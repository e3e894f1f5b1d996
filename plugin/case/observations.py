"""The case file's `observations`: keys, types and meanings. What is left out changes nothing."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import Field, field_validator, model_validator

from plugin.case.dates import parse_date
from plugin.case.sections import Part, Positive, Section

Kind = Literal["exponential", "soar", "gaspari-cohn"]
ANALYSIS_TIME: Final = "analysis time"
LAGGED: Final = "lagged"


class DuplicateSection(Section):
    """How near readings of a variable and station are that count as one."""

    seconds: Annotated[float, Field(ge=0)] = Field(0.0, description="in time [s]")
    distance: Annotated[float, Field(ge=0)] = Field(0.0, description="in each direction [m]")


class StuckSection(Section):
    """When a sensor counts as stuck: a run of equal readings, also of earlier windows."""

    readings: int = Field(6, ge=2, description="readings one after another that make a run")
    tolerance: Annotated[float, Field(ge=0)] = Field(0.0, description="by which they may differ, in the field's units")
    still: float | None = Field(None, description="a value that may last, e.g. 0 for a concentration")


class BuddySection(Section):
    """Each reading against what its neighbours make of it."""

    length: Positive = Field(description="correlation length of the background's errors [m]")
    limit: Positive = Field(3.0, description="standard deviations that are too many")
    correlation: Kind = Field("soar", description="shape of the correlation")


class ThinningSection(Section):
    """Fewer readings where there are more than the grid can resolve."""

    method: Literal["thin", "superob"] = Field("superob", description="keep the most accurate, or average")
    cell: Positive | tuple[Positive, Positive, Positive] | None = Field(
        None, description="size of the cells [m]; the grid's spacing if left out"
    )
    shared: Part = Field(0.0, description="correlation of the errors of two readings in a cell (superob)")


class QualitySection(Section):
    """Which readings are left out. A check that is not named is not made."""

    range: dict[str, tuple[float, float]] = Field({}, description="lowest and highest value by variable")
    duplicates: DuplicateSection | None = Field(None, description="keep the most accurate of readings that repeat it")
    stuck: StuckSection | None = Field(None, description="sensors whose readings do not change")
    background: Positive | None = Field(None, description="k of |d| > k √(σ_b² + σ_o²)")
    buddy: BuddySection | None = Field(None, description="readings that their neighbours contradict")
    thinning: ThinningSection | None = Field(None, description="at most one reading of a variable for each cell")

    @field_validator("range")
    @classmethod
    def _low_before_high(cls, value):
        for name, (low, high) in value.items():
            if not low <= high:
                raise ValueError(f"range of {name} from {low:g} to {high:g}, expected the lower limit first")
        return value


class CorrelationSection(Section):
    """Errors of readings of one variable that are correlated in space."""

    length: Positive = Field(description="correlation length [m]")
    kind: Kind = Field("soar", description="shape of the correlation")
    nugget: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="part of the variance that is a reading's own")


class ErrorSection(Section):
    """Covariance R of the readings' errors; diagonal, from the readings themselves, if left out."""

    instruments: dict[str, Positive | dict[str, Positive]] = Field(
        {}, description="standard deviation by instrument, or by instrument and variable; wins over the readings' own"
    )
    correlation: CorrelationSection | None = Field(None, description="correlated in space, a block for each variable")
    matrix: Path | None = Field(
        None, description="R itself (.npy): a row for each reading of a window, in the order of the readings' file"
    )

    factor: Positive | dict[str, Positive] = Field(
        1.0,
        description="factor on the standard deviations, one for all or {variable: factor}: for what the grid does not "
        "resolve and a reading's own error does not have in it; plugin.tune chooses it",
    )

    @model_validator(mode="after")
    def _one_of_two(self):
        if self.correlation is not None and self.matrix is not None:
            raise ValueError("give either correlation or matrix")
        return self


class BiasSection(Section):
    """Biases of stations, found together with the analysis (variational bias correction) and carried on."""

    std: dict[str, Positive] = Field(
        min_length=1, description="standard deviation of a station's bias by variable; the others have none"
    )


class LaggedSection(Section):
    """Readings of the same sensors at other times, with covariances of snapshots that lie as far apart in time."""

    lags: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = Field(
        min_length=1,
        description="how long before the analysis the readings are [s], negative for those after it, in a reanalysis; "
        "snapshots must be as far apart",
    )
    time_scale: Positive | None = Field(
        None,
        description="T of exp(−δ²/2T²), by which covariances over a time δ fall [s]; twice the longest lag if left out",
    )

    @property
    def scale(self) -> float:
        """T [s]."""
        return 2.0 * max(map(abs, self.lags)) if self.time_scale is None else self.time_scale

    @field_validator("lags")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(value) or len(set(value)) < len(value):
            raise ValueError(f"lags {', '.join(f'{lag:g}' for lag in value)}, expected each once and none of zero")
        return tuple(sorted(value))


class ObservationSection(Section):
    """Sensor readings."""

    file: Path = Field(
        description="CSV with columns time, x, y, z, variable, value, error (station, instrument); NetCDF; .detectors"
    )
    tolerance: Positive | None = Field(
        None, description="readings this far from the analysis time are used [s]; half a time step if left out"
    )
    window: Literal["analysis time", "nearest", "interpolate", "lagged"] = Field(
        ANALYSIS_TIME,
        description="readings near the analysis time; or all since the last one, each against the dump nearest in time "
        "or values interpolated between dumps (FGAT); or those near the analysis time and of other times (lagged)",
    )
    lagged: LaggedSection | None = Field(None, description="the readings of other times of window: lagged")
    names: dict[str, str] = Field({}, description="variables of the case by their names in the file")
    errors: dict[str, Positive] = Field({}, description="standard deviations by variable, where the file gives none")
    units: dict[str, str] = Field(
        {}, description="unit of each variable in the model, where a file of readings names units; m s-1 for Velocity"
    )
    epoch: datetime | None = Field(None, description="date of the simulation's time zero, for files with dates")
    quality: QualitySection = Field(QualitySection(), description="checks; none if left out")
    error_model: ErrorSection = Field(ErrorSection(), description="covariance of the errors; diagonal if left out")
    huber: Positive | tuple[Positive, Positive] | None = Field(
        None, description="limits of Huber's norm in standard deviations, one or below and above; quadratic if left out"
    )
    outer_loops: int = Field(
        10, ge=1, description="at most so many linearisations of H where speeds are read, or of an anamorphosis"
    )
    bias: BiasSection | None = Field(None, description="biases of stations; none if left out")
    withheld: tuple[str, ...] = Field(
        (), description="stations that no analysis uses: their residuals show whether it is better where no sensor is"
    )

    @field_validator("epoch", mode="before")
    @classmethod
    def _a_date(cls, value: Any) -> Any:
        # a number is a date as 20200131 is, and not seconds since 1970
        return value if value is None or isinstance(value, datetime) else parse_date(value)

    @model_validator(mode="after")
    def _what_goes_together(self):
        thinning = self.quality.thinning
        if self.error_model.matrix and thinning and thinning.method == "superob":
            raise ValueError("error_model's matrix is of readings, not of averages; use thinning's method: thin")
        if self.tolerance is not None and self.window not in (ANALYSIS_TIME, LAGGED):
            raise ValueError("tolerance goes with window: analysis time or lagged")
        return self

    @model_validator(mode="after")
    def _what_earlier_readings_go_with(self) -> Self:
        if (self.lagged is not None) != (self.window == LAGGED):
            raise ValueError("window: lagged needs the section lagged, and only it has one")
        if self.lagged is None:
            return self
        least = float(np.min(np.diff(sorted([0.0, *self.lagged.lags]))))
        if self.tolerance is not None and 2.0 * self.tolerance > least:
            raise ValueError(
                f"tolerance is {self.tolerance:g} s, but lags are {least:g} s apart; give half of that at most"
            )
        thinning = self.quality.thinning
        for key, given in (
            ("bias", self.bias is not None),
            ("error_model's matrix", self.error_model.matrix is not None),
            ("error_model's correlation", self.error_model.correlation is not None),
            ("thinning's method: superob", thinning is not None and thinning.method == "superob"),
        ):
            if given:
                raise ValueError(f"{key} does not go with window: lagged; leave one of them out")
        return self
