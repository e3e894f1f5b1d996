"""Analyses of all readings of a window at once, in latent space: the path of codes is what is found.

dynamics       a protocol, what is asked of a forecast of codes
path           from a control to a path
cost           J and its derivatives
latent4dvar    the path of least cost
latent4denvar  the path among combinations of an ensemble's, without derivatives
trust          whether a network can be trusted with a window
"""
