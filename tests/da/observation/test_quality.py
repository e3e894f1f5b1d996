import time

import numpy as np
import pytest

from da.observation.correlation import correlation_matrix
from da.observation.quality import (
    Flag,
    background_check,
    buddy_check,
    duplicates,
    first_reason,
    out_of_range,
    stuck_since,
)


def rows(marked):
    return np.flatnonzero(marked).tolist()


def test_first_reason_wins():
    flags = first_reason(4, [(Flag.OUTSIDE, [1, 0, 0, 0]), (Flag.RANGE, [1, 1, 0, 0]), (Flag.BUDDY, [0, 1, 1, 0])])
    assert flags.tolist() == [Flag.OUTSIDE, Flag.RANGE, Flag.BUDDY, Flag.USED]
    assert Flag(flags[0]).text == "outside the model's air"
    assert len({flag.text for flag in Flag}) == len(Flag)


def test_range_belongs_to_a_variable_and_holds_its_ends():
    value, variable = [0.0, -1e-9, 5.0, 5.1, 99.0, np.nan], ["T", "T", "T", "T", "u", "T"]
    assert rows(out_of_range(value, variable, {"T": (0.0, 5.0)})) == [1, 3, 5]
    with pytest.raises(ValueError, match="range of 'T' from 5.0 to 0.0"):
        out_of_range(value, variable, {"T": (5.0, 0.0)})


def test_of_duplicates_the_most_accurate_stays():
    time, place = np.zeros(6), np.zeros((6, 3))
    time[3], place[4] = 1.0, [0.0, 0.0, 0.1]
    group, error = ["T", "T", "T", "T", "T", "u"], [1.0, 0.5, 0.5, 1.0, 1.0, 1.0]
    assert rows(duplicates(time, place, group, error)) == [0, 2]
    assert rows(duplicates(time, place, group, error, distance=0.1)) == [0, 2, 4]
    assert rows(duplicates(time, place, group, error, seconds=1.0, distance=0.2)) == [0, 2, 3, 4]
    assert duplicates([], np.empty((0, 3)), [], []).tolist() == []


def test_the_search_for_duplicates_takes_no_time_where_each_station_has_one_reading():
    began = time.process_time()
    assert rows(duplicates(np.zeros(40_000), np.zeros((40_000, 3)), np.arange(40_000), np.ones(40_000))) == []
    assert time.process_time() - began < 1.0


def test_duplicates_of_a_duplicate_that_is_left_out_are_kept():
    # a chain, each half a metre from the next: what is near to a reading that has gone repeats none that stays
    place = np.zeros((5, 3))
    place[:, 0] = 0.5 * np.arange(5)
    assert rows(duplicates(np.zeros(5), place, np.zeros(5), np.arange(1.0, 6.0), distance=0.6)) == [1, 3]


def stuck(*given, **settings):
    return np.isfinite(stuck_since(*given, **settings))


def test_a_stuck_sensor_is_known_from_the_reading_on_that_shows_it():
    time, value, sensor = np.arange(8.0), [1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 3.0, 3.0], np.zeros(8)
    since = stuck_since(time, value, sensor, readings=3)
    assert since.tolist() == [np.inf, 3, 3, 3, 3, 7, 7, 7]
    for end in range(8):  # as if the later ones were not there
        known = np.arange(end + 1)
        earlier = stuck(time[known], np.array(value)[known], sensor[known], readings=3)
        assert (since[known] <= end).tolist() == earlier.tolist()


def test_stuck_sensor():
    value = [1.0, 2.0, 2.0, 2.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0]
    time, sensor = np.arange(10.0), np.zeros(10)
    assert rows(stuck(time, value, sensor, readings=4)) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert rows(stuck(time, value, sensor, readings=4, still=0.0)) == [1, 2, 3, 4]
    assert rows(stuck(time, value, sensor, readings=5)) == []
    assert rows(stuck(time, value, sensor, readings=5, tolerance=1.0)) == [0, 1, 2, 3, 4]
    # each sensor for itself, in the order of time
    shuffled = np.random.default_rng(0).permutation(10)
    found = stuck(time[shuffled], np.array(value)[shuffled], sensor, readings=4)
    assert sorted(shuffled[found]) == [1, 2, 3, 4, 6, 7, 8, 9]
    assert rows(stuck(time, value, np.arange(10) % 2, readings=3)) == []
    with pytest.raises(ValueError, match="run of 1 readings"):
        stuck(time, value, sensor, readings=1)


