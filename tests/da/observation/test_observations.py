import numpy as np
import pytest

from da.observation.observations import Observations, ObservationsError


def rows(**changed):
    given = {
        "time": [0.0, 1.0, 2.0, 3.0],
        "position": np.arange(12.0).reshape(4, 3),
        "variable": ["u", "u", "tracer", "tracer"],
        "value": [1.0, 2.0, 3.0, 4.0],
        "error": [0.1, 0.1, 0.2, 0.2],
    }
    return Observations(**{**given, **changed})


def test_select_keeps_rows_together():
    chosen = rows().select(np.array([False, True, False, True]))
    assert list(chosen.value) == [2.0, 4.0] and list(chosen.variable) == ["u", "tracer"]
    assert chosen.position.tolist() == [[3.0, 4.0, 5.0], [9.0, 10.0, 11.0]]
    assert list(rows().select([3, 0]).value) == [4.0, 1.0]


def test_none_at_all():
    empty = rows().select(np.zeros(4, bool))
    assert len(empty) == 0 and empty.position.shape == (0, 3)
    assert len(Observations([], [], [], [], [])) == 0


def test_the_callers_arrays_are_not_shared():
    value = np.ones(4)
    kept = rows(value=value)
    value[0] = np.nan
    assert kept.value[0] == 1.0


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"value": [1.0, np.nan, 3.0, 4.0]}, "value of row 1 is nan"),
        ({"time": [0.0, 1.0, np.inf, 3.0]}, "time of row 2 is inf"),
        ({"position": np.full((4, 3), np.nan)}, r"position of row 0 .*\(4 of 4\)"),
        ({"error": [0.1, 0.1, 0.0, 0.2]}, "error of row 2 is 0, expected a positive"),
        ({"error": [0.1, 0.1, 0.2]}, r"error has shape \(3,\), expected \(4,\)"),
        ({"position": np.zeros((4, 2))}, r"position has shape \(4, 2\), expected \(4, 3\)"),
        ({"variable": "u"}, r"variable has shape \(\)"),
        ({"value": 1.0}, "has shape"),
    ],
)
def test_bad_rows(changed, message):
    with pytest.raises(ObservationsError, match=message):
        rows(**changed)
