"""The run's settings, and the software that wrote this page."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mpi4py import MPI
from petsc4py import PETSc

from plugin.case.yaml_file import yaml_text
from plugin.report.page.page import Listing, Section, SortableTable
from plugin.report.run import Run

PACKAGES = (
    "fluidity-da",
    "numpy",
    "scipy",
    "mpi4py",
    "petsc4py",
    "h5py",
    "vtk",
    "pyvista",
    "torch",
    "safetensors",
    "matplotlib",
)


def settings(run: Run) -> Section:
    """The section."""
    case = run.settings
    model, background = case["model"], case["background"]
    processes = f"{model['processes']} process{'es' if model['processes'] != 1 else ''}"
    rows = [
        ("model", f"{model['driver']} on {processes}, from {model['start']}"),
        ("window", f"{case['cycle']['window']:g} s, {case['cycle']['windows']} in all"),
        ("grid", ", ".join(f"{key} {value}" for key, value in case["grid"].items() if value is not None)),
        ("variables", ", ".join(case["variables"])),
        ("background errors", f"{background['transform']}, {_truncation(background['truncation'])}"),
        *([("ensemble", f"{ensemble['members']} members")] if (ensemble := case.get("ensemble")) else []),
        ("readings", case["observations"]["file"]),
        ("folder", str(run.folder.resolve())),
    ]
    return Section(
        "settings",
        "Settings and versions",
        [
            SortableTable("The run", ("setting", "value"), rows),
            Listing("All settings of the run", yaml_text(_as_written(case))),
            SortableTable("Software that wrote this page", ("software", "version"), versions()),
        ],
    )


def _truncation(truncation: float | None) -> str:
    if truncation is None:
        return "truncation by the rule σ_τ ≥ √σ₁"
    return f"truncation {truncation:g}"


def _as_written(value: Any) -> Any:
    """Settings with whole numbers as people write them, 80 for JSON's 80.0."""
    if isinstance(value, dict):
        return {name: _as_written(of) for name, of in value.items()}
    if isinstance(value, list):
        return [_as_written(of) for of in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def versions() -> list[tuple[str, str]]:
    """(software, version) of everything an analysis depends on."""
    return [
        ("Python", platform.python_version()),
        *((name, _version(name)) for name in PACKAGES),
        ("PETSc", ".".join(map(str, PETSc.Sys.getVersion()))),
        ("MPI", MPI.Get_library_version().split("\n")[0].split(",")[0]),
        ("machine", f"{platform.node()}, {platform.platform()}"),
    ]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"
