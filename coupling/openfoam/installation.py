"""Where OpenFOAM is installed."""

import os
from collections.abc import Mapping
from pathlib import Path

_DEBIAN = Path("/usr/share/openfoam")  # where Debian's package keeps etc/controlDict
_HOME = "WM_PROJECT_DIR"


def with_home(environment: Mapping[str, str]) -> dict[str, str]:
    """{name: value} that OpenFOAM's programs need: those given, and WM_PROJECT_DIR of Debian's package."""
    given = dict(environment)
    if not {_HOME} & {*given, *os.environ} and (_DEBIAN / "etc/controlDict").is_file():
        given[_HOME] = str(_DEBIAN)
    return given
