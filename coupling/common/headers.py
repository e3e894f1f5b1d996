"""Whether a file's header says what is expected of it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_LONGEST = 200  # characters of a value that a message shows


def header_differences(found: Mapping, expected: Mapping) -> Iterator[tuple[str, str | None, str]]:
    """(item, what was found, what was expected) for each expected item that differs, both shortened for a message.

    Items that are not expected may be anything; None stands for an item that is not there.
    """
    expected = json.loads(json.dumps(expected))  # as the file would have kept it: tuples are lists there
    for item, wanted in expected.items():
        if item not in found:
            yield item, None, short(wanted)
        elif found[item] != wanted:
            yield item, short(found[item]), short(wanted)


def short(value: Any) -> str:
    """A value as JSON, or a text as it is, cut where it is too long for a message."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
