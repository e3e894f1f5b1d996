"""Where the ways to spoil a sound case are registered."""

import yaml

CASES = {}


def bad(kind, what, told):
    """Register a function of (folder, settings) that spoils a sound case, and what the message must match.

    It returns nothing, or what the case file is to hold where that is what is wrong.
    """

    def register(spoil):
        CASES[f"{kind}: {what}"] = (spoil, told)
        return spoil

    return register


def text_of(told):
    """A case file's text of its settings."""
    return yaml.safe_dump(told, sort_keys=False)


def change_readings(folder, change):
    """Put changed lines in the place of those of the readings."""
    path = folder / "readings.csv"
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
