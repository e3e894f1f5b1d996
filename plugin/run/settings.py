"""What a run keeps of its case file, to see at a resume that it is the same."""

import json
from collections.abc import Mapping
from pathlib import Path

from plugin.case.configuration import Case, ConfigurationError


def settings_of(case: Case) -> dict:
    """A case's settings as JSON holds them."""
    return json.loads(case.model_dump_json(by_alias=True))


def kept_settings(path: Path) -> dict:
    """What a run has kept of its case file, as JSON holds it. Not collective.

    Raises
    ------
    ConfigurationError
        if the file is not what was written
    """
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not what was written ({error}); restore it, or start a new run") from None


def first_difference(now: Mapping, earlier: Mapping) -> str | None:
    """Name of the first section that is not as it was; None if all are."""
    return next((name for name in now if now[name] != earlier.get(name)), None)
