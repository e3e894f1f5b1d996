"""Programs that write arrays on several ranks, and the promise that the number of ranks changes nothing."""

import numpy as np
from small_problem import relative_difference

CLOSE = 1e-10  # what results on other numbers of ranks may differ by, relative


def results_on(mpirun, n, folder, program, *words, timeout=300):
    """{name: array} of the .npz file that a program writes on n ranks; the file's path is its last word."""
    path = folder / f"{n}.npz"
    mpirun(n, program, *words, path, timeout=timeout)
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def assert_same_on_ranks(mpirun, folder, program, *words, ranks=(1, 2, 3), timeout=300):
    """Run a program on each number of ranks; its arrays must agree with those of the first. Returns the first's."""
    expected = results_on(mpirun, ranks[0], folder, program, *words, timeout=timeout)
    for n in ranks[1:]:
        assert_close(results_on(mpirun, n, folder, program, *words, timeout=timeout), expected, n)
    return expected


def assert_close(results, expected, n):
    """Results on n ranks are those expected: the same names, values to `CLOSE`."""
    assert results.keys() == expected.keys(), n
    for name, values in expected.items():
        assert relative_difference(results[name], values) < CLOSE, (n, name)
