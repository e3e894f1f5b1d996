"""The report of a run, one HTML file that needs nothing else: `python -m plugin.report RUN`, or `report: true`.

    run          what is read from the run's folder, once
    page         what chapters are made of, and the page they make
    pictures     matplotlib's figures as SVG in the page's own colours
    making       the chapters put together
    surfaces     ground, buildings and levels of an increment; `render` draws them, started by `rendered`
    fields       the last window's fields, for the chapters that draw them
    started      the report as a process of its own, beside a cycle

and a module for each chapter, with a function from a Run to a Chapter:

    headline     is the analysis better than the forecast where sensors are, and where it saw none
    timeline     innovations and residuals in time, by variable and by station
    slices       background, increment, analysis and standard deviation, from above and from the side
    solid        the last increment in three dimensions
    convergence  J in each iteration
    consistency  χ², and the errors that the readings show
    quality      which readings were left out, and why
    running      times, what was fallen back to, and what gates said
    settings     configuration and versions
"""
