"""Ensembles: background errors from the members of today's forecast, and analyses that update all of them.

`ensemble` has the types; each method is a function from `EnsembleReadings` to an `EnsembleUpdate`.
"""
