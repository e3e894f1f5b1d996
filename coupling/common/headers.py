"""A file's header compared with the expected one."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_LONGEST = 200  # characters of a value that a message shows


def short(value: Any) -> str:
    """A value as JSON, or a text unchanged, cut if it is too long for a message."""
    return cut_short(value if isinstance(value, str) else json.dumps(value))


def cut_short(text: str) -> str:
    """A text, cut if it is too long for a message."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def header_differences(
    header: Mapping, expected: Mapping, show: Callable[[Any], str] = short
) -> Iterator[tuple[str, str | None, str]]:
    """(item, value in the header, expected value) of each expected item that differs, both as `show` writes them.

    Other items may have any value; None stands for a missing item.
    """
    expected = json.loads(json.dumps(expected))  # as it is after a round trip through a file: tuples are lists
    for item, wanted in expected.items():
        if item not in header:
            yield item, None, show(wanted)
        elif header[item] != wanted:
            yield item, show(header[item]), show(wanted)
