"""The covariance R that a case names: a matrix in a file of numpy's."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from mpi4py import MPI

from da.observation.correlated_error import given_error
from plugin.case.configuration import ConfigurationError


def given_matrix(path: str | Path) -> np.ndarray:
    """The covariance that a case names, (M, M). Not collective.

    Raises
    ------
    ConfigurationError
        if the file is no square matrix of finite numbers, or holds objects of Python
    """
    try:
        matrix = np.load(path, allow_pickle=False)
    # MemoryError: it claims more than there is memory for; BadZipFile: it begins as an archive of arrays does
    except (OSError, ValueError, EOFError, MemoryError, BadZipFile) as error:
        raise ConfigurationError(f"observations.error_model.matrix: {path}: cannot be read: {error}") from None
    if not isinstance(matrix, np.ndarray):
        raise ConfigurationError(f"observations.error_model.matrix: {path}: holds several arrays, expected a matrix")
    if matrix.dtype.kind not in "fiu" or matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ConfigurationError(
            f"observations.error_model.matrix: {path}: {matrix.dtype} of shape {matrix.shape}, expected a square matrix"
        )
    return matrix


def check_matrix(path: str | Path) -> None:
    """Refuse a covariance that no window could use, before anything runs. Not collective.

    Raises
    ------
    ConfigurationError
        as `given_matrix`; if it is not symmetric and positive definite (the message names the smallest eigenvalue)
    """
    matrix = given_matrix(path)
    try:
        given_error(matrix, slice(0, len(matrix)), MPI.COMM_SELF)
    except ValueError as error:
        raise ConfigurationError(f"observations.error_model.matrix: {path}: {error}") from None
