"""Whether Python's packages were built for each other: their imports, and the libraries they have loaded."""

import importlib
import platform
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plugin.check.finding import FAIL, OK, WARN, Finding

PYTHON = (3, 11)
# VTK's wheel brings its own HDF5 under its own names, which does no harm
_LIBRARIES = {
    "MPI": r"lib(?:mpi|mpich|mpi_cray)\.so",
    "HDF5": r"libhdf5(?:_openmpi|_mpich|_serial)?[-.][\w.-]*so",
    "PETSc": r"libpetsc\w*\.so",
}


def loaded(maps: str | None = None) -> dict[str, list[str]]:
    """{"MPI", "HDF5", "PETSc": sorted paths of the shared libraries that this process has loaded}.

    maps : text of /proc/self/maps; read if None, empty on a system without it
    """
    if maps is None:
        path = Path("/proc/self/maps")
        maps = path.read_text() if path.is_file() else ""
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count("/")}
    return {
        name: sorted({str(Path(f).resolve()) for f in files if re.match(pattern, Path(f).name)})
        for name, pattern in _LIBRARIES.items()
    }


def packages(ranks: int = 1) -> Iterator[Finding]:
    """Findings about each package: whether it can be imported, and whether it is fit for this number of ranks."""
    version = platform.python_version()
    if sys.version_info < PYTHON:
        yield Finding(FAIL, "Python", version, f"use Python {'.'.join(map(str, PYTHON))} or newer")
    else:
        yield Finding(OK, "Python", version)
    for name, about in _ABOUT.items():
        try:
            module = importlib.import_module(name)
        except ImportError as error:  # numpy also raises it for a package built for another of its ABIs
            yield Finding(
                FAIL,
                name,
                f"cannot be imported: {_first_line(error)}",
                "see README, 'Installing'; Debian's petsc4py needs numpy<2",
            )
            continue
        yield about(module)
    if ranks > 1 and not parallel_h5py():
        text = "serial: one rank writes archives and modes"
        yield Finding(WARN, "h5py", text, "writing from several ranks needs a parallel h5py: see README, 'Installing'")


def libraries(by_rank: Sequence[Mapping[str, Sequence[str]]]) -> Iterator[Finding]:
    """Findings about the libraries that all ranks have loaded, `loaded()` of each."""
    for name in _LIBRARIES:
        paths = sorted({path for paths in by_rank for path in paths[name]})
        if len(paths) > 1 and len({Path(path).name.split(".")[0] for path in paths}) > 1:
            # Debian versions the symbols of each: without mpirun h5py loads the serial library, PETSc the parallel one
            yield Finding(
                OK, f"one {name}", f"{len(paths)} under different names, which do not clash: {', '.join(paths)}"
            )
        elif len(paths) > 1:
            text = "several are loaded at once: " + ", ".join(paths)
            yield Finding(
                FAIL, f"one {name}", text, "build mpi4py, petsc4py and h5py on the same MPI: see README, 'Installing'"
            )
        elif paths:
            yield Finding(OK, f"one {name}", paths[0])
        else:
            yield Finding(WARN, f"one {name}", "no library of this name is loaded; it may be linked statically")


def parallel_h5py() -> bool:
    """Whether h5py can write a file from several ranks."""
    import h5py

    return bool(h5py.get_config().mpi)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _version(module: Any) -> Finding:
    return Finding(OK, module.__name__, module.__version__)


def _petsc(module: Any) -> Finding:
    version = ".".join(map(str, module.Sys.getVersion()))
    if module.ScalarType().dtype.kind == "c":
        return Finding(FAIL, "PETSc", f"{version}, complex", "build petsc4py on a PETSc with real scalars")
    return Finding(OK, "PETSc", f"{version}, real, integers of {8 * module.IntType().itemsize} bits")


def _mpi(module: Any) -> Finding:
    text = module.Get_library_version().split("\n")[0].strip(" \x00,")
    return Finding(OK, "MPI", f"{text}; MPI {'.'.join(map(str, module.Get_version()))}")


def _h5py(module: Any) -> Finding:
    return Finding(OK, "h5py", f"{module.__version__}, HDF5 {module.version.hdf5_version}")


def _torch(module: Any) -> Finding:
    return Finding(
        OK,
        "torch",
        f"{module.__version__}, {module.get_num_threads()} thread{'s' if module.get_num_threads() != 1 else ''}",
    )


def _vtk(module: Any) -> Finding:
    return Finding(OK, "VTK", module.vtkVersion.GetVTKVersion())


_ABOUT = {
    "numpy": _version,
    "scipy": _version,
    "mpi4py.MPI": _mpi,
    "petsc4py.PETSc": _petsc,
    "h5py": _h5py,
    "vtkmodules.vtkCommonCore": _vtk,
    "torch": _torch,
}
