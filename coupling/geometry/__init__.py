"""Where values lie: meshes, grids, points, and the interpolation between them."""
