"""A name that is not known, answered with the nearest one that is."""

import difflib
from collections.abc import Iterable


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """ValueError for a name that is none of `known`."""
    lower = {each.lower(): each for each in known}
    nearest = difflib.get_close_matches(str(name).lower(), lower, 1, 0.0)
    hint = f" (nearest: {lower[nearest[0]]!r})" if nearest else ""
    return ValueError(f"unknown {what} {name!r}{hint}; known: {', '.join(known)}")
