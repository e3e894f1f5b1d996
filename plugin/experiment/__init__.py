"""The experiments of Mack et al. 2020, and ours, with the states of any archive.

Started by `python -m plugin.experiment NAME case.yml`. The protocol is the case file's `experiment.protocol`
(:mod:`plugin.case.experiment`) and nothing else:

    experiments/     a module for each experiment, with a function from its Inputs to a Result
    states           states, standardised and split in time; readings of a truth
    systems          what is compared: built once, prepared for a set of sensors, then asked for an analysis
    networks         trained networks from a folder, or trained now
    block_codec      principal components of blocks, all values observed
    mode_errors      errors of TSVD's analyses of few readings, for many settings
    sensor_networks  systems that begin with a network of the readings
    scores           errors and times over test states and random sensors
    results          a table as CSV, JSON, Markdown and a figure
    mack_2020        the paper's own figures
"""
