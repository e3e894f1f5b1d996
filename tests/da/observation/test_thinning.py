import numpy as np
import pytest

from da.observation.thinning import cells, superobs, thinned

RNG = np.random.default_rng(1)


def test_cells_lie_about_grid_points_and_belong_to_a_group():
    position = [[0.4, 0, 0], [-0.4, 0.9, 0], [0.6, 0, 0], [0.4, 0, 0]]
    assert cells(position, ["T", "T", "T", "u"], (1.0, 2.0, 1.0)).tolist() == [0, 0, 1, 2]
    assert cells(position, ["T", "T", "T", "T"], 1.0, origin=(0.5, 0.0, 0.0)).tolist() == [0, 1, 0, 0]
    assert cells(np.empty((0, 3)), [], 1.0).tolist() == []
    with pytest.raises(ValueError, match=r"cells of \[1.0, 0.0, 1.0\] m"):
        cells(position, "TTTu", (1.0, 0.0, 1.0))


def test_the_most_accurate_of_a_cell_stays():
    cell, error = [0, 0, 1, 1, 1, 2], [1.0, 0.5, 1.0, 1.0, 1.0, 9.0]
    assert thinned(cell, error).tolist() == [True, False, False, True, True, False]
    assert thinned(cell, error, [0, 0, 3.0, 1.0, 1.0, 0]).tolist() == [True, False, True, False, True, False]
    assert thinned([], []).tolist() == []


def test_average_is_the_estimate_of_least_variance():
    cell, error, d = RNG.integers(4, size=20), 0.5 + RNG.random(20), RNG.normal(size=20)
    found = superobs(cell, error)
    for k in np.unique(cell):
        of = cell == k
        which = found.number[of][0]
        assert (found.number[of] == which).all()
        information = np.sum(error[of] ** -2)
        assert found.error[which] == pytest.approx(information**-0.5)
        assert (found.average @ d)[which] == pytest.approx(np.sum(d[of] / error[of] ** 2) / information)
    np.testing.assert_allclose(found.average @ np.ones(20), 1.0)


@pytest.mark.parametrize("correlation", [0.0, 0.3, 1.0])
def test_error_of_the_mean(correlation):
    error = np.array([0.5, 1.0, 2.0])
    found = superobs([5, 5, 5], error, correlation)
    r = np.outer(error, error) * (correlation + (1.0 - correlation) * np.eye(3))
    weight = found.average.toarray()[0]
    assert found.error[0] ** 2 == pytest.approx(weight @ r @ weight)
    equal = superobs([0, 0, 0, 0], np.full(4, 2.0), correlation).error[0]
    assert equal == pytest.approx(2.0 * np.sqrt((1.0 + 3.0 * correlation) / 4.0))


def test_an_analysis_of_superobs_equals_that_of_their_readings_at_one_place():
    # for ρ = 0 and one H nothing is lost: the mean is a sufficient statistic
    h, error, d = np.repeat(RNG.normal(size=(3, 6)), 4, axis=0), 0.5 + RNG.random(12), RNG.normal(size=12)

    def analysed(h, error, d):
        return np.linalg.solve(np.eye(6) + h.T @ (h / error[:, None] ** 2), h.T @ (d / error**2))

    found = superobs(np.arange(12) // 4, error)
    np.testing.assert_allclose(analysed(found.average @ h, found.error, found.average @ d), analysed(h, error, d))


def test_bad_correlation():
    with pytest.raises(ValueError, match="correlation 1.5"):
        superobs([0], [1.0], 1.5)
