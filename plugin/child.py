"""Python programs of this package that a command starts beside itself."""

import os
from pathlib import Path


def environment():
    """{name: value} that such a program needs beside `coupling.launch.clean_environment`: where this package is."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
