"""A cycle of several models side by side: forecasts of members, their analysis, and what a run keeps of them.

setting      what all windows share: space of the analysis, gates, how members start
latent       members analysed through a network
members      folders and restarts of members, draws at the start, where a run goes on
forecasts    models run by groups of ranks; what follows where one fails
states       members as columns on the grid and at the readings
readings     quality control against the spread, and what an analysis is made of
analysis     the update by name, inflation, and each member's restart
record       table, ledger entry and line of a window
cycle        the loop
"""
