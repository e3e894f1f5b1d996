"""The documents build without a warning, and what they say is true: their code runs, the rest agrees with the code."""

import argparse
import ast
import importlib
import importlib.util
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib

import pytest
import yaml
from pages import PAGES, ROOT, blocks, commands, spans

from da.analysis import Analysis, Statistics
from da.minimisation.minimise import Iteration
from da.observation.quality import Flag
from models import zoo
from plugin.case.configuration import Case, read_case
from plugin.window import diagnostics, reanalysis_step
from plugin.window.observations import table

PACKAGES = ("plugin", "coupling", "da", "models", "examples", "benchmarks")
BASE = {
    "model": {"driver": "fluidity", "start": "start.flml"},
    "cycle": {"window": 60, "windows": 2},
    "grid": {"spacing": 8.0},
    "variables": ["Tracer", "Velocity"],
    "background": {"snapshots": [{"path": "earlier"}]},
    "observations": {"file": "readings.csv"},
}


def _reference():
    spec = importlib.util.spec_from_file_location("configuration_reference", ROOT / "docs/configuration_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _reference()


def _on_pages(items_of):
    """Parameters (page, item) for all items of all pages, each once."""
    unique = dict.fromkeys((page, item) for page in PAGES for item in items_of(page))
    return [pytest.param(page, item, id=f"{page.stem}: {item}") for page, item in unique]


def _ran(words, folder):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_pages_are_built_and_ask_the_network_for_nothing(tmp_path):
    _ran([sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "--site-dir", str(tmp_path)], ROOT)
    pages = sorted(tmp_path.glob("*.html"))
    assert {page.stem for page in PAGES if page.parent == ROOT / "docs"} <= {page.stem for page in pages}
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"', text), page
    for style in tmp_path.rglob("*.css"):
        assert not re.findall(r"url\([\"']?(?:https?:)?//", style.read_text(encoding="utf-8")), style


def test_the_readmes_links_lead_somewhere():
    """The builder checks the links of the pages."""
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (ROOT / link.partition("#")[0]).exists()]


README_FILES = sorted((ROOT / "examples").glob("*/README.md"))


