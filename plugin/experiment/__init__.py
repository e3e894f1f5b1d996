"""The experiments of Mack et al. 2020, and ours, with the states of any archive.

Started by `python -m plugin.experiment NAME case.yml`. The protocol is the case file's `experiment.protocol`
(:mod:`plugin.case.experiment`) and nothing else:

    protocol   states, standardised and split in time; readings of a truth
    systems    what is compared: made once, prepared for a set of sensors, then asked for an analysis
    networks   trained networks from a folder, or trained now
    readers    systems that begin with a network of the readings
    scores     errors and times over test states and draws of sensors
    results    a table as CSV, JSON, Markdown and a figure
    magic      the paper's own figures

and an experiment is a module with a function of a Setting that gives a Result.
"""
