"""Background errors: from snapshots to modes, B = V Vᵀ, and the control-variable transforms made of them.

`transform` and `decoder` are protocols: what an analysis asks of any U, and of a network that another package runs.
"""
