"""python -m plugin.verify: a sound case passes every check, and each broken part is found by its own."""

import re

import numpy as np
import pytest
from cycle_case import (
    COMM,
    SENSORS,
    WINDOW,
    python,
)
from mpi_words import mpirun_words
from verify_case import case_file, folder  # noqa: F401

from coupling.geometry.interpolation import multiply
from da.analysis import analyse
from da.background.linear_transform import LinearTransform
from da.minimisation.cost import CostFunction
from da.observation.matrix_operator import MatrixOperator
from plugin.case.configuration import read_case
from plugin.readings import ReadingsError
from plugin.state.transfer import Transfer
from plugin.verify import __main__ as verify

NAMES = [
    "adjoint of P, Tracer",
    "adjoint of Q, Tracer",
    "P keeps a constant, Tracer",
    "Q keeps a constant, Tracer",
    "adjoint of U",
    "adjoint of H",
    "H against the mesh",
    "Taylor test of J",
    "∇J against differences",
    "∇J by U, H and R",
    "analysis against a dense solve",
]
RANKS = "same on one rank and on all"


@pytest.fixture(scope="module")
def sound(folder, tmp_path_factory):
    return verify.set_up(read_case(case_file(folder, tmp_path_factory.mktemp("sound"))), COMM)


def failed(of):
    return [check.name for check in verify.checks(of, COMM) if not check.passed]


def scaled(function, factor=1.001):
    return lambda *words, **named: factor * function(*words, **named)


def test_a_sound_case_passes(sound):
    made = list(verify.checks(sound, COMM))
    assert [check.name for check in made] == NAMES
    assert all(check.passed for check in made), [c for c in made if not c.passed]
    assert len(sound.readings) == 2 * len(SENSORS)  # the one in a building sees nothing
    # far below the tolerances: these are not what makes it pass
    assert max(c.departure for c in made if c.name not in NAMES[7:9]) < 1e-11


@pytest.mark.parametrize(
    "changes",
    [
        {"observations__file": "speeds.csv"},
        {"model__start": "training/0/case_6_checkpoint.flml", "cycle__window": WINDOW},
        {"grid": {"shape": [8, 7, 4], "box": [[10, 20, 0], [50, 60, 10]]}, "variables": ["Velocity.x", "Tracer"]},
        {"grid": {"space": "mesh"}},
        {"background__precision": "float32", "observations__error_model": {"correlation": {"length": 5.0}}},
        {"background__variables": {"Tracer": {"anamorphosis": "sqrt"}}, "observations__file": "speeds.csv"},
        {"background__variables": {"Tracer": {"anamorphosis": "quantile"}}, "grid": {"space": "mesh"}},
    ],
)
def test_other_sound_cases_pass(folder, tmp_path, changes):
    for key in ("observations__file", "model__start"):
        if key in changes:
            changes = {**changes, key: str(folder / changes[key])}
    of = verify.set_up(read_case(case_file(folder, tmp_path, **changes)), COMM)
    made = list(verify.checks(of, COMM))
    assert len(made) == len(NAMES) and all(check.passed for check in made), [c for c in made if not c.passed]
    assert ("checkpoint" in of.source) == ("model__start" in changes)


@pytest.mark.parametrize(
    "broken, method, found",
    [
        (MatrixOperator, "adjoint", ["adjoint of H", "∇J by U, H and R"]),
        (LinearTransform, "adjoint", ["adjoint of U", "∇J by U, H and R"]),
        (LinearTransform, "operator_product", ["∇J by U, H and R", "analysis against a dense solve"]),
    ],
)
def test_a_broken_operator_is_found(sound, monkeypatch, broken, method, found):
    monkeypatch.setattr(broken, method, scaled(getattr(broken, method)))
    assert failed(sound) == found


def test_a_broken_transpose_of_an_interpolation_is_found(sound, monkeypatch):
    def wrong(matrix, values, transpose=False):
        return multiply(matrix, values, transpose) * (1.0 + 1e-6 * transpose)

    monkeypatch.setattr(verify, "multiply", wrong)
    assert failed(sound) == NAMES[:2]


@pytest.mark.parametrize("which", ["to_grid", "to_mesh"])
def test_weights_that_do_not_sum_to_one_are_found(sound, monkeypatch, which):
    made = sound.background.transfer.interpolation(sound.state["Tracer"])
    matrix = getattr(made, which).copy()
    matrix.scale(1.0 + 1e-9)
    other = type(made)(**{**vars(made), which: matrix})
    monkeypatch.setattr(Transfer, "interpolation", lambda self, of: other)
    assert failed(sound)[0] == f"{'P' if which == 'to_grid' else 'Q'} keeps a constant, Tracer"


