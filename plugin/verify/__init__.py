"""Checks of the mathematics with a case of one's own: operators and costs, a network, and the number of ranks."""
