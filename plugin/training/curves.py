"""The history of a training as a table and as a picture."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from coupling.common.files import whole_file


def write_history(path: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """A row for each epoch.

    history : list of dicts with the same keys
    """
    with whole_file(path) as beside, open(beside, "w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, list(history[0]))
        rows.writeheader()
        rows.writerows(history)


def draw_history(path: Path, history: Sequence[Mapping[str, Any]], title: str) -> None:
    """Losses of training and validation and the learning rate over the epochs, as a PNG."""
    epochs = [record["epoch"] for record in history]
    figure, axes = plt.subplots(figsize=(7.0, 4.0), layout="constrained")
    rate = axes.twinx()
    rate.semilogy(epochs, [record["rate"] for record in history], color="0.8", linewidth=1.0)
    rate.set_ylabel("learning rate", color="0.6")
    rate.tick_params(axis="y", which="both", colors="0.6")
    for name in ("train", "validation"):
        axes.semilogy(epochs, [record[name] for record in history], label=name)
    best = min(history, key=lambda record: record["validation"])
    axes.plot(best["epoch"], best["validation"], "o", color="C1", label=f"kept: epoch {best['epoch']}")
    axes.set(xlabel="epoch", ylabel="loss", title=title)
    axes.set_zorder(rate.get_zorder() + 1)
    axes.patch.set_visible(False)
    axes.legend()
    with whole_file(path) as beside:
        figure.savefig(beside, dpi=150)
    plt.close(figure)
