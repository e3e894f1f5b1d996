"""What sections consist of, and the page they become."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Environment(
    loader=PackageLoader("plugin.report.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True)
class Text:
    """A paragraph; `mood` is "", "good", "fair" or "bad", which the page shows by a word and not by colour alone."""

    text: str
    mood: str = ""

    kind = "text"


@dataclass(frozen=True)
class SortableTable:
    """Rows of numbers, texts and None under columns; the reader can sort them.

    head : number of columns at the left that name the row
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    head: int = 1

    kind = "table"


@dataclass(frozen=True)
class Picture:
    """A picture within the page.

    markup : <svg> or <img> with a description for those who cannot see it
    wide : wider than a phone's screen, where it scrolls sideways
    """

    markup: Markup
    caption: str
    wide: bool = True

    kind = "picture"


@dataclass(frozen=True)
class Scene:
    """A scene that the reader can turn around; `figure` is plotly's {data, layout}, `source` its JavaScript."""

    figure: dict[str, Any]
    source: Markup
    caption: str

    kind = "scene"


@dataclass(frozen=True)
class Listing:
    """Long text, folded until the reader opens it."""

    summary: str
    text: str

    kind = "listing"


Block = Text | SortableTable | Picture | Scene | Listing


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence[Block]


def short(name: str, length: int = 40) -> str:
    """A name as figures and tables have room for: the middle of a longer one is left out."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def number(value: object) -> str:
    """A cell's text: a number's first four digits, or a dash where there is none."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


_TEMPLATES.filters["number"] = number


def fragment(section: Section) -> Markup:
    """A section as HTML."""
    return Markup(_TEMPLATES.get_template("section.html").render(section=section))


def page(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """The whole page.

    Parameters
    ----------
    title, subtitle : plain text, not HTML
    sections : in their order
    """
    parts = [fragment(section) for section in sections]
    return _TEMPLATES.get_template("page.html").render(
        title=title, subtitle=subtitle, sections=sections, fragments=parts
    )
