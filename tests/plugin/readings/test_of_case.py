"""The readings that a case's analysis uses, of all that its file has."""

import numpy as np
import pytest

from plugin.case.configuration import Case, ConfigurationError
from plugin.readings import ReadingsError
from plugin.readings.of_case import readings_of

ROWS = """time,x,y,z,variable,value,error,station
1,2,3,4,Tracer,0.5,0.1,a
2,2,3,4,Velocity.x,1.0,0.1,b
3,2,3,4,Velocity.speed,1.0,0.1,b
4,2,3,4,Salt,much,,b
5,2,3,4,Tracer,0.25,0.1,a
"""


def case_of(tmp_path, variables, text=ROWS, **observations):
    (tmp_path / "readings.csv").write_text(text)
    return Case.model_validate(
        {
            "grid": {"spacing": 8},
            "variables": variables,
            "background": {"snapshots": [{"path": "a"}]},
            "observations": {"file": tmp_path / "readings.csv", **observations},
        }
    )


def test_readings_of_what_is_not_analysed_are_left_out_and_counted_once(tmp_path):
    said = []
    readings = readings_of(case_of(tmp_path, ["Tracer"]), said.append)
    assert readings.value.tolist() == [0.5, 0.25]
    assert said == [
        f"{tmp_path}/readings.csv: 3 of 5 readings are left out, of what is not analysed: Salt (1), "
        "Velocity.speed (1), Velocity.x (1)"
    ]
    readings = readings_of(case_of(tmp_path, ["Tracer", "Velocity"]), said.append)
    assert readings.time.tolist() == [1, 2, 3, 5] and len(said) == 2 and "Salt (1)" in said[1]
    readings_of(case_of(tmp_path, ["Tracer", "Velocity"], ROWS.replace("4,2,3,4,Salt,much,,b\n", "")), said.append)
    assert len(said) == 2


def test_none_of_what_is_analysed_is_an_error(tmp_path):
    message = r"readings.csv: none of its 5 readings is of what is analysed; it has Salt \(1\), Tracer \(2\)"
    with pytest.raises(ReadingsError, match=message + r".*variables are \['Smoke'\]"):
        readings_of(case_of(tmp_path, ["Smoke"]))
    assert len(readings_of(case_of(tmp_path, ["Smoke"], names={"Tracer": "Smoke"}))) == 2


def test_a_covariance_of_all_rows_does_not_go_with_some(tmp_path):
    np.save(tmp_path / "r.npy", np.eye(5))
    case = case_of(tmp_path, ["Tracer"], error_model={"matrix": tmp_path / "r.npy"})
    with pytest.raises(
        ConfigurationError, match="matrix: has a row for each reading, and 3 of .*take them out of both"
    ):
        readings_of(case)


def test_a_withheld_station_that_is_not_analysed(tmp_path):
    with pytest.raises(ConfigurationError, match="withheld: .*readings.csv has no station 'b'"):
        readings_of(case_of(tmp_path, ["Tracer"], withheld=["b"]))
