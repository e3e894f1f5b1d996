"""What the readers of readings share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np

from da.observation.observations import Observations

SPEED = "speed"  # Velocity.speed is |Velocity|


class ReadingsError(ValueError):
    """A file of readings that cannot be used; the message names file and line."""


@dataclass(frozen=True)
class Choice:
    """What a file of readings leaves open.

    variables : names that are wanted, as in the case file; None takes all that the file has. Files whose columns
        are the model's own have many more than a case analyses; a CSV file's rows are always all wanted
    names : {name in the file: variable of the case}
    errors : {variable or its field: standard deviation} where the file gives none, in the field's units
    epoch : date of the simulation's time zero, for files that tell dates
    """

    variables: tuple[str, ...] | None = None
    names: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, float] = field(default_factory=dict)
    epoch: datetime | None = None

    def wants(self, variable):
        """Whether a variable is asked for, by itself, as a part of its field, or as a speed of an asked component."""
        if self.variables is None:
            return True
        of, dot, part = variable.rpartition(".")
        if part == SPEED and any(name.rpartition(".")[0] == of for name in self.variables):
            return True
        return variable in self.variables or bool(dot) and of in self.variables

    def error_of(self, variable, where):
        """The standard deviation that `errors` gives.

        ReadingsError if it gives none, or none that is positive; `where` names the place in the file
        """
        found = self.errors.get(variable, self.errors.get(variable.rpartition(".")[0]))
        if found is None:
            raise ReadingsError(
                f"{where}: no error is given for {variable!r}, expected a standard deviation in the file, or in the "
                f"case file: errors: {{{variable}: …}}"
            )
        if not (np.isfinite(found) and found > 0.0):
            raise ReadingsError(f"{where}: error {found!r} of {variable!r}, expected a standard deviation above zero")
        return float(found)


def joined(parts):
    """Observations of parts, each a dict of arrays by name, in their order."""
    if not parts:
        return Observations([], [], [], [], [])
    names = ("time", "position", "variable", "value", "error", "station", "instrument")
    return Observations(**{name: np.concatenate([part[name] for part in parts]) for name in names})
