"""Errors of the analyses of withheld states, for one B and many sizes of it at once.

    δx = C Hᵀ (H C Hᵀ + w R)⁻¹ d

with the localised C of `da.background.localisation` at the rows that are scored alone. With R = L Lᵀ and
L⁻¹ H C Hᵀ L⁻ᵀ = Q Λ Qᵀ the analyses of every w follow from one product, and their errors from scalar products of its
columns. Only the ratio w of the sizes of R and B changes an increment. Where a variable has an anamorphosis each w has
minima of its own (:mod:`plugin.tune.nonlinear`), and errors are those of the variable.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from mpi4py import MPI
from scipy.linalg import eigh, solve_triangular

from da.background.localisation import Taper, representer_root
from plugin.case.background import BackgroundSection
from plugin.tune.fold_sample import FoldSample
from plugin.tune.folds import Fold
from plugin.tune.nonlinear import minima
from plugin.tune.setting import Setting
from plugin.tune.states import TuningStates
from plugin.tune.transformed import Transformed, transformed
from plugin.window.background.localisation import make_taper

_ERRORS = 24  # stream of random numbers
_BLOCK = 1 << 18  # covariances computed at once, 2 MiB stay in the processor's cache
_MOST = 1 << 26  # that are kept, half a GiB


@dataclass(frozen=True)
class Scores:
    """Errors ‖x_a − x_t‖ / ‖x_t − x̄‖, means over the withheld states of each fold.

    everywhere : (folds, fields)
    far : (folds, fields), at the half of the places that is farther from all sensors
    """

    everywhere: np.ndarray
    far: np.ndarray

    @property
    def by_fold(self) -> np.ndarray:
        """(folds,) mean over the fields, at all places."""
        return self.everywhere.mean(axis=1)

    @property
    def mean(self) -> float:
        """What is least for the chosen setting."""
        return float(self.by_fold.mean())

    @property
    def std(self) -> float:
        """Standard deviation over the folds."""
        return float(self.by_fold.std(ddof=1))


class Judge:
    """Scores settings by the folds' withheld states.

    states : TuningStates
    folds : Folds of them
    settings : BackgroundSection of the case, for scaling and what is not tuned
    noise : factor on the standard deviations of the errors that readings of withheld states are given
    comm : MPI communicator
    """

    def __init__(
        self,
        states: TuningStates,
        folds: Sequence[Fold],
        settings: BackgroundSection,
        noise: float,
        comm: MPI.Comm,
    ) -> None:
        self._states, self._folds, self._comm = states, folds, comm
        self._changed: dict[str, Transformed] = {}
        self._kept: dict[str, tuple[list[np.ndarray], list[np.ndarray]]] = {}
        self._distances: dict[str, tuple[bytes, list[tuple[slice, np.ndarray, np.ndarray]]]] = {}
        self._samples = [FoldSample(states, fold, settings, comm) for fold in folds]
        self._readings = [
            sample.innovation + noise * errors(states.network.covariance, fold.withheld)
            for sample, fold in zip(self._samples, folds, strict=True)
        ]
        numbers, v = states.field_of_row, len(states.fields)
        self._groups = [numbers == f for f in range(v)] + [(numbers == f) & states.far for f in range(v)]
        self._sizes = [self._squares(sample.size) for sample in self._samples]
        self._truths = [self._squares(sample.truth) for sample in self._samples]

    def without_analysis(self) -> Scores:
        """Errors of the backgrounds."""
        return self._scores([np.sqrt(t / s) for t, s in zip(self._truths, self._sizes, strict=True)])

    def scores(self, setting: Setting) -> Scores:
        """Errors with a setting. Collective."""
        relative = np.array([setting.factor[name] for name in self._states.network.field])
        return self.of_ratios(setting, relative, np.array([1.0 / setting.background.inflation]))[0]

    def of_ratios(self, setting: Setting, relative: np.ndarray, ratios: np.ndarray) -> list[Scores]:
        """Errors with one B, of inflation one, for several sizes of R. Collective.

        setting : Setting, whose factors and inflation do not count
        relative : (M,) factors on the standard deviations of the rows of H
        ratios : (k,) further factors on all of them
        """
        covariance = relative[:, None] * self._states.network.covariance * relative
        root, of = np.linalg.cholesky(covariance), self._transformed(setting.background)
        by_fold = [
            self._errors(number, scored, observed, root, ratios)
            if of is None
            else self._transformed_errors(of, number, scored, observed, covariance, ratios)
            for number, (scored, observed) in enumerate(self._covariances(setting.background))
        ]
        return [self._scores([errors[k] for errors in by_fold]) for k in range(len(ratios))]

    def increments(self, setting: Setting) -> list[np.ndarray]:
        """For each fold the increments of its withheld states at this rank's scored rows. Collective.

        Those of a variable with an anamorphosis are of the transformed variable.
        """
        factor = np.array([setting.factor[name] for name in self._states.network.field])
        covariance = factor[:, None] * self._states.network.covariance * factor / setting.background.inflation**2
        root, of = np.linalg.cholesky(covariance), self._transformed(setting.background)
        made = []
        for number, (scored, observed) in enumerate(self._covariances(setting.background)):
            if of is not None:
                given = of.read[number], self._readings[number], of.at_sensors
                made.append(scored @ minima(observed, covariance, *given))
                continue
            projection, values, whitened = _spectrum(observed, root, self._readings[number])
            made.append(scored @ (projection @ (whitened / (values + 1.0)[:, None])))
        return made

    def _errors(
        self, number: int, scored: np.ndarray, observed: np.ndarray, root: np.ndarray, ratios: np.ndarray
    ) -> list[np.ndarray]:
        """For each ratio (groups, n) relative errors of one fold's withheld states."""
        projection, values, whitened = _spectrum(observed, root, self._readings[number])
        basis, truth = scored @ projection, self._samples[number].truth
        products = self._comm.allreduce(np.array([basis[of].T @ basis[of] for of in self._groups]))
        with_truth = self._comm.allreduce(np.array([basis[of].T @ truth[of] for of in self._groups]))
        made = []
        for ratio in ratios:
            weight = whitened / (values + ratio**2)[:, None]
            square = np.einsum("gmn,mn->gn", products @ weight - 2.0 * with_truth, weight) + self._truths[number]
            made.append(np.sqrt(np.maximum(square, 0.0) / self._sizes[number]))
        return made

    def _transformed(self, settings: BackgroundSection) -> Transformed | None:
        """The folds in transformed variables, the last of them kept; None where no variable has one. Collective."""
        if not settings.variables:
            return None
        key = settings.model_dump_json(include={"variables"})
        if key not in self._changed:
            self._changed.clear()  # states are as large as the snapshots
            self._changed[key] = transformed(self._states, self._folds, settings, self._comm)
        return self._changed[key]

    def _transformed_errors(
        self,
        of: Transformed,
        number: int,
        scored: np.ndarray,
        observed: np.ndarray,
        error: np.ndarray,
        ratios: np.ndarray,
    ) -> list[np.ndarray]:
        """As `_errors`, of analyses in transformed variables, by the variables themselves. Collective."""
        before = of.at_scored.forward(of.scored[number])
        made = []
        for ratio in ratios:
            given = of.read[number], self._readings[number], of.at_sensors
            analysis = of.at_scored.within_bounds(before + scored @ minima(observed, ratio**2 * error, *given))
            made.append(np.sqrt(self._squares(analysis - of.truth[number]) / self._sizes[number]))
        return made

    def _covariances(self, settings: BackgroundSection) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each fold C Hᵀ at this rank's scored rows and H C Hᵀ, of inflation one. Collective."""
        weights = self._states.network.weights
        taper, of = make_taper(settings, self._states.transfer), self._transformed(settings)
        samples, settings = self._samples if of is None else of.samples, settings.model_copy(update={"variables": {}})
        roots = [sample.root(settings) for sample in samples]
        if taper is None:
            observed = [weights @ root.observed for root in roots]
            return [(root.scored @ of.T, of @ of.T) for root, of in zip(roots, observed, strict=True)]
        theirs = taper.gathered(self._states.observed, self._comm)
        mine = taper.rows(self._states.scored)
        scored = self._localised([(root.scored, root.observed) for root in roots], "scored", mine, theirs)
        own = self._localised([(root.observed, root.observed) for root in roots], "observed", theirs, theirs)
        return [_positive(of, weights @ observed) for of, observed in zip(scored, own, strict=True)]

    def _localised(
        self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], name: str, mine: Taper, theirs: Taper
    ) -> list[np.ndarray]:
        """For each fold localised covariances of some rows with the readings: (k, M), from roots (k, s) and (P, s)."""
        weights, leading = self._states.network.weights, theirs.untapered
        alone = np.all(theirs.between == 1.0)
        made = [np.empty((len(mine.variable), weights.shape[0])) for _ in pairs]
        whole = self._whole(pairs, name)
        for rows, between, distance in self._factors(name, mine, theirs):
            for number, (one, other) in enumerate(pairs):
                covariance = one[rows] @ other.T if whole is None else whole[number][rows]
                if leading:
                    kept = one[rows, :leading] @ other[:, :leading].T
                    covariance = covariance - kept
                    covariance *= distance
                    covariance += kept
                else:
                    covariance = distance * covariance
                if not alone:
                    covariance *= between
                made[number][rows] = (weights @ covariance.T).T
        return made

    def _factors(self, name: str, mine: Taper, theirs: Taper) -> Iterable[tuple[slice, np.ndarray, np.ndarray]]:
        """Blocks of rows with their factors between variables and of distance; those of the last lengths are kept."""
        key = mine.horizontal.tobytes() + mine.vertical.tobytes()
        known = self._distances.get(name)
        if known is not None and known[0] == key:
            return known[1]
        step = max(1, _BLOCK // max(1, len(theirs.variable)))
        parts = [slice(first, first + step) for first in range(0, len(mine.variable), step)]
        blocks = ((rows, *mine.rows(rows).factors(theirs)) for rows in parts)
        if len(mine.variable) * len(theirs.variable) > _MOST // 4:
            return blocks
        self._distances[name] = key, list(blocks)
        return self._distances[name][1]

    def _whole(self, pairs: Sequence[tuple[np.ndarray, np.ndarray]], name: str) -> list[np.ndarray] | None:
        """For each fold the covariances without localisation; None where they would take too much memory."""
        if sum(len(one) * len(other) for one, other in pairs) > _MOST:
            return None
        known = self._kept.get(name)
        # the same roots as long as transform and truncation stay
        if known is None or any(pair[0] is not of for pair, of in zip(pairs, known[0], strict=True)):
            known = self._kept[name] = [one for one, _ in pairs], [one @ other.T for one, other in pairs]
        return known[1]

    def _squares(self, values: np.ndarray) -> np.ndarray:
        """(groups, n) sums of squares of (k_local, n) over each group of rows. Collective."""
        return self._comm.allreduce(np.array([np.sum(values[of] ** 2, axis=0) for of in self._groups]))

    def _scores(self, by_fold: Sequence[np.ndarray]) -> Scores:
        means = np.array([errors.mean(axis=1) for errors in by_fold])
        v = len(self._states.fields)
        return Scores(means[:, :v], means[:, v:])


def errors(covariance: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """(M, n) errors of readings, (M, M) their covariance; those of a state depend on its number alone."""
    root = np.linalg.cholesky(covariance)
    drawn = [np.random.default_rng((_ERRORS, number)).standard_normal(len(root)) for number in numbers.tolist()]
    return root @ np.array(drawn).T


def _spectrum(
    observed: np.ndarray, root: np.ndarray, readings: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(L⁻ᵀ Q, Λ, Qᵀ L⁻¹ d) of H C Hᵀ = `observed`, R = L Lᵀ with L = `root`, d = `readings`."""
    half = solve_triangular(root, observed, lower=True)
    whitened = solve_triangular(root, half.T, lower=True)
    values, vectors = eigh(0.5 * (whitened + whitened.T))
    projection = solve_triangular(root.T, vectors, lower=False)
    return projection, np.maximum(values, 0.0), projection.T @ readings


def _positive(scored: np.ndarray, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """C Hᵀ and H C Hᵀ without directions of no or negative variance, as `localised_transform` leaves them out."""
    root = representer_root(observed)
    if root.shape[1] == len(observed):
        return scored, observed
    kept = root @ (root.T @ observed)
    return scored @ kept, observed @ kept
