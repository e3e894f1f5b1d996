"""The simulation's side: meshes, files, grids, interpolation, model drivers.

Nothing here knows a cost function or a network. What the rest of the code needs to know of a
simulation passes through four types: :class:`~coupling.mesh.Mesh`, :class:`~coupling.mesh.State`,
:class:`~coupling.grid.Grid` and :class:`~coupling.checkpoint.Restart`.
"""
