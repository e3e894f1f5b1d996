"""The YAML case file: its keys, their types and meanings.

Every key is checked before anything runs; a wrong one is answered with its line and the nearest
right one. `python -m plugin.cycle --schema` prints all this as a JSON schema.
"""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, get_args

import numpy as np
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from plugin.case.analysis import AnalysisSection, GridSection
from plugin.case.background import BackgroundSection
from plugin.case.ensemble import EnsembleSection, refusal
from plugin.case.estimate import EstimateSection
from plugin.case.estimate import refusal as refusal_of_estimate
from plugin.case.experiment import ExperimentSection
from plugin.case.gates import GatesSection
from plugin.case.network import LearnedSection, NetworkSection
from plugin.case.observations import ANALYSIS_TIME, ObservationSection
from plugin.case.parameters import ParameterSection
from plugin.case.parameters import refusal as refusal_of_parameters
from plugin.case.reanalysis import ReanalysisSection
from plugin.case.report import ReportSection
from plugin.case.sections import Positive, Section
from plugin.case.variables import field_of
from plugin.case.yaml_file import YamlError, YamlFile, read_yaml

CYCLE = ("model", "cycle", "observations")  # sections that the cycle needs
DRIVERS = ("fluidity", "openfoam", "embedded", "learned")  # forecast models that need no import

_QUOTED = 200  # characters of a value that a message quotes
_MESSAGES = 20  # that are printed


class ConfigurationError(ValueError):
    """A case file that cannot be used; the message names file, line and key."""


class ModelSection(Section):
    """The forecast model and how to start it."""

    driver: str = Field(
        description="fluidity; openfoam; embedded, the model that comes with this package; learned, dynamics in place "
        "of a model; or package.module:function of your own"
    )
    start: Path = Field(
        description="what the first forecast starts from: an options file (.flml), a checkpoint's or a cold start's; "
        "of openfoam a case folder, at the time that its startFrom means, or CASE/TIME"
    )
    processes: int = Field(1, ge=1, description="MPI processes of the model")
    program: list[str] | None = Field(
        None,
        min_length=1,
        validate_default=True,
        description="the model's command; if left out fluidity, or of openfoam the application of its controlDict",
    )
    launcher: list[str] = Field(
        ["mpirun", "-n", "{n}"], description="words before the program; {n} becomes `processes`"
    )
    timeout: Positive | None = Field(None, description="seconds after which a forecast is stopped")
    silence: Positive | None = Field(
        None, description="seconds without a change of any file of the forecast's, after which it is stopped"
    )
    on_failure: Literal["stop", "background", "half"] = Field(
        "stop",
        description="what follows a forecast that fails: the end of the job, or one more try, from the last forecast "
        "as it was before its analysis (background) or with half of that increment (half)",
    )
    environment: dict[str, str] = Field({}, description="variables the model needs, e.g. PYTHONPATH")
    learned: LearnedSection | None = Field(None, description="needed by driver: learned, and of it alone")

    @model_validator(mode="after")
    def _what_a_learned_driver_runs(self) -> Self:
        if (self.driver == "learned") != (self.learned is not None):
            had = "no section learned" if self.learned is None else f"driver: {self.driver}"
            raise ValueError(f"there is {had}; learned goes with driver: learned, and only with it")
        if self.learned and self.learned.of not in DRIVERS[:-1] and ":" not in self.learned.of:
            raise ValueError(
                f"learned.of: found {self.learned.of!r}; expected fluidity, embedded, or package.module:function"
            )
        return self

    @field_validator("driver")
    @classmethod
    def _known_or_own(cls, value):
        if value not in DRIVERS and ":" not in value:
            names = ", ".join(map(repr, DRIVERS))
            raise ValueError(f"expected one of {names}, or package.module:function of your own")
        return value

    @field_validator("program", mode="before")
    @classmethod
    def _of_the_driver(cls, value, info):
        if value is None and info.data.get("driver") != "openfoam":
            return ["fluidity"]
        return value


class IauSection(Section):
    """Increments given in parts over the first time of the next forecast, which is stopped for each."""

    parts: int = Field(ge=2, description="number of equal parts")
    over: Positive = Field(description="time over which they are given [s]")


class CycleSection(Section):
    """When analyses are made, and how the model goes on from them."""

    window: Positive = Field(description="time between analyses [s]")
    windows: int = Field(ge=1, description="number of windows")
    keep: int | None = Field(
        None,
        ge=1,
        description="every so-many-th window keeps its forecast and restart, of the others only tables and logs stay "
        "once the next one is done; all do if left out",
    )
    iau: IauSection | None = Field(
        None, description="incremental analysis update; the whole increment at once if left out"
    )
    report: bool = Field(False, description="write a page about the run so far, RUN/report.html, after each window")

    @model_validator(mode="after")
    def _parts_within_the_window(self):
        if self.iau is not None and self.iau.over > self.window:
            raise ValueError(f"iau gives parts over {self.iau.over:g} s, longer than the window of {self.window:g} s")
        return self


