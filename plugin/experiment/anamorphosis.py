"""States whose variables are analysed by an anamorphosis: standardised again, scored as they were.

Root, logarithm or normal score are those that a case's `background.variables` gives its analyses, with what is left to
the states taken from the training states. A reading is transformed like a state, so its errors, σ_o², are those of the
transformed variable.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from da.background.anamorphosis import Anamorphosis
from plugin.case.anamorphosis import VariableSection, check_names, section_of
from plugin.case.configuration import ConfigurationError
from plugin.experiment.states import StandardisedStates, forward
from plugin.window.background.anamorphosis import SAMPLE, anamorphosis_of

_LEAST = 1e-12  # standard deviation of a value that varies
_BLOCK = 64  # states at a time


def with_anamorphoses(states: StandardisedStates, sections: Mapping[str, VariableSection]) -> StandardisedStates:
    """The states in transformed variables, with `plain` as they are; unchanged where no section is given.

    Raises
    ------
    ConfigurationError
        if a name is of no variable, or a variable's training states give no anamorphosis
    """
    if not sections:
        return states
    try:
        check_names(sections, states.variables)
    except ValueError as error:
        raise ConfigurationError(f"background.{error}") from error
    forms = tuple(_form(states, column, section_of(sections, name)) for column, name in enumerate(states.variables))
    rows = np.zeros_like(states.rows)
    for first in range(0, len(rows), _BLOCK):
        of = slice(first, first + _BLOCK)
        rows[of] = forward(forms, states.restored(states.rows[of].astype(np.float64)))
    mean, scale = np.zeros(states.n), np.zeros(states.n)
    training = rows[: states.n_training]
    for first in range(0, states.n, _BLOCK**2):
        columns = slice(first, first + _BLOCK**2)
        part = training[:, columns].astype(np.float64)
        mean[columns], scale[columns] = part.mean(axis=0), part.std(axis=0)
    # the same values take part; one that varies below its bound alone has no errors to analyse
    takes_part = states.scale != 0.0
    mean = np.where(takes_part, mean, forward(forms, states.mean[None])[0])
    scale = np.where(takes_part, np.where(scale > _LEAST, scale, 1.0), 0.0)
    for first in range(0, len(rows), _BLOCK):
        of = slice(first, first + _BLOCK)
        rows[of] = np.divide(rows[of] - mean, scale, out=np.zeros(rows[of].shape), where=takes_part)
    described = {
        name: None if form is None else form.description for name, form in zip(states.variables, forms, strict=True)
    }
    about = {**states.about, "anamorphosis": described}
    return replace(states, rows=rows, mean=mean, scale=scale, about=about, forms=forms, plain=states)


def _form(states: StandardisedStates, column: int, section: VariableSection | None) -> Anamorphosis | None:
    if section is None:
        return None
    name, width = states.variables[column], len(states.variables)
    values = np.flatnonzero(states.scale.reshape(-1, width)[:, column]) * width + column
    some = values[:: max(1, -(-len(values) * states.n_training // SAMPLE))]
    sample = states.mean[some] + states.scale[some] * states.rows[: states.n_training, some].astype(np.float64)
    try:
        return anamorphosis_of(section, sample)
    except ValueError as error:
        raise ConfigurationError(f"background.variables.{name}: {error}") from error