@pytest.mark.parametrize("page", [*PAGES, *README_FILES], ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_where_mpirun_stands_the_page_says_what_root_needs(page):
    """Open MPI refuses root and more ranks than cores, which a newcomer meets first."""
    text = page.read_text(encoding="utf-8")
    if re.search(r"^    mpirun -n", text, re.MULTILINE):
        assert "export OMPI_ALLOW_RUN_AS_ROOT=1" in text or "#root-and-more-ranks-than-cores" in text


def test_the_variables_of_the_documents_are_the_makefiles():
    exported = re.findall(r"^export (OMPI\w+|PRTE\w+) := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(exported) == 4
    for name in ("README.md", "CONTRIBUTING.md", "docs/cluster.md", "Dockerfile", ".ci/slurm.sh"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert not [variable for variable, value in exported if f"{variable}={value}" not in text], name


def test_conda_gets_the_projects_packages():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = {"torch": "pytorch", "matplotlib": "matplotlib-base", "playwright": "playwright-python"}
    wanted = [*project["dependencies"], *project["optional-dependencies"]["docs"]]
    wanted += [one for one in project["optional-dependencies"]["test"] if not one.startswith("fluidity-da")]
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    for one in wanted:
        name, bound = one.split(">=")
        ours = names.get(name, name)
        # with a build, in words of its own: conda, mamba and pixi all read that
        assert [given for given in environment if re.fullmatch(rf"{ours}>={bound}|{ours} >={bound} \S+\*", given)], one
    assert f"python{project['requires-python']}" in "".join(environment)
    assert not [given for given in environment if given.count("=") > 1 and not re.search(">=.*,<", given)]


def test_the_image_gets_every_room():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for room in ("plugin", "coupling", "da", "models"):
        assert f"COPY {room} {room}" in text
    assert "RUN make setup" in text


def test_the_reference_has_every_key():
    schema = Case.model_json_schema()
    text = reference.reference(schema)
    keys = {key for section in [schema, *schema["$defs"].values()] for key in section["properties"]}
    assert not [key for key in keys if f"| `{key}` |" not in text]
    assert "| `every` | whole number ≥ 1 | `1` |" in text and "| `grid` | [section](#grid) | needed |" in text
    for link in re.findall(r"\]\(#([\w-]+)\)", text):
        assert f"{{#{link}}}" in text


PYTHON = [page for page in PAGES if any(block.language == "python" and not block.title for block in blocks(page))]


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.stem)
def test_python_runs(page, tmp_path):
    """Blocks with a title are written to that file, the others form one script; then tests among the files run."""
    for name in ("case.flml", "mesh.msh"):
        shutil.copyfile(ROOT / "tests/data/embedded" / name, tmp_path / name)
    script, tests = [], []
    for block in blocks(page):
        if block.title is not None:
            (tmp_path / block.title).write_text(block.text, encoding="utf-8")
            tests += [block.title] if block.title.startswith("test_") else []
        elif block.language == "python":
            script.append(block.text)
    (tmp_path / "script.py").write_text("\n".join(script), encoding="utf-8")
    _ran([sys.executable, "script.py"], tmp_path)
    if tests:
        _ran([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], tmp_path)


YAML = [(page, block) for page in PAGES for block in blocks(page) if block.language == "yaml"]


@pytest.mark.parametrize(("page", "block"), YAML, ids=[f"{page.stem}-{k}" for k, (page, _) in enumerate(YAML)])
def test_case_files_are_read(page, block, tmp_path):
    """Complete ones, or sections added to BASE; those of the examples agree with the examples' files."""
    path, sections = tmp_path / "case.yml", yaml.safe_load(block.text)
    path.write_text(yaml.safe_dump({**BASE, **sections}), encoding="utf-8")
    read_case(path, needed=())
    if block.title and "/" in block.title:
        assert sections == yaml.safe_load((ROOT / block.title).read_text(encoding="utf-8"))


def test_entry_points_are_of_our_group():
    (text,) = [block.text for page in PAGES for block in blocks(page) if block.language == "toml"]
    assert list(tomllib.loads(text)["project"]["entry-points"]) == [zoo.ENTRY_POINTS]


class Parsed(BaseException):
    """A command line was parsed; not an Exception, so that no handler of errors catches it."""


COMMANDS = {f"{module} {' '.join(words or ())}": (module, words) for page in PAGES for module, words in commands(page)}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")
@pytest.mark.parametrize(("module", "words"), COMMANDS.values(), ids=COMMANDS)
def test_commands_understand_their_words(module, words, monkeypatch, capsys):
    """The command's own parser accepts the words; the command stops there."""
    if words is None:
        assert importlib.util.find_spec(module) is not None
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_only(*given, **options):
        parse(*given, **options)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", [module, *words])
    try:
        runpy.run_module(module, run_name="__main__")
    except Parsed:
        return
    except SystemExit:
        pytest.fail(capsys.readouterr().err)
    pytest.fail(f"{module} has no parser")


def _names(page):
    return [span for span in spans(page) if re.fullmatch(rf"(?:{'|'.join(PACKAGES)})(?:\.\w+)+", span)]


@pytest.mark.parametrize(("page", "name"), _on_pages(_names))
def test_names_are_there(page, name):
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        try:
            named = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for part in parts[k:]:
            fields = getattr(named, "__dataclass_fields__", {})
            named = fields[part] if part in fields else getattr(named, part)
        return
    pytest.fail(f"{page.name}: {name} is neither module nor anything in one")


def _paths(page):
    paths = [span for span in spans(page) if re.fullmatch(rf"(?:{'|'.join(PACKAGES)}|tests|docs)/[\w./*-]*", span)]
    return [path for path in paths if "/run" not in path]


@pytest.mark.parametrize(("page", "path"), _on_pages(_paths))
def test_paths_are_there(page, path):
    assert list(ROOT.glob(path)), f"{page.name}: {path}"


def _keys(page):
    keys = [span for span in spans(page) if re.fullmatch(rf"(?:{'|'.join(Case.model_fields)})(?:\.[a-z_]+)+", span)]
    return [key for key in keys if not key.endswith((".safetensors", ".html", ".csv", ".json"))]  # names of files


@pytest.mark.parametrize(("page", "key"), _on_pages(_keys))
def test_keys_are_there(page, key):
    schema = Case.model_json_schema()
    section = schema
    for part in key.split("."):
        assert section is not None and part in section["properties"], f"{page.name}: {key}"
        section = schema["$defs"].get(reference.section_of(section["properties"][part]))


def test_file_formats_have_every_column():
    text = (ROOT / "docs/files.md").read_text(encoding="utf-8")
    nothing = Statistics(0, 0.0, 0.0, 0.0)
    analysis = Analysis((), (), (Iteration(0, 0.0, 0.0, 0.0, 0.0),), nothing, nothing, 0.0, "", 0, 0, {}).summary()
    for name in (*table.TABLE, *diagnostics.COLUMNS, *reanalysis_step.COLUMNS, *analysis):
        assert f"`{name}`" in text, name
    for reason in (flag.text for flag in Flag if flag is not Flag.USED):
        assert f"`no: {reason}`" in (ROOT / "docs/observations.md").read_text(encoding="utf-8"), reason


def _texts_of_the_code():
    """All string literals of the packages, with a zero byte for each value that is formatted in."""
    texts = []
    for package in ("plugin", "coupling", "da", "models"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    texts.append("".join(p.value if isinstance(p, ast.Constant) else "\0" for p in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return texts


def test_messages_are_the_codes_own():
    rows = re.findall(r"^\| `([^`]+)`", (ROOT / "docs/failures.md").read_text(encoding="utf-8"), re.MULTILINE)
    texts, unknown = _texts_of_the_code(), []
    for row in rows:
        pattern = re.compile(".*?".join(map(re.escape, row.split("…"))), re.DOTALL)
        if not any(pattern.search(text) for text in texts):
            unknown.append(row)
    assert rows and not unknown, unknown
