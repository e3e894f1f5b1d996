"""Which files an options file names: meshes, what fields start from, and all others.

Names are relative to the options' folder, and may lead into folders below it. They are used without detours:
`./data//x.vtu` is `data/x.vtu`.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lxml import etree

from coupling.common.files import FileError, leads_out
from coupling.fluidity.halo import halo_header
from coupling.simulation.parameters import PARAMETERS
from coupling.vtk.vtu import piece_paths

FIELD_FILES = (".vtu", ".pvtu")


def file_name(element: etree._Element) -> str:
    """The file that an element names, without detours."""
    return PurePosixPath(element.get("file_name")).as_posix()


def mesh_elements(tree: etree._ElementTree) -> list[etree._Element]:
    """The elements that name the file of a mesh: one that is given, or that the model has extruded."""
    ways = ("from_file", "from_mesh/extrude/checkpoint_from_file")
    return [e for way in ways for e in tree.getroot().findall(f"geometry/mesh/{way}[@file_name]")]


def mesh_name(element: etree._Element) -> str:
    """The name of the mesh that an element of its options belongs to."""
    return next(element.iterancestors("mesh")).get("name", "")


def mesh_file(tree: etree._ElementTree, name: str) -> tuple[str | None, bool]:
    """The file that a mesh's cells are in, None if they are in none; and whether nodes are joined by periodicity.

    A mesh may be made of another by extrusion, which checkpoints write as a file, too, or by periodic boundaries.
    """
    meshes = {mesh.get("name"): mesh for mesh in tree.getroot().findall("geometry/mesh")}
    known, periodic = set(), False
    while name in meshes and name not in known:
        known.add(name)
        mesh = meshes[name]
        source = next((e for e in mesh_elements(tree) if mesh_name(e) == name), None)
        if source is not None and _periodic_in_its_file(meshes, name):
            return None, True
        if source is not None:
            return file_name(source), periodic
        if mesh.find("from_mesh/extrude") is not None:
            return None, periodic
        conditions = mesh.findall("from_mesh/periodic_boundary_conditions")
        if any(condition.find("remove_periodicity") is not None for condition in conditions):
            return None, periodic
        periodic = periodic or bool(conditions)
        above = mesh.find("from_mesh/mesh")
        name = "" if above is None else above.get("name")
    return None, periodic


def _periodic_in_its_file(meshes, name):
    """Whether a mesh's periodicity is removed to make another: then its file has it joined already."""
    for mesh in meshes.values():
        above = mesh.find("from_mesh/mesh")
        removed = mesh.find("from_mesh/periodic_boundary_conditions/remove_periodicity") is not None
        if removed and above is not None and above.get("name") == name:
            return True
    return False


def model_fields(tree: etree._ElementTree) -> Iterator[tuple[str, etree._Element]]:
    """(name, element) of every field; of several material phases, names begin with the phase's: `Dust::Tracer`."""
    phases = tree.getroot().findall("material_phase")
    for phase in phases:
        prefix = f"{phase.get('name')}::" if len(phases) > 1 else ""
        for kind in ("scalar_field", "vector_field", "tensor_field"):
            for field in phase.findall(f".//{kind}[@name]"):
                yield prefix + field.get("name"), field


def prognostic_fields(tree: etree._ElementTree) -> Iterator[tuple[str, etree._Element]]:
    """(name, its options) of every field that the model solves for."""
    for name, field in model_fields(tree):
        for options in field.findall("prognostic"):
            yield name, options


def field_elements(tree: etree._ElementTree) -> Iterator[tuple[str, etree._Element]]:
    """(name, element with the file's name) of every field that starts from a VTU or PVTU file."""
    for name, options in prognostic_fields(tree):
        for element in options.findall("initial_condition/from_file[@file_name]"):
            if PurePosixPath(element.get("file_name")).suffix in FIELD_FILES:
                yield name, element


def other_elements(tree: etree._ElementTree) -> list[etree._Element]:
    """All other elements that name a file: prescribed fields, depths, forcing, positions of detectors …"""
    known = {*mesh_elements(tree), *(element for _, element in field_elements(tree))}
    return [e for e in tree.getroot().iter(etree.Element) if e.get("file_name") and e not in known]