def test_a_slow_drift_is_not_stuck():
    assert rows(stuck(np.arange(20.0), 0.4 * np.arange(20), np.zeros(20), readings=4, tolerance=1.0)) == []


def test_background_check():
    d, b, o = np.array([5.0, -5.0, 5.1, -5.1, np.nan]), np.full(5, 3.0), np.full(5, 4.0)
    assert rows(background_check(d, b, o, limit=1.0)) == [2, 3, 4]
    assert rows(background_check(d, b, o, limit=2.0)) == [4]
    with pytest.raises(ValueError, match="limit 0"):
        background_check(d, b, o, limit=0.0)


def consistent(seed, n=40, length=30.0):
    """Innovations as B and R make them."""
    rng = np.random.default_rng(seed)
    position = rng.random((n, 3)) * 100.0
    b = correlation_matrix(position, length) * 4.0
    return position, np.linalg.cholesky(b + np.eye(n)) @ rng.normal(size=n)


def test_a_gross_error_is_found_and_takes_no_neighbour_with_it():
    for seed in range(10):
        position, d = consistent(seed)
        clean = rows(buddy_check(d, position, np.zeros(40), 2.0, 1.0, 30.0, limit=4.5))
        d[7] += 20.0
        assert rows(buddy_check(d, position, np.zeros(40), 2.0, 1.0, 30.0, limit=4.5)) == sorted({7, *clean})
        assert len(clean) == 0
        # a neighbour of another variable says nothing against it
        alone = np.where(np.arange(40) == 7, "T", "u")
        assert rows(buddy_check(d, position, alone, 2.0, 1.0, 30.0, limit=4.5)) == []


def test_buddies_equal_the_dense_leave_one_out_residual():
    position, d = consistent(3, n=12, length=200.0)
    s = correlation_matrix(position, 200.0) * 4.0 + np.eye(12)
    scores = []
    for i in range(12):
        others = np.delete(np.arange(12), i)
        gain = np.linalg.solve(s[np.ix_(others, others)], s[others, i])
        scores.append(abs(d[i] - gain @ d[others]) / np.sqrt(s[i, i] - gain @ s[others, i]))
    worst = int(np.argmax(scores))

    def found(limit):
        return rows(buddy_check(d, position, np.zeros(12), 2.0, 1.0, 200.0, limit=limit, buddies=11))

    assert found(scores[worst] * (1 + 1e-9)) == []
    assert worst in found(scores[worst] * (1 - 1e-9))


def test_many_gross_errors_are_left_out_as_if_neighbours_were_looked_for_anew_each_time(monkeypatch):
    position, d = consistent(5, n=150, length=20.0)
    wrong = np.random.default_rng(6).choice(150, 50, replace=False)
    d[wrong] += 30.0 * np.where(np.arange(50) % 2, 1.0, -1.0)
    arguments = d, position, np.zeros(150), 2.0, 1.0, 20.0

    class Fresh:
        """A tree that looks through the readings that are there, one by one, and knows no others."""

        def __init__(self, places):
            self.places = places

        def query(self, points, k, distance_upper_bound):
            distance = np.linalg.norm(points[:, None] - self.places[None], axis=2)
            order = np.argsort(distance, axis=1, kind="stable")[:, :k]
            far = np.take_along_axis(distance, order, axis=1) > distance_upper_bound
            return None, np.where(far, len(self.places), order)

        def query_ball_point(self, point, radius):
            return np.flatnonzero(np.linalg.norm(self.places - point, axis=1) <= radius)

    found = buddy_check(*arguments, buddies=5)
    assert np.mean(found[wrong]) > 0.8
    monkeypatch.setattr("da.observation.quality.cKDTree", Fresh)
    np.testing.assert_array_equal(buddy_check(*arguments, buddies=5), found)


def test_false_alarms_are_as_rare_as_the_limit_says():
    marked = [buddy_check(*reversed(consistent(seed)), np.zeros(40), 2.0, 1.0, 30.0, limit=2.0) for seed in range(25)]
    assert 0.02 < np.mean(marked) < 0.07


def test_a_reading_without_a_neighbour_is_not_checked():
    far = np.array([[0.0, 0, 0], [1e3, 0, 0]])
    assert rows(buddy_check([99.0, 0.0], far, [0, 0], 1.0, 1.0, 10.0)) == []
    assert rows(buddy_check([99.0], far[:1], [0], 1.0, 1.0, 10.0)) == []
    with pytest.raises(ValueError, match="length 0.0"):
        buddy_check([99.0], far[:1], [0], 1.0, 1.0, 0.0)
