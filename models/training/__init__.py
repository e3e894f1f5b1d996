"""Training of autoencoders and observation encoders on any number of ranks.

dataset       which samples make a batch, and reading them in blocks
augmentation  what is done to samples before the network sees them
sensors       random sensors of samples, for observation encoders
objectives    what is minimised, by name
ranks         torch.distributed over the ranks of an MPI communicator
loop          the epochs
state         what is kept after each epoch, to go on from
evaluation    codes and round trips of a trained network
"""
