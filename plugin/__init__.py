"""What a person starts, and what only these commands know: the case file, the run folder, one window's analysis.

    python -m plugin.check        the machine and a case, before a run
    python -m plugin.verify       the mathematics on a case's own data
    python -m plugin.modes        background errors, made once for many runs
    python -m plugin.tune         settings of background and observation errors, by cross-validation
    python -m plugin.train        an autoencoder or an observation encoder (`training`)
    python -m plugin.cycle        the loop of forecast and analysis
    python -m plugin.estimate     parameters from all readings of a period
    python -m plugin.reanalysis   independent analyses of the states of an archive
    python -m plugin.archive      dumps into an archive and back
    python -m plugin.diagnostics  errors that a run's readings show
    python -m plugin.sensors      where the next sensors would help most
    python -m plugin.report       the page about a run
    python -m plugin.experiment   the experiments of Mack et al. 2020

Only this package knows all the others; it hands arrays and a few small types from one to the next.
"""
