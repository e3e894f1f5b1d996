"""The folds as analyses of transformed variables have them (`background.variables`)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from mpi4py import MPI

from da.background.anamorphosis import transform
from plugin.case.background import BackgroundSection
from plugin.case.configuration import ConfigurationError
from plugin.tune.fold_sample import FoldSample
from plugin.tune.folds import Fold
from plugin.tune.nonlinear import RowFunctions
from plugin.tune.states import TuningStates
from plugin.window.background.anamorphosis import check_variables, make_anamorphoses

_MOST = 500  # rows of H that each state may have a matrix of


@dataclass(frozen=True)
class Transformed:
    """Folds of transformed states.

    samples : a FoldSample of each, whose roots are of transformed values
    at_scored, at_sensors : RowFunctions of this rank's scored rows and of H's
    scored, read : for each fold the backgrounds of its withheld states at these, (k_local, n) and (M, n)
    truth : for each fold (k_local, n) of the withheld states; all in the variables' units
    """

    samples: list[FoldSample]
    at_scored: RowFunctions
    at_sensors: RowFunctions
    scored: list[np.ndarray]
    read: list[np.ndarray]
    truth: list[np.ndarray]


def transformed(
    states: TuningStates, folds: Sequence[Fold], settings: BackgroundSection, comm: MPI.Comm
) -> Transformed:
    """The folds in the variables of `settings.variables`. Collective.

    ConfigurationError if the states give no anamorphosis, or there are too many readings
    """
    transfer, network = states.transfer, states.network
    check_variables(settings, transfer)
    if len(network.variable) > _MOST:
        raise ConfigurationError(
            f"background.variables: {len(network.variable)} readings; plugin.tune analyses transformed variables with "
            f"at most {_MOST}; use fewer (thinning)"
        )
    made = make_anamorphoses(settings, transfer, states.rows)
    names = [v.name for v in transfer.variables]
    forms = [made.get(name) for name in names]
    rows = states.rows.copy()
    transform(rows, forms)
    changed = replace(states, rows=rows)
    number = np.array([names.index(name) for name in network.variable.tolist()], int)
    scored = states.rows[states.scored]

    def before(values: np.ndarray, fold: Fold) -> np.ndarray:
        if fold.before is not None:
            return values[:, fold.before]
        return np.repeat(values[:, fold.training].mean(axis=1, keepdims=True), len(fold.withheld), axis=1)

    return Transformed(
        [FoldSample(changed, fold, settings, comm) for fold in folds],
        RowFunctions(forms, states.scored % len(names)),
        RowFunctions(forms, number),
        [before(scored, fold) for fold in folds],
        [before(states.read, fold) for fold in folds],
        [scored[:, fold.withheld] for fold in folds],
    )
