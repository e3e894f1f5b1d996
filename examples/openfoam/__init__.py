"""A twin experiment around OpenFOAM."""
