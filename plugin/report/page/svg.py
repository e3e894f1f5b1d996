"""matplotlib's figures as SVG whose lines and letters take the page's own colour, light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

BEFORE, AFTER, WITHHELD, OTHER = "#c8642b", "#2f7fc1", "#2f8f5b", "#8f6bb3"  # visible on white and on black
BUILDING = "#8b8b8b"
_INK = "#010203"  # in no colour map; the page's own colour replaces it
_INKED = ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color")
_STYLE: Any = dict.fromkeys(_INKED, _INK) | {
    "svg.fonttype": "none",  # letters stay letters, for search and screen readers
    "svg.hashsalt": "report",
    "font.size": 9,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
    "legend.labelcolor": _INK,
    "axes.grid": True,
    "grid.color": "#808080",
    "grid.alpha": 0.25,
    "image.origin": "lower",
}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Yield a Figure of this size [inches] in the page's style; call `svg` within the context."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure, description: str) -> Markup:
    """A figure as <svg>; `description` is for those who cannot see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(_INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(
        r'(<(?:g|image)\b[^>]*?) id="[^"]*"', r"\1", drawn
    )  # figures would share these ids, and nothing refers to them
    return Markup(drawn.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1))