class MinimiserSection(Section):
    """PETSc TAO; further options pass through PETSC_OPTIONS."""

    method: Literal["lmvm", "blmvm", "bqnls", "gauss_newton"] = Field(
        "lmvm", description="TAO's quasi-Newton method, or Gauss–Newton with conjugate gradients (decoded)"
    )
    max_iterations: int = Field(500, ge=1, description="iterations after which the analysis counts as failed")


class DiagnosticsSection(Section):
    """What is computed of an analysis beside its result; each costs something beside the analysis."""

    influence: bool = Field(
        False,
        description="degrees of freedom for signal, in the ledger; each reading's influence, and its residual in an "
        "analysis without it, as columns of readings.csv",
    )
    posterior: bool = Field(
        False,
        description="standard deviations of background and analysis beside it: posterior.npz on the grid, "
        "posterior.vtu on the mesh",
    )
    stations: bool = Field(False, description="statistics by station, in the ledger; by variable they always are")


class Case(Section):
    """A whole case file. Paths are relative to the file's folder. Each command needs some of the sections only."""

    model: ModelSection | None = Field(None, description="needed by the cycle")
    cycle: CycleSection | None = Field(None, description="needed by the cycle")
    reanalysis: ReanalysisSection | None = Field(None, description="needed by plugin.reanalysis")
    grid: GridSection
    variables: list[str] = Field(
        min_length=1, description="what is analysed: Tracer, Velocity (all components), Velocity.x …"
    )
    background: BackgroundSection
    observations: ObservationSection | None = Field(None, description="needed by all but plugin.train, plugin.modes")
    analysis: AnalysisSection = AnalysisSection()
    ensemble: EnsembleSection | None = Field(None, description="several models side by side; one if left out")
    parameters: dict[str, ParameterSection] = Field(
        {}, description="unknown numbers of the model by name, analysed with the state of an ensemble"
    )
    estimate: EstimateSection = EstimateSection()
    minimiser: MinimiserSection = MinimiserSection()
    gates: GatesSection = GatesSection()
    diagnostics: DiagnosticsSection = DiagnosticsSection()
    network: NetworkSection | None = Field(None, description="an autoencoder on the grid, and how it is trained")
    experiment: ExperimentSection | None = Field(None, description="needed by plugin.experiment")
    report: ReportSection = ReportSection()
    run: Path = Field(Path("run"), description="folder that holds what the cycle writes")
    watchdog: Positive | None = Field(
        None,
        description="seconds after which a rank that has made no progress shows where it is and ends the job; longer "
        "than the longest stage without the model's own time; none if left out",
    )

    @model_validator(mode="after")
    def _what_a_network_goes_with(self):
        transform = self.background.transform
        if self.minimiser.method == "gauss_newton" and transform != "decoded":
            raise ValueError("minimiser.method: gauss_newton goes with background.transform: decoded")
        if not self.background.by_network:
            return self
        if self.network is None:
            raise ValueError(f"background.transform: {transform} needs the section network, with the key file")
        if transform == "bireduced" and self.network.observations is None:
            raise ValueError("background.transform: bireduced needs network.observations, with the key file")
        if self.grid.space == "mesh":
            raise ValueError("a network needs a grid; give grid.shape or grid.spacing in place of space: mesh")
        observations = self.observations
        for section, key, given in (
            ("observations", "bias", observations is not None and observations.bias is not None),
            ("observations", "huber", observations is not None and observations.huber is not None),
            ("diagnostics", "influence", self.diagnostics.influence),
            ("diagnostics", "posterior", self.diagnostics.posterior),
        ):
            if given:
                raise ValueError(f"{section}.{key} goes with background.transform: tsvd, reduced or local")
        return self

    @model_validator(mode="after")
    def _factors_are_of_what_is_analysed(self):
        factor = self.observations.error_model.factor if self.observations else 1.0
        known = {field_of(name) for name in self.variables}
        unknown = [name for name in (factor if isinstance(factor, dict) else ()) if field_of(name) not in known]
        if unknown:
            raise ValueError(
                f"observations.error_model.factor: {unknown[0]} is not analysed; the variables are "
                f"{', '.join(self.variables)}"
            )
        return self

    @model_validator(mode="after")
    def _earlier_readings_need_the_snapshots(self) -> Self:
        lagged = self.observations and self.observations.lagged
        if not lagged:
            return self
        if self.background.transform not in ("tsvd", "reduced"):
            raise ValueError(
                f"observations.window: lagged goes with background.transform: tsvd or reduced, whose modes are made of "
                f"whole snapshots; it is {self.background.transform}"
            )
        window = self.cycle.window if self.cycle else np.inf
        for lag in lagged.lags:
            if lag > window and abs(lag / window - round(lag / window)) > 1e-6:
                raise ValueError(
                    f"observations.lagged.lags: {lag:g} s is longer than a window of {window:g} s and no multiple of "
                    "it; windows before have readings of their ends only"
                )
        return self

    @model_validator(mode="after")
    def _iau_leaves_dumps_in_several_folders(self):
        if self.cycle and self.cycle.iau and self.observations and self.observations.window != ANALYSIS_TIME:
            raise ValueError(f"cycle.iau goes with observations.window: {ANALYSIS_TIME}")
        return self

    @model_validator(mode="after")
    def _what_an_ensemble_goes_with(self) -> Self:
        if self.parameters and self.model and self.model.driver == "learned":
            raise ValueError("parameters: learned dynamics do not depend on them; leave them out, or run the model")
        if problem := refusal(self) or refusal_of_parameters(self.parameters, self) or refusal_of_estimate(self):
            raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _thinning_needs_cells(self):
        thinning = self.observations.quality.thinning if self.observations else None
        if self.grid.space == "mesh" and thinning is not None and thinning.cell is None:
            raise ValueError("with grid: {space: mesh} observations.quality.thinning needs the key cell, its size [m]")
        return self


