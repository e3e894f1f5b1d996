"""The table of what was tried, and the keys to paste."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from coupling.common.files import whole_file
from plugin.case.yaml_file import yaml_text
from plugin.tune.score import Scores
from plugin.tune.search import Comparison
from plugin.tune.setting import Setting, keys_of
from plugin.tune.tuning import Tuned

_NAME = 34


def head(fields: Sequence[str]) -> str:
    """The table's first line."""
    columns = "".join(f"{name:>12}" for name in fields) if len(fields) > 1 else ""
    return f"{'':{_NAME}}{'error':>10}{'± folds':>10}{columns}{'far away':>10}"


def line(name: str, scores: Scores, fields: Sequence[str], mark: str = "") -> str:
    """One line of the table: error at all places, its spread over the folds, by field, and far from sensors."""
    by_field = "".join(f"{error:12.4g}" for error in scores.everywhere.mean(axis=0)) if len(fields) > 1 else ""
    text = f"{name:{_NAME}}{scores.mean:10.4g}{scores.std:10.2g}{by_field}{scores.far.mean():10.4g}"
    return f"{text}  {mark}" if mark else text


def report(of: Tuned) -> list[str]:
    """The table, a line each."""
    fields = of.fields
    lines = ["One key at a time, all others as chosen; mean of ‖x_a − x_t‖ / ‖x_t − x̄‖ over withheld states:"]
    lines += [head(fields), line("no analysis", of.nothing, fields)]
    if of.today is not None:
        lines.append(line("the case as it is", of.today.scores, fields))
    lines.append(line("chosen", of.chosen.scores, fields))
    for comparison in of.comparisons:
        lines += comparison_lines(comparison, fields)
    lines += [
        f"{one.key}: the value that was taken is at the end of those that were tried; --try takes others"
        for one in of.comparisons
        if at_the_edge(one)
    ]
    return lines


def comparison_lines(of: Comparison, fields: Sequence[str]) -> list[str]:
    """A key and all of its values."""
    rows = [
        line(f"  {in_words(value)}", trial.scores, fields, "chosen" if number == of.chosen else "")
        for number, (value, trial) in enumerate(zip(of.values, of.trials, strict=True))
    ]
    return [of.key, *rows]


def at_the_edge(of: Comparison) -> bool:
    """Whether the value that was taken is the first or last one, and one beyond it might be better still."""
    numbers = [value for value in of.values if isinstance(value, int | float)]
    chosen = of.values[of.chosen]
    # beyond the longest length is none, beyond the largest truncation are all modes, below no leading mode is nothing
    from_below = not of.key.endswith("modes")
    from_above = None not in of.values and not of.key.endswith("truncation")
    return len(numbers) > 2 and (from_below and chosen == min(numbers) or from_above and chosen == max(numbers))


def in_words(value: Any) -> str:
    """A value of a key as the table has it."""
    if value is None:
        return "none"
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def keys_text(setting: Setting) -> str:
    """The chosen keys as YAML."""
    return yaml_text(keys_of(setting))


def write_keys(path: Path, setting: Setting) -> None:
    """Write the chosen keys, whole or not at all."""
    with whole_file(path) as beside:
        beside.write_text(f"# Chosen by plugin.tune; replace these keys of the case file.\n{keys_text(setting)}")