def test_an_increment_that_comes_otherwise_to_the_mesh_is_found(sound, monkeypatch):
    to_mesh = Transfer.to_mesh

    def wrong(self, state, increment):
        found = to_mesh(self, state, increment)
        return {**found, "Tracer": 1.001 * found["Tracer"]}

    monkeypatch.setattr(Transfer, "to_mesh", wrong)
    assert failed(sound) == ["H against the mesh"]


def test_a_wrong_gradient_is_found(sound, monkeypatch):
    right = CostFunction.value_and_gradient

    def wrong(self, control):
        value, gradient = right(self, control)
        return value, gradient + np.where(np.arange(len(gradient)) == 1, 1e-3, 0.0) * np.abs(gradient).max()

    monkeypatch.setattr(CostFunction, "value_and_gradient", wrong)
    assert failed(sound)[:3] == ["Taylor test of J", "∇J against differences", "∇J by U, H and R"]


def test_a_minimum_that_is_none_is_found(sound, monkeypatch):
    unfinished = {"gradient_tolerance": 0.1, "root": None}
    monkeypatch.setattr(verify, "analyse", lambda *words, **named: analyse(*words, **named, **unfinished))
    assert failed(sound) == ["analysis against a dense solve"]


def test_command_on_one_rank_compares_with_two(folder, tmp_path):
    ended = python(1, "-m", "plugin.verify", case_file(folder, tmp_path, model__launcher=mpirun_words("{n}")))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    lines = ended.stdout.splitlines()
    assert [line for line in lines if line.startswith("ok")][-1].startswith(f"ok     {RANKS}")
    assert "2 ranks: state on the grid" in ended.stdout and lines[-1] == f"{len(NAMES) + 1} checks passed"
    assert re.search(r"Taylor test of J .*slope 2\.00", ended.stdout)


def test_command_on_three_ranks(folder, tmp_path):
    ended = python(3, "-m", "plugin.verify", case_file(folder, tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "3 ranks: state on the grid" in ended.stdout and ended.stdout.count("checks passed") == 1


@pytest.mark.parametrize("broken", ["state", "analysis"])
def test_what_depends_on_the_number_of_ranks_is_found(folder, tmp_path, broken):
    ended = python(2, "tests/plugin/verify/parallel_verify.py", broken, case_file(folder, tmp_path))
    assert ended.returncode == 1, ended.stdout + ended.stderr
    last = ended.stdout.splitlines()[-2:]
    assert last[0] == f"1 of {len(NAMES) + 1} checks failed:" and last[1].startswith(f"  {RANKS}: ")
    found = float(last[1].split()[7].rstrip(","))
    assert 1e-9 < found < 1e-5


def test_with_fewer_states_where_one_rank_cannot_hold_all(folder, tmp_path):
    ended = python(2, "tests/plugin/verify/parallel_verify.py", "limit", case_file(folder, tmp_path))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "; 3 of the snapshots" in ended.stdout


def test_failures_are_told_with_numbers(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LinearTransform, "adjoint", scaled(LinearTransform.adjoint))
    assert verify.main([str(case_file(folder, tmp_path)), "--ranks", "1"], COMM) == 1
    said = capsys.readouterr().out
    assert "FAILED adjoint of U" in said and f"2 of {len(NAMES)} checks failed:" in said
    assert re.search(r"\n  adjoint of U: \d\.?\d*e-0\d, at most 1e-12 expected", said)
    assert "not asked on one rank" in said


def test_ranks_that_cannot_be_started_have_failed(folder, tmp_path, capsys):
    file = case_file(folder, tmp_path, model__launcher=["no-such-launcher", "{n}"])
    assert verify.main([str(file)], COMM) == 1
    assert f"{RANKS}: nan" in (said := capsys.readouterr().out) and "no-such-launcher" in said


def test_no_reading_in_the_air_is_bad_input(folder, tmp_path):
    case = read_case(case_file(folder, tmp_path, observations__file=str(folder / "inside.csv")))
    with pytest.raises(ReadingsError, match="inside.csv: no reading lies inside the model's air"):
        verify.set_up(case, COMM)
    ended = python(1, "-m", "plugin.verify", tmp_path / "none.yml")
    assert ended.returncode == 2 and "none.yml" in ended.stderr
