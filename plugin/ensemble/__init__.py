"""A cycle of several models side by side: forecasts of members, their analysis, and what a run keeps of them.

setting      what all windows share: space of the analysis, gates, how members start
latent       members analysed through a network
members      folders and restarts of members, draws at the start, where a run goes on
forecasts    models run by groups of ranks; what follows where one fails
states       members as columns on the grid and at the readings
readings     quality control against the spread, and what an analysis is made of
methods      analyses by name, with the localisation of the case; static has the modes of a hybrid
parameters   unknown numbers of the model; parameter_files what a run keeps of them
analysis     the update, inflation, and each member's restart
moments      mean and spread on the mesh
smoothing    earlier states of a window after its analysis
scores       what readings say of the forecasts
record       table, ledger entry and line of a window
cycle        the loop
"""
