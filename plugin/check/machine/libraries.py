"""Whether Python's packages were built for each other: by importing them, and by the libraries they have loaded."""

import importlib
import platform
import re
import sys
from pathlib import Path

from plugin.check.finding import FAIL, OK, WARN, Finding

PYTHON = (3, 11)
# VTK's wheel brings an HDF5 of its own, under names of its own, which disturbs nobody
_LIBRARIES = {
    "MPI": r"lib(?:mpi|mpich|mpi_cray)\.so",
    "HDF5": r"libhdf5(?:_openmpi|_mpich|_serial)?[-.][\w.-]*so",
    "PETSc": r"libpetsc\w*\.so",
}


def loaded(maps=None):
    """{"MPI", "HDF5", "PETSc": sorted paths of the shared libraries that this process has loaded}.

    maps : text of /proc/self/maps; read if left out, and empty on a system without it
    """
    if maps is None:
        path = Path("/proc/self/maps")
        maps = path.read_text() if path.is_file() else ""
    files = {line.split(maxsplit=5)[5] for line in maps.splitlines() if line.count("/")}
    return {
        name: sorted({str(Path(f).resolve()) for f in files if re.match(pattern, Path(f).name)})
        for name, pattern in _LIBRARIES.items()
    }


def packages(ranks=1):
    """Findings about each package: whether it can be imported, and what it is for so many ranks."""
    found = platform.python_version()
    if sys.version_info < PYTHON:
        yield Finding(FAIL, "Python", found, f"take Python {'.'.join(map(str, PYTHON))} or newer")
    else:
        yield Finding(OK, "Python", found)
    for name, about in _ABOUT.items():
        try:
            module = importlib.import_module(name)
        except ImportError as error:  # also what numpy says of a package that was built for another of its ABIs
            yield Finding(
                FAIL,
                name,
                f"cannot be imported: {_first_line(error)}",
                "see README, 'Installing'; Debian's petsc4py wants numpy<2",
            )
            continue
        yield about(module)
    if ranks > 1 and not parallel_h5py():
        told = "serial: archives and modes are written by one rank"
        yield Finding(WARN, "h5py", told, "for more ranks it takes a parallel h5py: see README, 'Installing'")


def libraries(found):
    """Findings about the libraries that ranks have loaded, `loaded()` of each."""
    for name in _LIBRARIES:
        paths = sorted({path for of in found for path in of[name]})
        if len(paths) > 1 and len({Path(path).name.split(".")[0] for path in paths}) > 1:
            # Debian's symbols are kept apart: without mpirun h5py takes the serial library, PETSc the other
            yield Finding(OK, f"one {name}", f"{len(paths)} of different names, which keep apart: {', '.join(paths)}")
        elif len(paths) > 1:
            told = "several are loaded at once: " + ", ".join(paths)
            yield Finding(
                FAIL, f"one {name}", told, "build mpi4py, petsc4py and h5py on the same MPI: see README, 'Installing'"
            )
        elif paths:
            yield Finding(OK, f"one {name}", paths[0])
        else:
            yield Finding(WARN, f"one {name}", "no library of that name is loaded; it may be linked in statically")


def parallel_h5py():
    """Whether h5py can write a file from several ranks."""
    import h5py

    return bool(h5py.get_config().mpi)


def _first_line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _version(module):
    return Finding(OK, module.__name__, module.__version__)


def _petsc(module):
    version = ".".join(map(str, module.Sys.getVersion()))
    if module.ScalarType().dtype.kind == "c":
        return Finding(FAIL, "PETSc", f"{version}, complex", "build petsc4py on a PETSc of real scalars")
    return Finding(OK, "PETSc", f"{version}, real, integers of {8 * module.IntType().itemsize} bits")


def _mpi(module):
    told = module.Get_library_version().split("\n")[0].strip(" \x00,")
    return Finding(OK, "MPI", f"{told}; MPI {'.'.join(map(str, module.Get_version()))}")


def _h5py(module):
    return Finding(OK, "h5py", f"{module.__version__}, HDF5 {module.version.hdf5_version}")


def _torch(module):
    return Finding(OK, "torch", f"{module.__version__}, {module.get_num_threads()} threads")


def _vtk(module):
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
