"""The mathematics: background modes, observations, cost function, minimiser, analysis.

This room knows vectors. A grid state is its rank's run of rows, numbered point by point with the
variable fastest; files, meshes and networks belong elsewhere. The communicator is an argument.

:mod:`da.snapshots` → :mod:`da.scaling` → :mod:`da.modes` (kept by :mod:`da.modes_file`) → :mod:`da.transform`; with :mod:`da.operator` and
:mod:`da.observation_error` it makes the :mod:`da.cost` that :mod:`da.minimise` hands to TAO;
:mod:`da.analysis` is the whole of it for one time. Round it lie quality control, other norms and errors,
what an analysis is worth (:mod:`da.posterior`, :mod:`da.desroziers`), and the transforms through a network
(:mod:`da.latent`, :mod:`da.decoded`, :mod:`da.bireduced`), trusted only as far as :mod:`da.trust` says.
"""
