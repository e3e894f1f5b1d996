"""A reanalysis of an archive of the street's states."""
