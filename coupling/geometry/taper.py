"""Weights that taper an increment towards open boundaries.

The inflow there comes from the model or from a larger one; an increment that ends abruptly at the boundary would make a
front.
"""

import numpy as np
from mpi4py import MPI
from scipy.spatial import cKDTree


def fading_weights(places: np.ndarray, boundary_places: np.ndarray, distance: float, comm: MPI.Comm) -> np.ndarray:
    """Weights from 0 at a boundary to 1 beyond some distance. Collective.

    With s the distance to the nearest node of the boundary by `distance`, the weight is s² (3 − 2 s): its slope is
    zero at both ends.

    Parameters
    ----------
    places : (N, 3) where weights are wanted [m]
    boundary_places : (k, 3) this rank's nodes of the boundary [m]; those of all ranks count
    distance : m
    comm : MPI communicator

    Returns
    -------
    (N,) float64
    """
    nodes = np.unique(np.concatenate(comm.allgather(np.asarray(boundary_places).reshape(-1, 3))), axis=0)
    if len(nodes) == 0 or len(places) == 0:
        return np.ones(len(places))
    away, _ = cKDTree(nodes).query(places)
    s = np.minimum(away / distance, 1.0)
    return s**2 * (3.0 - 2.0 * s)