class CycleCase(Case):
    """A case file with the sections that the cycle needs."""

    model: ModelSection
    cycle: CycleSection
    observations: ObservationSection


class ReanalysisCase(Case):
    """A case file with the sections that a reanalysis needs."""

    reanalysis: ReanalysisSection
    observations: ObservationSection


def read_case(path: str | Path, needed: Sequence[str] = CYCLE) -> Case:
    """Read and check a case file.

    needed : sections that must be there

    Returns
    -------
    Case, its paths made absolute

    Raises
    ------
    ConfigurationError
        naming every wrong key with its line
    """
    path = Path(path)
    try:
        file = read_yaml(path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from None
    except YamlError as error:
        line = f", line {error.line}" if error.line else ""
        raise ConfigurationError(f"{path}{line}: {error}") from None
    values = file.values
    if not isinstance(values, dict):
        raise ConfigurationError(f"{path}: expected keys and values, e.g. 'model:', found {type(values).__name__}")
    wrong = [f"line {file.line(())}: {name}: this key is missing" for name in needed if values.get(name) is None]
    try:
        case = Case.model_validate(values)
    except ValidationError as errors:
        wrong += [_explain(error, file) for error in errors.errors()]
    if wrong:
        more = [f"and {len(wrong) - _MESSAGES} more"] if len(wrong) > _MESSAGES else []
        raise ConfigurationError("\n".join([f"{path}, {text}" for text in wrong[:_MESSAGES]] + more))
    lagged = case.observations and case.observations.lagged
    if "cycle" in needed and lagged and min(lagged.lags) < 0.0:
        raise ConfigurationError(
            f"{path}, observations.lagged.lags: {min(lagged.lags):g} s, that is after the analysis, and a cycle does "
            "not have such readings yet; give positive ones, or analyse an archive by plugin.reanalysis"
        )
    return _absolute(case, path.resolve().parent)


def read_cycle_case(path: Path) -> CycleCase:
    """As `read_case`, with the sections that the cycle needs."""
    case = read_case(path)
    return CycleCase.model_construct(case.model_fields_set, **dict(case))


def read_reanalysis_case(path: Path) -> ReanalysisCase:
    """As `read_case`, with the sections that a reanalysis needs."""
    case = read_case(path, needed=("reanalysis", "observations"))
    return ReanalysisCase.model_construct(case.model_fields_set, **dict(case))


def _absolute(value, base):
    """The same settings with every path made absolute."""
    if isinstance(value, Path):
        return value if value.is_absolute() else base / value
    if isinstance(value, BaseModel):
        parts = {name: _absolute(getattr(value, name), base) for name in type(value).model_fields}
        # what stays is not counted among what the case gives
        return value.model_copy(update={name: of for name, of in parts.items() if of != getattr(value, name)})
    if isinstance(value, list):
        return [_absolute(item, base) for item in value]
    if isinstance(value, dict):
        return {name: _absolute(item, base) for name, item in value.items()}
    return value


def _explain(error: ErrorDetails, file: YamlFile) -> str:
    location = error["loc"]
    key = ".".join(str(part) for part in location)
    where = f"line {file.line(location)}: {key}"
    if error["type"] == "extra_forbidden":
        known = _keys_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        advice = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
        return f"{where}: unknown key; {advice}"
    if error["type"] == "missing":
        return f"{where}: this key is missing"
    problem = re.sub("^Value error, ", "", error["msg"])
    if error["type"] in ("string_type", "path_type") and 0 < len(word := file.word(location)) <= _QUOTED:
        problem = f'expected a text, write it in quotes: "{word}"'
    if error["type"] == "value_error" and isinstance(error["input"], dict):  # of keys that do not go together
        return f"{where}: {problem}" if key else f"line {file.line(location)}: {problem}"
    return f"{where}: found {_short(error['input'])}; {problem}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _QUOTED else f"{text[:_QUOTED]}…"


def _keys_at(location):
    """The keys a section knows, gathered by walking the model's annotations."""
    section = Case
    for part in location:
        if part not in section.model_fields:  # a number in a list, or a name of the user's
            continue
        section = _section_in(section.model_fields[part].annotation) or section
    return [field.alias or name for name, field in section.model_fields.items()]


def _section_in(annotation):
    """The section that an annotation such as `list[SeriesSection] | None` is about, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
