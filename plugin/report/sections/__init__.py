"""The sections of the page, in its order; each module has a function from a Run to a Section.

headline     is the analysis better than the forecast, at its sensors and at those withheld from it
timeline     innovations and residuals in time, by variable and by station
slices       background, increment, analysis and standard deviation, from above and from the side
solid        the last increment in three dimensions
convergence  J in each iteration
consistency  χ², and the errors that innovations and residuals imply
quality      which readings were left out, and why
running      times, fallbacks, and what the gates changed
settings     configuration and versions
"""
