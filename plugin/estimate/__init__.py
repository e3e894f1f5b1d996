"""Unknown numbers of the model from all readings of a period, for a release that is over or a wind to be calibrated.

iterations   the loop: runs of all members over the whole period, one update of the parameters by all readings
at_readings  members at the readings' own times, and which readings are used
results      tables and a line of what is known of the parameters
picture      marginals, and a map of a place
"""
