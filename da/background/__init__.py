"""Background errors: from snapshots to modes, B = V Vᵀ, and the control-variable transforms made of them."""
