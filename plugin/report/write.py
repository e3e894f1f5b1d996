"""A run's report, chapter by chapter."""

import time
from pathlib import Path

from coupling.common.files import FileError, whole_file
from coupling.geometry.mesh import MeshError
from plugin.report.fields import last_fields
from plugin.report.page.page import Chapter, Text, page
from plugin.report.run import read_run
from plugin.report.sections.consistency import consistency
from plugin.report.sections.convergence import convergence
from plugin.report.sections.headline import headline
from plugin.report.sections.quality import quality
from plugin.report.sections.running import running
from plugin.report.sections.settings import settings
from plugin.report.sections.slices import slices
from plugin.report.sections.solid import solid
from plugin.report.sections.timeline import timeline


def write_report(folder, path=None):
    """Make the report of a run.

    Parameters
    ----------
    folder : of the run
    path : where to; FOLDER/report.html if left out

    Returns
    -------
    Path of the page

    Raises
    ------
    ConfigurationError, LedgerError, ReadingsError, OSError
        if the folder holds no run, or a damaged one
    """
    run = read_run(folder)
    path = run.folder / "report.html" if path is None else Path(path)
    with whole_file(path) as beside:
        beside.write_text(page(*_heading(run), chapters(run)), encoding="utf-8")
    return path


def chapters(run):
    """The chapters that a run gives, in their order."""
    if not run.entries:
        return [
            Chapter("headline", "No window is finished yet", [Text("The page is worth another look later.")]),
            settings(run),
        ]
    found = [headline(run), timeline(run), *_pictures(run), convergence(run), consistency(run), quality(run)]
    return [chapter for chapter in (*found, running(run), settings(run)) if chapter is not None]


def _pictures(run):
    """The chapters that need the last window's files; a word in their place where these were taken away."""
    try:
        fields = last_fields(run)
    except (FileError, MeshError) as error:
        return [
            Chapter("fields", "Last analysis in the streets", [Text(f"There are no pictures of it: {error}", "bad")])
        ]
    return [slices(run, fields), solid(run, fields)]


def _heading(run):
    name = run.folder.resolve()
    at = f", t = {run.last['time']:g} s" if run.entries else ""
    done = f"Window {len(run.entries)} of {run.windows}{at}. Made on {time.strftime('%d %B %Y at %H:%M %Z')}."
    return f"Assimilation in {name.parent.name}/{name.name}", done
