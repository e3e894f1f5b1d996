"""Jobs that share an output file: the one that comes second takes what is there, or says so; no work is destroyed."""

import os
from itertools import combinations

import pytest
from crash_case import case_settings, hidden, left_by, make_case, write_case_file
from cycle_case import COMM
from together import together
from training_case import write_case, write_states

from coupling.archive import Archive
from models.files import load
from plugin.run.job import BAD_INPUT

JOB = """
from mpi4py import MPI
from plugin import {module}
from plugin.run.job import run_job
begin()
run_job(lambda: {module}.main({words!r}, MPI.COMM_WORLD), MPI.COMM_WORLD)
"""

SAID = "is in use (process ", "another job has just taken", "is there already"
OWN = {"name": "small_networks:Small"}


def at_once(module, *words_of_each):
    """How some commands end that begin at the same moment."""
    return together(*(JOB.format(module=module, words=[str(word) for word in words]) for words in words_of_each))


def one_did_and_the_others_said_so(ended, name):
    """Whether one ended well, and the others by a message about the file."""
    codes = sorted(of.code for of in ended)
    assert codes == [0] + (len(ended) - 1) * [BAD_INPUT], ended
    for of in ended:
        assert "Traceback" not in of.said, of
        if of.code:
            message = of.said.splitlines()[-1]
            assert name in message and any(words in message for words in SAID), of


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("shared") / "case")


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("states")
    write_states(folder)
    return folder


def cases_with_one_file_of_modes(case, folder, count):
    paths = []
    for k in range(count):
        given = case_settings(case, folder / f"run-{k}")
        given["background"]["modes"] = str(folder / "modes/modes.h5")
        paths.append(write_case_file(folder / f"case-{k}.yml", given))
    return paths


@pytest.mark.parametrize("repetition", range(2))
def test_cycles_with_one_new_file_of_modes_all_end_well_and_alike(case, tmp_path, repetition):
    paths = cases_with_one_file_of_modes(case, tmp_path, 3)
    ended = at_once("cycle", *([path] for path in paths))
    assert [of.code for of in ended] == [0, 0, 0], ended
    assert os.listdir(tmp_path / "modes") == ["modes.h5"]
    runs = [tmp_path / f"run-{k}" for k in range(3)]
    assert all(left_by(a) == left_by(b) for a, b in combinations(runs, 2))
    assert [hidden(run) for run in runs] == [[], [], []]


@pytest.mark.parametrize("repetition", range(2))
def test_modes_that_are_made_twice_are_made_once(case, tmp_path, repetition):
    (path,) = cases_with_one_file_of_modes(case, tmp_path, 1)
    ended = at_once("modes", *3 * [[path]])
    assert [of.code for of in ended] == 3 * [0], ended
    assert os.listdir(tmp_path / "modes") == ["modes.h5"]


def test_other_modes_under_the_same_name_say_so(case, tmp_path):
    given = case_settings(case, tmp_path / "run")
    paths = []
    for k, truncation in enumerate((2, 3)):
        given["background"] |= {"modes": str(tmp_path / "modes.h5"), "truncation": truncation}
        paths.append(write_case_file(tmp_path / f"case-{k}.yml", given))
    ended = at_once("modes", *([path] for path in paths))
    assert sorted(of.code for of in ended) == [0, BAD_INPUT], ended
    assert sum("the modes were made with another truncation" in of.said for of in ended) == 1, ended


@pytest.mark.parametrize("repetition", range(2))
def test_packing_into_one_archive(case, tmp_path, repetition):
    out = tmp_path / "packed.vtkhdf"
    ended = at_once("archive", *3 * [["pack", out, case / "training/0"]])
    one_did_and_the_others_said_so(ended, "packed.vtkhdf")
    with Archive(out, COMM) as archive:
        assert len(archive) > 3
        for step in range(len(archive)):
            archive.read(step)
    assert os.listdir(tmp_path) == ["packed.vtkhdf"]


def test_unpacking_into_one_folder(case, tmp_path):
    assert at_once("archive", ["pack", tmp_path / "packed.vtkhdf", case / "training/0"])[0].code == 0
    ended = at_once("archive", *2 * [["unpack", tmp_path / "packed.vtkhdf", tmp_path / "dumps"]])
    one_did_and_the_others_said_so(ended, "dumps")
    assert sorted(os.listdir(tmp_path)) == ["dumps", "packed.vtkhdf"]


@pytest.mark.parametrize("output", ["all.vtkhdf", "all"])
def test_reanalyses_into_one_archive(case, tmp_path, output):
    paths = []
    for k in range(2):
        given = case_settings(case, tmp_path / f"run-{k}")
        given["reanalysis"]["output"] = str(tmp_path / "out" / output)
        paths.append(write_case_file(tmp_path / f"case-{k}.yml", given))
    ended = at_once("reanalysis", *([path] for path in paths))
    one_did_and_the_others_said_so(ended, output)
    assert os.listdir(tmp_path / "out") == [output]
    (again,) = at_once("reanalysis", [paths[0 if ended[0].code == 0 else 1], "--resume"])
    assert again.code == 0 and "all is done already" in again.said


def test_trainings_into_one_file(states, tmp_path):
    path = write_case(tmp_path, states)
    ended = at_once("train", *2 * [[path]])
    one_did_and_the_others_said_so(ended, "net.safetensors")
    load(tmp_path / "net.safetensors", OWN)
    assert sorted(os.listdir(tmp_path)) == ["case.yml", "net.safetensors", "net.training", "run"]


def test_trainings_of_two_networks_with_the_same_samples(states, tmp_path):
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write_case(tmp_path / name, states, scratch=str(tmp_path / "samples")))
    ended = at_once("train", *([path] for path in paths))
    assert [of.code for of in ended] == [0, 0], ended
    assert len(os.listdir(tmp_path / "samples")) == 1
    (networks, _), (others, _) = (load(path.parent / "net.safetensors", OWN) for path in paths)
    assert all((a == b).all() for a, b in zip(networks.parameters(), others.parameters(), strict=True))
