import numpy as np
import pytest

from da.observation.correlation import CORRELATIONS, correlation_matrix, gaspari_cohn

POSITION = np.random.default_rng(0).random((60, 3)) * [100.0, 80.0, 30.0]


@pytest.mark.parametrize("kind", CORRELATIONS)
@pytest.mark.parametrize("length", [1.0, 30.0, 300.0])
def test_positive_definite_and_falling_with_distance(kind, length):
    matrix = correlation_matrix(POSITION, length, kind)
    assert np.array_equal(matrix, matrix.T) and (np.diag(matrix) == 1.0).all()
    assert np.linalg.eigvalsh(matrix)[0] > 0.0
    r = np.linspace(0.0, 5.0, 200)
    values = CORRELATIONS[kind](r)
    assert values[0] == 1.0 and (np.diff(values) <= 1e-15).all() and (values >= -1e-15).all()


def test_gaspari_and_cohn_is_their_convolution():
    # eq. 4.10 is the 3D convolution of the hat 1 − 2r (r < 1/2) with itself, for c = 1/2 + 1/2
    x = np.linspace(-1.0, 1.0, 81)
    grid = np.stack(np.meshgrid(x, x, x, indexing="ij"), axis=-1)
    hat = np.maximum(1.0 - np.linalg.norm(grid, axis=-1), 0.0)
    total = np.sum(hat**2)
    for shift in (10, 20, 40, 60):
        overlap = np.sum(hat[shift:] * hat[: 81 - shift]) / total
        assert gaspari_cohn(x[shift] + 1.0) == pytest.approx(overlap, abs=2e-3)
    assert gaspari_cohn(2.0) == 0.0 and gaspari_cohn(1.0) == pytest.approx(5.0 / 24.0)


def test_nugget_is_shared_with_no_other():
    twice = np.zeros((2, 3))
    assert correlation_matrix(twice, 1.0, nugget=0.25).tolist() == [[1.0, 0.75], [0.75, 1.0]]


@pytest.mark.parametrize(
    "changed, message",
    [({"kind": "cubic"}, "correlation 'cubic'"), ({"length": 0.0}, "length 0.0"), ({"nugget": 1.0}, "nugget 1.0")],
)
def test_bad_arguments(changed, message):
    with pytest.raises(ValueError, match=message):
        correlation_matrix(**{"position": POSITION, "length": 1.0, **changed})
