"""Ways to run and change the embedded model's small case, for its tests."""

import shutil
import subprocess
import sys

import numpy as np
from lxml import etree
from mpi_words import mpirun_words
from places import ROOT

from coupling.embedded.decompose import decompose, partition
from coupling.fluidity.halo import write_halo
from coupling.fluidity.msh import read_msh, write_msh
from coupling.simulation.launch import clean_environment
from coupling.vtk.cells import arrays_of
from coupling.vtk.vtu import add_array, read_grid, write_grid
from coupling.vtk.xml import parse_xml

DATA = ROOT / "tests" / "data" / "embedded"


def change(options, **changed):
    """Change options of a .flml in place: their paths with dots for slashes, and new texts."""
    tree = parse_xml(options)
    for path, text in changed.items():
        tree.getroot().find(path.replace("__", "/"))[0].text = text
    tree.write(str(options))


def insert(options, parent, xml):
    """Add an element to a .flml in place."""
    tree = parse_xml(options)
    (tree.getroot() if parent == "." else tree.getroot().find(parent)).append(etree.fromstring(xml))
    tree.write(str(options))


def edit_array(path, name, edit):
    """Replace a VTU's point array by edit(values), leaving all else."""
    grid = read_grid(path)
    values = np.array(edit(arrays_of(grid.GetPointData())[name].copy()))
    grid.GetPointData().RemoveArray(name)
    add_array(grid.GetPointData(), name, values)
    write_grid(grid, path)


def model(folder, options, n=1, words=(), pwd=None):
    """Run the embedded model in a folder on n ranks; returns the CompletedProcess."""
    environment = clean_environment(pwd or folder, {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    command = [*(mpirun_words(n) if n > 1 else []), sys.executable, "-m", "coupling.embedded", *words, str(options)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def cut(folder, n):
    """Cut the case's mesh for n processes."""
    mesh = read_msh(folder / "mesh.msh")
    for piece, halo in decompose(mesh, partition(mesh.points, n)):
        write_msh(piece, folder / f"mesh_{halo.process}.msh")
        write_halo(halo, folder / f"mesh_{halo.process}.halo")
    (folder / "mesh.msh").unlink()


def fresh(folder, n=1):
    """A new folder with the small case, cut for n processes."""
    folder.mkdir(exist_ok=True)
    for name in ("case.flml", "mesh.msh"):
        shutil.copyfile(DATA / name, folder / name)
    if n > 1:
        cut(folder, n)
    return folder
