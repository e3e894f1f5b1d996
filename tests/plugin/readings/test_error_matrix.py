"""Covariances in files that are none, damaged or larger than memory."""

import numpy as np
import pytest

from plugin.case.configuration import ConfigurationError
from plugin.readings.error_matrix import given_matrix


def _claim(path):
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file, {"descr": "<f8", "fortran_order": False, "shape": (1 << 25, 1 << 25)}
        )


def _several(path):
    with open(path, "wb") as file:
        np.savez(file, a=np.eye(2), b=np.eye(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_bytes(b"PK\x03\x04 no archive"), "cannot be read"),
        (lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "cannot be read"),
        (lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), "cannot be read: Object arrays"),
        (lambda path: np.save(path, np.ones((2, 3))), r"float64 of shape \(2, 3\), expected a square matrix"),
        (_several, "holds several arrays, expected a matrix"),
        (_claim, "cannot be read"),
    ],
)
def test_what_is_no_covariance_is_named(tmp_path, make, message):
    make(tmp_path / "r.npy")
    with pytest.raises(ConfigurationError, match=f"r.npy: {message}"):
        given_matrix(tmp_path / "r.npy")
