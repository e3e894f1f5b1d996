"""OpenFOAM: its cases read, changed and run.

checkpoint : a case at one of its times, as a restart: opened, read, listed, written with changed fields
controls : system/controlDict, and what a run of ours needs otherwise
dictionary : where each entry lies in a file's bytes
driver : the solver, run from one time to another
edit : what goes along with changed fields: the flux, old times, patches, seams
fields : the file of a field
installation : where OpenFOAM is installed
lists : lists of numbers in files, ascii and binary
mesh : constant/polyMesh
numbers : parameters: numbers in dictionaries by the path of their entry
remarks : what a case's own settings mean for a cycle
restart : the type of a restart
simulation : all this as the plugin asks for it
series : the times of cases as states in time
times : which times a case has, and in how many pieces
"""
