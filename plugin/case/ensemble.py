"""The case file's `ensemble`: how many members, how they differ at the start, and how their spread is kept."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from plugin.case.sections import Part, Positive, Section

Method = Literal["3dvar", "etkf", "letkf", "4denvar", "hybrid", "latent"]


class HybridSection(Section):
    """Weights of the covariances in a hybrid analysis."""

    static: Annotated[float, Field(ge=0)] = Field(0.5, description="of the background's modes, from earlier states")
    ensemble: Annotated[float, Field(ge=0)] = Field(0.5, description="of the members")


class StartSection(Section):
    """How the members differ at the start of a run."""

    source: Literal["modes", "states", "restart"] = Field(
        "modes",
        alias="from",
        description="draws from the background's modes around the start; earlier states of background.snapshots; or "
        "all the same start (restart), where parameters make them differ",
    )
    factor: Positive = Field(1.0, description="factor on the standard deviation of the draws from modes")


class InflationSection(Section):
    """How the members' spread is kept from collapsing."""

    factor: float = Field(1.0, ge=1, description="factor on the members' anomalies after each analysis")
    rtps: Part = Field(
        0.0, description="part of the spread before an analysis that is given back (Whitaker & Hamill 2012)"
    )
    adaptive: bool = Field(
        False,
        description="a factor on the forecasts' anomalies for each field, which follows the innovations (Miyoshi 2011)",
    )


class EnsembleSection(Section):
    """A cycle of several models side by side, whose spread is the background error."""

    members: int = Field(ge=2, description="number of models; one more costs one model run more in each window")
    at_once: int | None = Field(
        None,
        ge=1,
        description="models that run at the same time, each started by ranks of the plugin of its own; one for each "
        "rank if left out",
    )
    start: StartSection = StartSection()
    seed: int = Field(1, ge=0, description="of all random draws; the same seed gives the same run")
    failures: int = Field(
        0,
        ge=0,
        description="members that may be replaced by a draw over the whole run; one that fails is run again from its "
        "background first",
    )
    inflation: InflationSection = InflationSection()
    smoother: bool = Field(
        False, description="update the members' earlier dumps of the window as well; their mean and spread are kept"
    )

    @model_validator(mode="after")
    def _no_more_at_once_than_there_are(self) -> Self:
        if self.at_once is not None and self.at_once > self.members:
            raise ValueError(f"at_once is {self.at_once}, more than the {self.members} members")
        return self


def refusal(case: Any) -> str | None:
    """What of a Case does not go with its `ensemble`, or with its `analysis.method`; None if all fits."""
    ensemble, method, observations = case.ensemble, case.analysis.method, case.observations
    if not case.background.snapshots:
        missing = "background.snapshots: this key is missing"
        if ensemble is None:
            return missing
        if ensemble.start.source != "restart" or case.background.variables or method == "hybrid":
            return f"{missing}; only members that start alike (ensemble.start: {{from: restart}}) do without"
    if ensemble is None:
        if method not in (None, "3dvar"):
            return f"analysis.method: {method} needs the section ensemble"
        if case.analysis.hybrid is not None:
            return "analysis.hybrid: needs the section ensemble"
        return None
    if method == "3dvar":
        return "analysis.method: 3dvar has one model run; with an ensemble it is etkf, letkf, 4denvar, hybrid or latent"
    if ensemble.start.source == "restart" and not case.parameters:
        return (
            "ensemble.start: members that start alike (from: restart) stay alike without the section parameters; add "
            "it, or take them from modes or states"
        )
    background, localisation = case.background, case.background.localisation
    if method == "letkf" and localisation is None:
        return "analysis.method: letkf needs background.localisation, how far readings reach; without it take etkf"
    if method in ("etkf", "latent") or (method is None and localisation is None):
        for key, given in (("localisation", localisation), ("between", background.between)):
            if given is not None:
                of = "an etkf" if method != "latent" else "a latent analysis"
                return f"background.{key}: in {of} all readings reach everything; leave it out, or take letkf"
    if method == "latent" and (problem := _network_problem(case)):
        return f"analysis.method: latent {problem}"
    if method == "latent" and ensemble.smoother:
        return "ensemble.smoother: goes with a linear update; leave it out, or take another method than latent"
    if method in (None, "letkf") and localisation is not None and (correlated := _correlated(observations)):
        return (
            f"observations.error_model.{correlated}: letkf makes each reading's own error larger with distance, which "
            "has no meaning for errors that are correlated; take 4denvar, whose localisation is of the members, or etkf"
        )
    if case.analysis.hybrid is not None and method != "hybrid":
        return f"analysis.hybrid: goes with analysis.method: hybrid, not {method}"
    if localisation is not None and localisation.modes:
        return "background.localisation.modes: members have no leading modes; leave it out"
    for key, given in (
        ("background.transform: " + case.background.transform, case.background.by_network),
        ("analysis.guard", "guard" in case.analysis.model_fields_set and case.analysis.guard != "off"),
        ("cycle.iau", case.cycle is not None and case.cycle.iau is not None),
        ("diagnostics.influence", case.diagnostics.influence),
        ("diagnostics.posterior", case.diagnostics.posterior),
        ("observations.bias", observations is not None and observations.bias is not None),
        ("observations.huber", observations is not None and observations.huber is not None),
        ("observations.window: lagged", observations is not None and observations.lagged is not None),
    ):
        if given:
            return f"{key} is of a cycle with one model run; leave it out, or leave the section ensemble out"
    return None


def _correlated(observations: Any) -> str | None:
    """The key by which errors of readings are correlated; None where they are independent."""
    if observations is None:
        return None
    model = observations.error_model
    return next((key for key in ("correlation", "matrix") if getattr(model, key) is not None), None)


def _network_problem(case: Any) -> str | None:
    """Why members of a Case cannot be analysed through a network; None if they can."""
    if case.network is None:
        return "needs the section network, with the key file"
    if case.grid.space == "mesh":
        return "needs a grid, on which networks are; give grid.shape or grid.spacing in place of space: mesh"
    if case.background.variables:
        return "does not go with background.variables: networks are trained on variables as they are"
    return None
