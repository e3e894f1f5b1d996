"""The case.

files      its files, each opened once however many checks ask for it
model      the model's program and its launcher, tried with a small program
options    the model's options, and what the cycle needs of them
parameters unknown numbers of the model: their priors, and their place in its options
estimate   how many model runs an estimate of them takes
restart    a restart written and read back
states     earlier states: their fields, times and mesh
grid       the grid over the mesh
readings   readings in the model's air and in the run's windows
trial      one time step of the model
network    weights that belong to the case
resources  memory, disk and time
"""
