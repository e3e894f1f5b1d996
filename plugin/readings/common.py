"""What the readers of readings share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from da.observation.observations import Observations
from plugin.readings.units import Conversion, UnitError, conversion

SPEED = "speed"  # Velocity.speed is |Velocity|


class ReadingsError(ValueError):
    """A file of readings that cannot be used; the message names file and line."""


def _nothing(variable: str) -> None:
    pass


@dataclass(frozen=True)
class Choice:
    """What a file of readings leaves open.

    variables : names that are wanted, as in the case file; None takes all that the file has
    names : {name in the file: variable of the case}
    errors : {variable or its field: standard deviation} where the file gives none, in the field's units
    epoch : date of the simulation's time zero, for files that have dates
    units : {variable or its field: unit} in which the model has it; velocities are in m s-1 where nothing is given
    left_out : called with the variable of each row of a table that is not wanted. Files whose columns are the model's
        own have many more than a case analyses, and of these nothing is said
    """

    variables: tuple[str, ...] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    epoch: datetime | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    left_out: Callable[[str], None] = _nothing

    def wants(self, variable: str) -> bool:
        """Whether a variable is asked for, by itself, as a part of its field, or as a speed of an asked component."""
        if self.variables is None:
            return True
        of, dot, part = variable.rpartition(".")
        if part == SPEED and any(name.rpartition(".")[0] == of for name in self.variables):
            return True
        return variable in self.variables or bool(dot) and of in self.variables

    def to_model(self, variable: str, unit: str, where: str) -> Conversion:
        """From a file's unit of a variable to the model's; none, or "1", is taken for the model's own.

        ReadingsError if there is no conversion, or the model's unit is not given; `where` names the place in the file
        """
        of = variable.rpartition(".")[0]
        own = self.units.get(variable, self.units.get(of))
        if own is None and (of or variable).rpartition("::")[2] == "Velocity":
            own = "m s-1"
        if not unit or (own is None and unit == "1"):
            return Conversion(1.0, 0.0)
        if own is None:
            raise ReadingsError(
                f"{where}: {variable} is in {unit!r}, and which unit it has in the model is not known; give it in the "
                f"case file (observations: units: {{{variable}: {unit}}})"
            )
        try:
            return conversion(unit, own)
        except UnitError as error:
            raise ReadingsError(
                f"{where}: {variable} is in {unit!r}, expected {own!r} or what converts to it: {error}"
            ) from None

    def error_of(self, variable: str, where: str) -> float:
        """The standard deviation that `errors` gives.

        ReadingsError if it gives none, or none that is positive; `where` names the place in the file
        """
        error = self.errors.get(variable, self.errors.get(variable.rpartition(".")[0]))
        if error is None:
            raise ReadingsError(
                f"{where}: no error is given for {variable!r}, expected a standard deviation in the file, or in the "
                f"case file: errors: {{{variable}: …}}"
            )
        error = float(error)
        if not (np.isfinite(error) and error > 0.0):
            raise ReadingsError(f"{where}: error {error!r} of {variable!r}, expected a standard deviation above zero")
        return error


NO_CHOICE = Choice()  # of a file that leaves nothing open


def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> Observations:
    """Observations of parts, each a dict of arrays by name, in their order."""
    if not parts:
        return Observations(np.zeros(0), np.zeros((0, 3)), np.zeros(0, str), np.zeros(0), np.zeros(0))
    names = ("time", "position", "variable", "value", "error", "station", "instrument")
    return Observations(**{name: np.concatenate([part[name] for part in parts]) for name in names})
