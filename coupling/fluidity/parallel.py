"""Kinds of meshes that a real Fluidity did not run, or not reliably, on several processes; docs/fluidity.md has how.

Not the number of pieces that files are cut into: that is in :mod:`coupling.fluidity.checkpoint`.
"""

from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import FluidityRestart
from coupling.fluidity.msh import read_msh
from coupling.fluidity.named_files import file_name, mesh_elements, mesh_name, pieces_of
from coupling.geometry.shapes import HEXAHEDRON, QUADRILATERAL
from coupling.simulation.advice import WARN, Remark


def doubtful_processes(restart: FluidityRestart, processes: int) -> Remark | None:
    """Why the model may fail on so many processes though its files are cut for them, None if nothing speaks for it.

    Raises
    ------
    FileError
        if a file of a mesh is missing or broken
    """
    if processes == 1:
        return None
    tree = flml.read_options(restart.options)
    extruded = tree.getroot().find("geometry/mesh/from_mesh/extrude")
    if extruded is not None:
        text = (
            f"{restart.options}: {mesh_name(extruded)} is extruded, which Fluidity refuses on {processes} processes if "
            'it was built without Zoltan ("Please reconfigure with Zoltan")'
        )
        return Remark(WARN, text, "run it in serial (model.processes: 1), or with a Fluidity that has Zoltan")
    for mesh in tree.getroot().findall("geometry/mesh"):
        conditions = mesh.findall("from_mesh/periodic_boundary_conditions")
        if conditions and not any(condition.find("remove_periodicity") is not None for condition in conditions):
            text = (
                f"{restart.options}: {mesh.get('name')} is made periodic when the model starts, which is to run on "
                f"{processes} processes; Fluidity's manual asks for its tools periodise and flredecomp before that"
            )
            advice = (
                "run it in serial (model.processes: 1); of a mesh that periodise made, fields can be copied, but not "
                "analysed"
            )
            return Remark(WARN, text, advice)
    for element in mesh_elements(tree):
        base = file_name(element)
        path = (pieces_of(restart.folder, base) or [restart.folder / f"{base}.msh"])[0]
        shape = read_msh(path).shape
        if shape in (QUADRILATERAL, HEXAHEDRON):
            text = (
                f"{path}: has {shape.name}, the model is to run on {processes} processes; in our trials, cut by "
                "coupling.embedded.decompose, Fluidity crashed (signal 11) in seven of eight runs on two"
            )
            advice = "run it in serial (model.processes: 1, with the whole mesh), or mesh with triangles or tetrahedra"
            return Remark(WARN, text, advice)
    return None
