"""Choosing the settings of background and observation errors by cross-validation on the case's earlier states."""
