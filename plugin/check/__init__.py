"""The doctor: is this machine, and this case, ready for the cycle? `python -m plugin.check case.yml`

finding   what a check reports; a check that breaks down is a finding too
machine/  libraries, processors and GPU
case/     the case's files, each opened once, and what the cycle needs of them
"""
