"""A run's report, section by section, in one HTML file."""

import time
from pathlib import Path

from coupling.common.files import FileError, whole_file
from coupling.geometry.mesh import MeshError
from plugin.report.fields import last_fields
from plugin.report.members import exceedances, has_members
from plugin.report.page.page import Section, Text, page
from plugin.report.run import Run, read_run
from plugin.report.sections.consistency import consistency
from plugin.report.sections.convergence import convergence
from plugin.report.sections.ensemble import ensemble
from plugin.report.sections.exceedance import exceedance
from plugin.report.sections.headline import headline
from plugin.report.sections.parameters import parameters
from plugin.report.sections.quality import quality
from plugin.report.sections.running import running
from plugin.report.sections.settings import settings
from plugin.report.sections.slices import slices
from plugin.report.sections.solid import solid
from plugin.report.sections.timeline import timeline


def write_report(folder: Path, path: Path | None = None) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    folder : of the run
    path : of the page; FOLDER/report.html if None

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
        beside.write_text(page(*_heading(run), sections(run)), encoding="utf-8")
    return path


def sections(run: Run) -> list[Section]:
    """The sections of a run's page, in their order."""
    if not run.entries:
        return [
            Section("headline", "No window is finished yet", [Text("Come back once the first window is done.")]),
            settings(run),
        ]
    possible = [headline(run), ensemble(run), parameters(run), timeline(run), *_pictures(run)]
    possible += [convergence(run), consistency(run), quality(run)]
    return [section for section in (*possible, running(run), settings(run)) if section is not None]


def _pictures(run: Run) -> list[Section | None]:
    """The sections that need the last window's files, or one that says why these cannot be read."""
    try:
        fields = last_fields(run)
        dangerous = exceedance(run, exceedances(run)) if has_members(run) else None
    except (FileError, MeshError) as error:
        return [Section("fields", "Last analysis in the streets", [Text(f"There are no pictures: {error}", "bad")])]
    return [dangerous, slices(run, fields), solid(run, fields)]


def _heading(run: Run) -> tuple[str, str]:
    name = run.folder.resolve()
    at = f", t = {run.last['time']:g} s" if run.entries else ""
    done = f"Window {len(run.entries)} of {run.windows}{at}. Written on {time.strftime('%d %B %Y at %H:%M %Z')}."
    return f"Assimilation in {name.parent.name}/{name.name}", done