def pieces_of(folder: Path, base: str) -> list[Path]:
    """The .msh files of a mesh that is cut into pieces, in the order of the ranks; none if it is not.

    A file `base_2.msh` alone says nothing: it may be another mesh. The .halo files say how many pieces there are; those
    of an older cut may lie beside them. The files returned need not exist.

    Raises
    ------
    FileError
        if the .halo files are of different cuts, or of more pieces than there are files
    """
    first = folder / f"{base}_0.msh"
    halo = first.with_suffix(".halo")
    if not halo.is_file():
        return [first] if first.is_file() and not (folder / f"{base}.msh").is_file() else []
    _, n_processes = halo_header(halo)
    if n_processes > sum(1 for _ in folder.iterdir()):
        raise FileError(f"{halo}: says that its mesh is in {n_processes:,} pieces, of which most are not beside it")
    pieces = [folder / f"{base}_{k}.msh" for k in range(n_processes)]
    for k, piece in enumerate(pieces):
        other = piece.with_suffix(".halo")
        if other.is_file() and halo_header(other) != (k, n_processes):
            process, number = halo_header(other)
            raise FileError(
                f"{other}: is of process {process} of {number}, expected process {k} of {n_processes} by {halo.name}; "
                "cut the mesh anew"
            )
    return pieces


def named_files(tree: etree._ElementTree, options: Path) -> Iterator[tuple[Path, str]]:
    """(path, name in the options) of every file of a mesh or of a field that starts from a file."""
    folder = options.parent
    for element in mesh_elements(tree):
        base = file_name(element)
        pieces = pieces_of(folder, base)
        for piece in pieces:
            yield piece, base
            yield piece.with_suffix(".halo"), base
        if not pieces or (folder / f"{base}.msh").is_file():
            yield folder / f"{base}.msh", base
    for _, element in field_elements(tree):
        yield folder / file_name(element), file_name(element)


def other_files(tree: etree._ElementTree, options: Path) -> list[Path]:
    """Paths of what else the options name, each once; only what is there, for the model may make such a file itself.

    A name may also be the beginning of several files' names: of `points` come points.groups and points.positions.dat.
    A parameters.json beside the options belongs to them by its name alone: their Python functions may read it.
    """
    paths: list[Path] = [path for path in (options.parent / PARAMETERS,) if path.is_file()]
    for element in other_elements(tree):
        path = options.parent / file_name(element)
        if path.parent.is_dir():
            paths += sorted(p for p in path.parent.iterdir() if p.name.startswith(f"{path.name}.") and p.is_file())
        if path.is_file():
            paths += [path, *(piece_paths(path) if path.suffix == ".pvtu" else ())]
    return list(dict.fromkeys(paths))


def check_names(tree: etree._ElementTree, options: Path) -> None:
    """Refuse meshes of other formats, and files in other folders: a checkpoint is one folder with those below.

    Raises
    ------
    FileError
        if a mesh is not one of gmsh's, or a name leads out of the options' folder, by itself or through a link
    """
    folder = options.parent
    for element in mesh_elements(tree):
        kind = (element.find("format").get("name") if element.find("format") is not None else None) or "gmsh"
        if kind != "gmsh":
            name = mesh_name(element)
            raise FileError(
                f"{options}: {name} is read from a file of format {kind!r}, expected 'gmsh'; write the mesh by "
                f"gmsh -format msh22, and set the format of {name} to gmsh"
            )
    for element in (*mesh_elements(tree), *(e for _, e in field_elements(tree)), *other_elements(tree)):
        if leads_out(folder, element.get("file_name")):
            raise _outside(options, element.get("file_name"))
    for path in (*(path for path, _ in named_files(tree, options)), *other_files(tree, options)):
        if leads_out(folder, path.relative_to(folder)):
            raise _outside(options, path.relative_to(folder).as_posix())


def _outside(options, name):
    return FileError(f"{options}: names {name!r}, outside its own folder; put a copy of it beside the options")
