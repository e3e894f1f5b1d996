"""The names that a user chooses from, without torch: the case file and its schema are made of these tables.

A new entry is allowed in the case file at once. Those of `OBJECTIVES` are functions of
:mod:`models.training.objectives`; `ACTIVATIONS` are built by :mod:`models.layers.activation`, `UPSAMPLINGS` by
:mod:`models.layers.shuffle`, `OPTIMISERS` by :mod:`models.training.optimisers`, `DYNAMICS` by
:mod:`models.dynamics.network`; `INFERENCE_PRECISIONS` are those of :mod:`models.inference`.
"""

ACTIVATIONS = ("PReLU", "ReLU", "GDN")
UPSAMPLINGS = ("transposed", "shuffle")
OBJECTIVES = ("reconstruction", "relative", "combination", "gaussian", "vae", "adversarial", "distilled")
OPTIMISERS = {"adamw": 2e-3, "muon": 2e-2}  # and their learning rates where none is given
SCHEDULES = ("cosine", "constant")
DYNAMICS = ("residual", "recurrent")
PRECISIONS = ("bfloat16", "float32")
INFERENCE_PRECISIONS = ("float32", "bfloat16", "int8")
