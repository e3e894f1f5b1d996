"""The mathematics: background modes, observations, cost function, minimiser, analysis.

This room knows vectors. A grid state is its rank's run of rows, numbered point by point with the variable fastest;
files, meshes and networks belong elsewhere. The communicator is an argument.

:mod:`da.background.snapshots` → :mod:`da.background.scaling` → :mod:`da.background.modes` (kept by
:mod:`plugin.window.background.modes_file`) → :mod:`da.background.transform`; with :mod:`da.observation.operator` and
:mod:`da.observation.error` it makes the :mod:`da.minimisation.cost` that :mod:`da.minimisation.minimise` hands to TAO;
:mod:`da.analysis` is the whole of it for one time. Beside these are quality control, other norms and errors, the worth
of an analysis (:mod:`da.diagnostics.posterior`, :mod:`da.diagnostics.desroziers`), and the transforms through a network
(:mod:`da.background.latent`, :mod:`da.decoded`, :mod:`da.bireduced`), trusted only as far as
:mod:`da.diagnostics.trust` says.
"""
