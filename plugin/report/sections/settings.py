"""The run's settings, and the programs that made this page."""

import platform
from importlib.metadata import PackageNotFoundError, version

import yaml
from mpi4py import MPI
from petsc4py import PETSc

from plugin.report.page.page import Chapter, Listing, PageTable

PACKAGES = ("fluidity-da", "numpy", "scipy", "mpi4py", "petsc4py", "h5py", "vtk", "torch", "safetensors", "matplotlib")


def settings(run):
    """The chapter."""
    of = run.settings
    model, background = of["model"], of["background"]
    rows = [
        ("model", f"{model['driver']} on {model['processes']} processes, from {model['start']}"),
        ("window", f"{of['cycle']['window']:g} s, {of['cycle']['windows']} of them"),
        ("grid", ", ".join(f"{key} {value}" for key, value in of["grid"].items() if value is not None)),
        ("variables", ", ".join(of["variables"])),
        ("background errors", f"{background['transform']}, truncation {background['truncation']}"),
        ("readings", of["observations"]["file"]),
        ("folder", str(run.folder.resolve())),
    ]
    return Chapter(
        "settings",
        "Settings and versions",
        [
            PageTable("The run", ("what", "is"), rows),
            Listing("All settings of the run", yaml.safe_dump(of, sort_keys=False, allow_unicode=True)),
            PageTable("Where this page was made", ("what", "version"), versions()),
        ],
    )


def versions():
    """[(what, version)] of what an analysis is made with."""
    return [
        ("Python", platform.python_version()),
        *((name, _version(name)) for name in PACKAGES),
        ("PETSc", ".".join(map(str, PETSc.Sys.getVersion()))),
        ("MPI", MPI.Get_library_version().split("\n")[0].split(",")[0]),
        ("machine", f"{platform.node()}, {platform.platform()}"),
    ]


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
