"""The simulation's side: meshes, files, grids, interpolation, model drivers.

Nothing here knows a cost function or a network. What the rest of the code needs to know of a
simulation passes through four types: :class:`~coupling.geometry.mesh.Mesh`, :class:`~coupling.geometry.mesh.State`,
:class:`~coupling.geometry.grid.Grid` and :class:`~coupling.fluidity.checkpoint.FluidityRestart`.
"""
