"""Checkpoints under Fluidity's names, so that a run can continue from them exactly.

    NAME_N_checkpoint.flml                        the options, changed to start from the files below
    NAME_<Mesh>_N_checkpoint.vtu|.pvtu            per mesh name, its prognostic fields
    NAME_<CoordinateMesh>_N_checkpoint.msh        in parallel …_{rank}.msh and .halo

As with Fluidity the time in the options is rounded to 15 digits. Where steps are not exact in binary
a restart therefore begins up to one unit in the last place off the time of the run.
"""

import copy
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from lxml import etree

from coupling.embedded.options import SimulationOptions
from coupling.embedded.output import Writer
from coupling.fluidity import options as flml
from coupling.fluidity.halo import Halo, write_halo
from coupling.fluidity.msh import GmshMesh, write_msh


def write_checkpoint(
    case: SimulationOptions,
    number: int,
    time: float,
    fields: Mapping[str, Mapping[str, np.ndarray]],
    mesh: GmshMesh,
    halo: Halo,
    writer: Writer,
) -> None:
    """Write one checkpoint; the options come last, after all files they name. Collective.

    Parameters
    ----------
    case : options of the run
    number : the checkpoint's number
    time : s
    fields : {mesh name: {field name: (N,) or (N, 3) values}} of the prognostic fields
    mesh : the piece of the rank
    halo : that piece's halo
    writer : of the rank's dumps
    """
    comm = writer.comm
    base = _stem(case, case.coordinate_mesh, number)
    if comm.size == 1:
        write_msh(mesh, Path(f"{base}.msh"))
    else:
        write_msh(mesh, Path(f"{base}_{comm.rank}.msh"))
        write_halo(halo, Path(f"{base}_{comm.rank}.halo"))
    for name, of_mesh in fields.items():
        writer.write(_stem(case, name, number), of_mesh)
    comm.Barrier()
    if comm.rank == 0:
        suffix = ".vtu" if comm.size == 1 else ".pvtu"
        sources = {f: _stem(case, m, number) + suffix for m, of_mesh in fields.items() for f in of_mesh}
        flml.write_options(_options(case, base, time, sources), f"{case.name}_{number}_checkpoint.flml")
    comm.Barrier()


def _stem(case, mesh_name, number):
    return f"{case.name}_{mesh_name}_{number}_checkpoint"


def _options(case, mesh_file, time, sources):
    """The options tree of a run that continues from here."""
    tree = copy.deepcopy(case.tree)
    flml.set_option(tree, "simulation_name", f"{case.name}_checkpoint")
    tree.getroot().find("timestepping/current_time/real_value").text = f"{time:.15g}"
    tree.getroot().find(f"geometry/mesh[@name='{case.coordinate_mesh}']/from_file").set("file_name", mesh_file)
    for field in tree.getroot().findall("material_phase/*[@name]"):
        condition = field.find("prognostic/initial_condition")
        for child in list(condition):
            condition.remove(child)
        source = etree.SubElement(condition, "from_file", file_name=sources[field.get("name")])
        etree.SubElement(source, "format", name="vtu")
    return tree
