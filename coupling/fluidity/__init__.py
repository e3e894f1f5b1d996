"""Fluidity: options, checkpoints, meshes, halos, boundaries, and the driver that runs it."""
