"""Each layer and each network says which papers it is from, by title and link."""

import ast
import re
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"
OURS = {"autoencoder", "coarsening", "grammar", "identity", "__init__"}  # no paper's
FILES = [path for room in ("layers", "zoo") for path in sorted((MODELS / room).glob("*.py")) if path.stem not in OURS]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_papers_are_named(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    papers = re.findall(r"^([A-ZÀ-Ž][\w &.]+? \d{4}), (.+?),\s+(https://\S+)$", text, re.MULTILINE | re.DOTALL)
    assert papers and len(papers) == text.count("https://")
