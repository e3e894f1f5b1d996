"""Fields of two states, compared bit for bit."""

import numpy as np


def at_corners(field):
    """Values that can be compared between continuous and discontinuous files of a mesh; halo nodes are among them."""
    return field.values[field.mesh.cells] if field.location == "point" else field.values


def assert_same(state, other, names=None):
    """The same values on every node of every piece; `names` are all of `state` unless given."""
    for name in names or state.fields:
        np.testing.assert_array_equal(at_corners(state[name]), at_corners(other[name]), err_msg=name)
