"""Checks for `plugin.verify`: of a network, and of the number of ranks."""
