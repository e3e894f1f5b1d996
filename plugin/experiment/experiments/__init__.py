"""The experiments, by their names on the command line.

tables, observations, tradeoff, steps, truncation   those of Mack et al. 2020
sparse, cycled                                      ours
rows                                                rows that several of them share
"""
