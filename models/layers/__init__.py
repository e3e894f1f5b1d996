"""Building blocks, one file each, with its paper and formula.

All take and give (B, C, nx, ny, nz). Those of the decoder that change the resolution are given the shape to
produce, so that any grid comes back at its own size.
"""
