"""What plugin.check says of parameters: what a prior means, and whether the options have a place for it."""

import io
import json
from contextlib import redirect_stdout

import pytest
from crash_case import write_case_file
from cycle_case import COMM, settings, write_case

from coupling.simulation.parameters import PARAMETERS, read_entries
from plugin.case.configuration import read_cycle_case
from plugin.check.__main__ import main as check
from plugin.check.case.files import CaseFiles
from plugin.check.case.parameters import parameters
from plugin.check.finding import FAIL, OK, WARN

FILE = {"file": PARAMETERS}
DIFFUSIVITY = (
    "/material_phase::Air/scalar_field::Tracer/prognostic/tensor_field::Diffusivity/prescribed/value/isotropic"
)


@pytest.fixture
def files(tmp_path):
    """Function that makes the CaseFiles of a case with some parameters."""

    def make(**unknown):
        start = write_case(tmp_path / "start")
        changes = {
            "model": {"driver": "embedded", "start": str(start)},
            "ensemble": {"members": 4, "start": {"from": "restart" if unknown else "modes"}},
            "parameters": unknown,
        }
        path = write_case_file(tmp_path / "case.yml", settings(tmp_path, tmp_path / "run", **changes))
        (tmp_path / "scratch").mkdir()
        return CaseFiles(read_cycle_case(path), tmp_path / "scratch")

    return make


def test_a_prior_in_words(files):
    (found,) = parameters(files(d={"prior": {"lognormal": [0.8, 0.5]}, "to": {"option": DIFFUSIVITY}}))
    assert found.level == OK
    assert found.text == f"d: 0.8, between 0.3003 and 2.132 in 19 of 20 cases; to {DIFFUSIVITY}"


def test_an_option_that_is_not_there(files):
    (found,) = parameters(files(d={"prior": {"normal": [1, 1]}, "to": {"option": DIFFUSIVITY + "/x"}}))
    assert found.level == FAIL and "parameters.d.to: " in found.text and "there is no 'x' below" in found.text


def test_an_entry_that_no_function_reads(files):
    in_time = {"coefficients": 3, "over": 60.0, "from": 0.0, "correlation": 20.0}
    (found,) = parameters(files(gust={"prior": {"uniform": [0, 1]}, "to": FILE, "in_time": in_time}))
    assert found.level == WARN and "at 3 times from 0 to 60 s" in found.text
    assert "which nothing in case.flml reads by this name" in found.text
    assert 'json.load(open("parameters.json"))["gust"]' in found.advice


def test_values_in_time_have_no_option_of_fluiditys(files):
    in_time = {"coefficients": 2, "over": 60.0, "correlation": 20.0}
    unknown = {"prior": {"normal": [1, 1]}, "to": {"option": DIFFUSIVITY}, "in_time": in_time}
    (found,) = parameters(files(d=unknown))
    assert found.level == FAIL and "parameters.d: an option of Fluidity is one number" in found.text
    assert "key `to: {file: parameters.json}`" in found.text


def test_the_time_step_that_is_tried_has_the_middle_of_the_priors(files):
    made = files(gust={"prior": {"uniform": [0, 1]}, "to": FILE})
    assert made.trial > 0.0
    assert read_entries(made.scratch / "trial" / PARAMETERS) == {"gust": 0.5}


def test_a_case_without_parameters(files):
    assert list(parameters(files())) == []


def test_members_that_would_stay_alike_are_told(tmp_path):
    alike = {"ensemble": {"members": 4, "start": {"from": "restart"}}}
    path = write_case_file(tmp_path / "case.yml", settings(tmp_path, tmp_path / "run", **alike))
    said = io.StringIO()
    with redirect_stdout(said):
        assert check([str(path), "--quick", "--json"], COMM) != 0
    (found,) = [of for of in json.loads(said.getvalue()) if of["name"] == "case file"]
    assert found["level"] == FAIL and "stay alike without the section parameters" in found["text"]
