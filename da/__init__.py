"""The mathematics: background modes, observations, cost function, minimiser, analysis.

This room knows vectors. A grid state is its rank's run of rows, numbered point by point with the
variable fastest; files, meshes and networks belong elsewhere. The communicator is an argument.

snapshots → :mod:`da.scaling` → :mod:`da.modes` → :mod:`da.transform`; with :mod:`da.operator` and
:mod:`da.observation_error` it makes the :mod:`da.cost` that :mod:`da.minimise` hands to TAO;
:mod:`da.analysis` is the whole of it for one time.
"""
