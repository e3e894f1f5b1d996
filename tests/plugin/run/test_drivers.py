"""Forecast models by name."""

import pytest

from coupling.fluidity.driver import FluidityModel
from coupling.openfoam.driver import OpenFoamModel
from plugin.case.configuration import ConfigurationError, ModelSection
from plugin.run.drivers import forecast_model

SECTION = {"start": "case.flml", "processes": 3, "program": ["mine", "-x"], "timeout": 9, "environment": {"A": "b"}}
OWN = '''
from coupling.fluidity.simulation import FLUIDITY


class Model:
    simulation = FLUIDITY

    def __init__(self, **settings):
        self.settings = settings

    def run(self, start, until, folder, comm):
        """Not asked here."""


class Nameless:
    def __init__(self, **settings):
        """Says not whose restarts it takes."""

    def run(self, start, until, folder, comm):
        """Not asked here."""


def no_model(**settings):
    return "text"
'''


def section(driver):
    return ModelSection(driver=driver, **SECTION)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_simulation.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


def test_fluidity_and_the_embedded_model():
    settings = {"processes": 3, "launcher": ("mpirun", "-n", "{n}"), "timeout": 9}
    assert forecast_model(section("fluidity")) == FluidityModel(("mine", "-x"), environment={"A": "b"}, **settings)
    embedded = forecast_model(section("embedded"))
    assert embedded.program[1:] == ("-m", "coupling.embedded") and embedded.environment["A"] == "b"


def test_openfoam_takes_the_application_of_its_case_unless_a_program_is_given():
    settings = {"processes": 3, "launcher": ("mpirun", "-n", "{n}"), "timeout": 9}
    assert forecast_model(section("openfoam")) == OpenFoamModel(("mine", "-x"), environment={"A": "b"}, **settings)
    assert forecast_model(ModelSection(driver="openfoam", start="case")).program == ()
    assert ModelSection(driver="fluidity", start="case.flml").program == ["fluidity"]


def test_a_users_own_gets_the_section(mine):
    found = forecast_model(section("my_simulation:Model")).settings
    expected = {"launcher": ("mpirun", "-n", "{n}"), "processes": 3, "timeout": 9, "silence": None}
    assert found == {"program": ("mine", "-x"), "environment": {"A": "b"}, **expected}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere_at_all:Model", "nowhere_at_all:Model cannot be imported: No module named"),
        ("my_simulation:Modle", "has no attribute 'Modle'; expected package.module:function"),
        ("my_simulation:Nameless", "without an attribute simulation that is a Simulation"),
        ("my_simulation:no_model", "gives str, expected a forecast model with a method run"),
    ],
)
def test_what_is_no_driver_is_told(mine, name, told):
    with pytest.raises(ConfigurationError, match=told):
        forecast_model(section(name))
