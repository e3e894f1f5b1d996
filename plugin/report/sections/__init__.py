"""The sections of the page, in its order; each module has a function from a Run to a Section.

headline     is the analysis better than the forecast, at its sensors and at those withheld from it
ensemble     spread of the members beside their errors, ranks of readings, forecasts as fans
parameters   unknown numbers of the model in time
exceedance   where how many members exceed a limit
timeline     innovations and residuals in time, by variable and by station
slices       background, increment, analysis and standard deviation, from above and from the side
solid        the last increment in three dimensions
convergence  J in each iteration
consistency  χ², and the errors that innovations and residuals imply
quality      which readings were left out, and why
running      times, fallbacks, and what the gates changed
settings     configuration and versions
"""
