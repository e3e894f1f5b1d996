"""A forecast model that is learned: the codes of a state, advanced by learned dynamics, as `driver: learned`.

driver         runs it from restart to restart of the simulation that it stands in for
code_model     a state on the mesh and its code, a step later
carried_codes  the code beside a restart, so that a forecast goes on as if it had not stopped
"""
