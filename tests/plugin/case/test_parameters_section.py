"""The case file's `parameters`: what is read, and what is refused with its line."""

import pytest
import yaml
from pydantic import ValidationError

from plugin.case.configuration import ConfigurationError, read_case
from plugin.case.parameters import ParameterSection
from plugin.ensemble.parameters import parameters_of

FILE = {"file": "parameters.json"}


def section(**of):
    return ParameterSection.model_validate({"prior": {"normal": [1.0, 0.5]}, "to": FILE, **of})


def test_rows_of_a_case():
    unknown = parameters_of(
        {
            "wind": section(prior={"uniform": [0.0, 2.0]}, wander={"random_walk": 0.2}),
            "gust": section(in_time={"coefficients": 3, "over": 20.0, "correlation": 10.0}, floor=0.0),
            "late": section(in_time={"coefficients": 2, "over": 5.0, "from": 1.0, "correlation": 5.0}),
        },
        start=100.0,
        window=30.0,
    )
    assert unknown.labels == ("wind", "gust[0]", "gust[1]", "gust[2]", "late[0]", "late[1]")
    assert unknown.times == {"gust": (100.0, 110.0, 120.0), "late": (1.0, 6.0)}
    assert unknown.floor.tolist() == [0.1, 0.0, 0.0, 0.0, 0.1, 0.1]
    assert unknown.wanders[0].step == 0.2 and unknown.wanders[1].step == 0.0
    assert unknown.correlation[1, 2] == pytest.approx(0.36788, rel=1e-4) and unknown.correlation[0, 1] == 0.0


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"prior": {}}, "found none; give one of normal, lognormal and uniform"),
        ({"prior": {"normal": [0, 1], "uniform": [0, 1]}}, "found normal and uniform; give one"),
        ({"prior": {"uniform": [2, 1]}}, r"uniform is \[2.0, 1.0\]; give the lower first"),
        ({"prior": {"normal": [0, 0]}}, "greater than 0"),
        ({"prior": {"lognormal": [-1, 1]}}, "greater than 0"),
        ({"to": {}}, "give either option or file"),
        ({"to": {"file": "other.json"}}, "Input should be 'parameters.json'"),
        ({"wander": {}}, "give either random_walk or ar1"),
        ({"floor": 1.5}, "less than or equal to 1"),
    ],
)
def test_what_does_not_fit_is_refused(of, message):
    with pytest.raises(ValidationError, match=message):
        section(**of)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": None}, "parameters needs the section ensemble"),
        ({"parameters": {"2nd wind": {}}}, "'2nd wind' is no name"),
        ({"parameters": {"a": {"to": {"option": "/x/y"}}, "b": {"to": {"option": "x/y/"}}}}, "a and b go to the same"),
        ({"parameters": {"a": {"readings": ["Heat"]}}}, "a.readings: Heat is not analysed; the fields are Tracer"),
    ],
)
def test_parameters_that_do_not_go_together_are_refused(changes, message, tmp_path):
    given = changes.get("parameters", {"wind": {}})
    case = {
        "model": {"driver": "embedded", "start": "start.flml"},
        "cycle": {"window": 30, "windows": 2},
        "grid": {"spacing": 5.0},
        "variables": ["Tracer", "Velocity"],
        "background": {"snapshots": [{"path": "earlier"}]},
        "observations": {"file": "readings.csv"},
        "ensemble": {"members": 4},
        **changes,
        "parameters": {name: {"prior": {"normal": [0, 1]}, "to": FILE, **of} for name, of in given.items()},
    }
    path = tmp_path / "case.yml"
    path.write_text(yaml.safe_dump(case))
    with pytest.raises(ConfigurationError, match=message):
        read_case(path)
