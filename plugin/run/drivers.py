"""Forecast models by the name that a case file gives: those of this package, and a user's own."""

import importlib
from typing import Any

from coupling.fluidity.driver import FluidityModel, embedded_model
from coupling.openfoam.driver import OpenFoamModel
from coupling.openfoam.simulation import OPENFOAM
from coupling.simulation.forecast import ForecastModel
from coupling.simulation.simulation import Simulation
from plugin.case.configuration import ConfigurationError, ModelSection

OF_THEIR_OWN = (OPENFOAM,)  # whose states are neither VTU nor VTKHDF, wherever a case or a command names them
_MAKERS = {"fluidity": FluidityModel, "openfoam": OpenFoamModel}


def forecast_model(settings: ModelSection) -> ForecastModel:
    """The driver that a case file's `model` section asks for.

    `package.module:function` is called with the section's program, processes, launcher, timeout, silence and
    environment as keywords; it gives a :class:`coupling.simulation.forecast.ForecastModel`.

    Raises
    ------
    ConfigurationError
        if a user's own cannot be imported, or is no model
    """
    common: dict[str, Any] = {
        "processes": settings.processes,
        "launcher": tuple(settings.launcher),
        "timeout": settings.timeout,
        "silence": settings.silence,
        "environment": dict(settings.environment),
    }
    if settings.driver == "embedded":
        return embedded_model(**common)
    if settings.learned is not None:
        from plugin.run.learned.driver import learned_model  # only now, as it needs torch

        of = settings.model_copy(update={"driver": settings.learned.of, "learned": None})
        return learned_model(settings.learned, simulation_of(of))
    make: Any = _MAKERS.get(settings.driver) or _own(settings.driver)
    model = make(program=tuple(settings.program or ()), **common)
    if not callable(getattr(model, "run", None)):
        raise ConfigurationError(
            f"model.driver: {settings.driver} gives {type(model).__name__}, expected a forecast model with a method run"
        )
    if not isinstance(getattr(model, "simulation", None), Simulation):
        raise ConfigurationError(
            f"model.driver: {settings.driver} gives {type(model).__name__} without an attribute simulation that is a "
            "Simulation; if its restarts are Fluidity's: from coupling.fluidity.simulation import FLUIDITY"
        )
    return model


def simulation_of(settings: ModelSection) -> Simulation:
    """Whose restarts the driver takes and leaves that a case file's `model` section asks for.

    ConfigurationError as `forecast_model`
    """
    return forecast_model(settings).simulation


def _own(name):
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"model.driver: {name} cannot be imported: {error}; expected package.module:function, on PYTHONPATH"
        ) from error
