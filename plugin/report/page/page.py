"""What chapters are made of, and the page they make."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    """A paragraph; `mood` is "", "good", "fair" or "bad", which the page tells by a word and not by colour alone."""

    text: str
    mood: str = ""

    kind = "text"


@dataclass(frozen=True)
class PageTable:
    """Rows of numbers, texts and None under columns; a person can sort them.

    head : how many columns at the left name the row
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence]
    head: int = 1

    kind = "table"


@dataclass(frozen=True)
class Picture:
    """A picture that is a part of the page.

    markup : <svg> or <img>, which tell what is seen to those who do not see it
    wide : wider than a telephone, to be moved sideways there
    """

    markup: Markup
    caption: str
    wide: bool = True

    kind = "picture"


@dataclass(frozen=True)
class Scene:
    """A scene that a person can turn around; `figure` is plotly's {data, layout}, `source` its JavaScript."""

    figure: dict
    source: Markup
    caption: str

    kind = "scene"


@dataclass(frozen=True)
class Listing:
    """Long text, to be opened."""

    summary: str
    text: str

    kind = "listing"


@dataclass(frozen=True)
class Chapter:
    """A part of the page with a heading; `name` is its anchor."""

    name: str
    title: str
    blocks: Sequence


def number(value):
    """A cell's text: four digits of a number, a dash where there is none."""
    if value is None or isinstance(value, float) and math.isnan(value):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}".replace("-", "−") if isinstance(value, float) else str(value)


_TEMPLATES.filters["number"] = number


def fragment(chapter):
    """A chapter as HTML."""
    return Markup(_TEMPLATES.get_template("section.html").render(chapter=chapter))


def page(title, subtitle, chapters):
    """The whole page.

    Parameters
    ----------
    title, subtitle : texts
    chapters : list of Chapter

    Returns
    -------
    str
    """
    parts = [fragment(chapter) for chapter in chapters]
    return _TEMPLATES.get_template("page.html").render(
        title=title, subtitle=subtitle, chapters=chapters, fragments=parts
    )
