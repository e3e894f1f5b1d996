import numpy as np
import pytest

from da.observation.diagonal_error import diagonal_error

STD = np.array([0.5, 2.0, 4.0])


def test_share_of_a_rank():
    assert list(diagonal_error(STD, slice(1, 3)).std_local) == [2.0, 4.0]
    assert diagonal_error(STD, slice(2, 2)).whiten(np.empty(0)).shape == (0,)


@pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
def test_a_bad_error_is_found_outside_the_share_as_well(wrong):
    with pytest.raises(ValueError, match="in row 2, expected a positive"):
        diagonal_error([1.0, 1.0, wrong], slice(0, 1))
