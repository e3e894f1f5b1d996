"""Observations: what was read (y), how the state is observed (H), how far readings err (R), which are used."""
