"""Training sets, the runs of a training, and the curves they leave."""
