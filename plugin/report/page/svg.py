"""matplotlib's figures as parts of a page: SVG whose lines and letters have the page's own colour, light or dark."""

import io
import re
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

BEFORE, AFTER, WITHHELD, OTHER = "#c8642b", "#2f7fc1", "#2f8f5b", "#8f6bb3"  # seen on white and on black
BUILDING = "#8b8b8b"
_INK = "#010203"  # no colour map has it; the page's own takes its place
_INKED = ("text.color", "axes.labelcolor", "axes.titlecolor", "axes.edgecolor", "xtick.color", "ytick.color")
_STYLE = dict.fromkeys(_INKED, _INK) | {
    "svg.fonttype": "none",  # letters stay letters, for those who search or hear them
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
def drawing(width, height):
    """Yield a Figure of so many inches in the page's style; to be made Markup by `svg` within."""
    with matplotlib.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def svg(figure, told):
    """A figure as <svg>; `told` says what is to be seen, to those who do not see it."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :].replace(_INK, "currentColor")
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(
        r'(<(?:g|image)\b[^>]*?) id="[^"]*"', r"\1", drawn
    )  # figures would share them, nothing refers to them
    return Markup(drawn.replace("<svg", f'<svg role="img" aria-label="{escape(told)}"', 1))
