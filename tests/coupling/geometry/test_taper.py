"""Weights that fade towards a boundary."""

import numpy as np
from mpi4py import MPI

from coupling.geometry.taper import fading_weights

COMM = MPI.COMM_SELF


def test_it_rises_from_zero_at_the_boundary_to_one_at_the_distance():
    x = np.linspace(0.0, 30.0, 31)
    places = np.column_stack([x, 0 * x, 0 * x])
    weights = fading_weights(places, np.array([[0.0, 0.0, 0.0], [-5.0, 0.0, 0.0]]), 20.0, COMM)
    assert weights[0] == 0.0 and (weights[20:] == 1.0).all() and weights[10] == 0.5
    assert (np.diff(weights[:21]) > 0).all()
    assert weights[1] < 0.01 and weights[19] > 0.99  # no kink at either end


def test_without_a_boundary_all_weights_are_one():
    assert (fading_weights(np.zeros((3, 3)), np.empty((0, 3)), 1.0, COMM) == 1.0).all()
    assert fading_weights(np.empty((0, 3)), np.zeros((1, 3)), 1.0, COMM).shape == (0,)
