"""The report of a run, one HTML file that needs nothing else: `python -m plugin.report RUN`, or `report: true`.

write         all sections put together into the page
run           what a run's folder says, read once
fields        the last window's fields, for the sections that draw them
sections/     a module for each section of the page, with a function from a Run to a Section
page/         what sections consist of, the HTML they become, and figures as SVG in the page's colours
scene/        the last increment in three dimensions: its surfaces, and a picture of them
beside_cycle  the report as a process of its own, beside a cycle
"""
