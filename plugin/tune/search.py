"""The setting of least validation error: some keys at a time, and for each the size of R or B that is best.

Only the ratio of the sizes of B and R changes an increment. With the mean of the training states for a background the
size of B is that of the states, and the factor on the readings' errors is chosen; with an earlier state for it the size
of B is what is not known, and the inflation is chosen.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from typing import Any

import numpy as np

from plugin.tune.candidates import SIZES, Coordinate
from plugin.tune.score import Judge, Scores
from plugin.tune.setting import Setting

_PASSES = 4  # over all keys at most


@dataclass(frozen=True)
class Trial:
    """A setting and its errors."""

    setting: Setting
    scores: Scores


@dataclass(frozen=True)
class Comparison:
    """One key varied, all others as chosen.

    key : as in a case file
    values : that were tried
    trials : of each
    chosen : number of the one that was taken
    """

    key: str
    values: tuple[Any, ...]
    trials: tuple[Trial, ...]
    chosen: int


class Search:
    """Finds settings, and remembers what it has tried.

    judge : Judge
    inflation : of B, where it is kept and R's factor chosen; None chooses the inflation and keeps the readings' errors
    fields : (M,) names of the rows' fields
    """

    def __init__(self, judge: Judge, inflation: float | None, fields: np.ndarray) -> None:
        self._judge, self._inflation, self._fields = judge, inflation, fields
        self._tried: dict[tuple[str, tuple[float, ...]], list[Trial]] = {}

    @property
    def evaluated(self) -> int:
        """Number of different settings, those of other sizes not counted."""
        return len(self._tried)

    def sized(self, setting: Setting) -> Trial:
        """A setting with the best size of R, or of B. Collective."""
        return min(self.sizes(setting), key=lambda trial: trial.scores.mean)

    def sizes(self, setting: Setting) -> list[Trial]:
        """A setting with all sizes of R, or of B. Collective."""
        first = next(iter(setting.factor.values()))
        relative = {name: float(f"{factor / first:.6g}") for name, factor in setting.factor.items()}
        key = setting.structure, tuple(relative.values())
        if key not in self._tried:
            ratios = np.array(SIZES) if self._inflation is not None else 1.0 / np.array(SIZES)
            of_rows = np.array([relative[name] for name in self._fields])
            scores = self._judge.of_ratios(setting, of_rows, ratios)
            self._tried[key] = [
                Trial(self._of_size(setting, relative, size), of) for size, of in zip(SIZES, scores, strict=True)
            ]
        return self._tried[key]

    def _of_size(self, setting: Setting, relative: dict[str, float], size: float) -> Setting:
        if self._inflation is None:
            return replace(setting.with_background(inflation=size), factor=relative)
        factor = {name: size * self._inflation * of for name, of in relative.items()}
        return replace(setting.with_background(inflation=self._inflation), factor=factor)

    def best(
        self, begin: Setting, groups: Sequence[Sequence[Coordinate]], done: Callable[[], None] = lambda: None
    ) -> Trial:
        """Vary one group of keys after another until none changes, at most four times over. Collective.

        done : called after each setting
        """
        best = self.sized(begin)
        for _ in range(_PASSES):
            before = best.setting
            for group in groups:
                fixed = best.setting
                for values in product(*(one.values for one in group)):
                    candidate = _changed(fixed, group, values)
                    if candidate is not None:
                        trial = self.sized(candidate)
                        best = trial if trial.scores.mean < best.scores.mean else best
                    done()
            if best.setting == before:
                break
        return best

    def around(self, chosen: Trial, groups: Sequence[Sequence[Coordinate]]) -> list[Comparison]:
        """Each key varied about the chosen setting, and the size of R or B at last. Collective."""
        made = []
        by_key = {coordinate.key: coordinate for coordinate in chain(*groups)}  # of a key that is there twice the last
        for coordinate in by_key.values():
            now = coordinate.current(chosen.setting)
            values = coordinate.values if now in coordinate.values else (*coordinate.values, now)
            settings = [(value, coordinate.changed(chosen.setting, value)) for value in values]
            trials = [
                (value, chosen if value == now else self.sized(setting))
                for value, setting in settings
                if setting is not None
            ]
            if len(trials) > 1:
                tried, of = zip(*trials, strict=True)
                made.append(Comparison(coordinate.key, tried, of, tried.index(now)))
        sizes = self.sizes(chosen.setting)
        key = "background.inflation" if self._inflation is None else "observations.error_model.factor"
        least = int(np.argmin([trial.scores.mean for trial in sizes]))
        return [*made, Comparison(key, SIZES, tuple(sizes), least)]


def _changed(setting: Setting, group: Sequence[Coordinate], values: Sequence[Any]) -> Setting | None:
    changed: Setting | None = setting
    for coordinate, value in zip(group, values, strict=True):
        changed = coordinate.changed(changed, value) if changed is not None else None
    return changed
