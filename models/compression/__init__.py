"""Trained networks made smaller: channels pruned away, shuffles in place of transposed convolutions."""
