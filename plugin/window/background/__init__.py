"""Background errors of a case's analyses: modes of earlier states, their taper and factor, and networks."""
