"""Observations: what was read (y), how the state is observed (H), how far readings err (R), which are used.

`operator` and `error` are protocols: what an analysis asks of any H and R.
"""
