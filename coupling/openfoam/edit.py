"""What goes along with changed fields, so that OpenFOAM begins with them and does not undo them in its first step.

- phi, with a changed U: S · δU, interpolated linearly along S, is added on each face. With phi as it was, the first
  step's projection takes a quarter of the change away again.
- NAME_0, which backward and CrankNicolson keep of the step before: the same change, in U and phi too.
- Patches whose values follow the cells (calculated, inletOutlet …): the owner cell's change is added; of those that
  look at the flow, only where it leaves.
- Seams of processors, whose values are the neighbours' cells and are not refreshed on reading: the new ones.
- zeroGradient, fixedValue and others are computed at the start: they stay as they are.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mpi4py import MPI

from coupling.common.collective import raise_together
from coupling.common.files import FileError
from coupling.geometry.mesh import Field, MeshError
from coupling.geometry.polyhedra import PolyhedralMesh, join_polyhedra, part_fingerprint
from coupling.openfoam.dictionary import packed
from coupling.openfoam.fields import AT_CELLS, ON_FACES, FieldFile, read_field
from coupling.openfoam.mesh import PolyMesh, find_file
from coupling.openfoam.restart import OpenFoamRestart

VELOCITY, FLUX = "U", "phi"
_FORGOTTEN = {"p", "p_rgh", "nut", "alphat"}
_COMPUTED = "zeroGradient"
_FOLLOWING = {"calculated", "advective", "waveTransmissive"}
_WHERE_IT_LEAVES = {"inletOutlet", "pressureInletOutletVelocity", "freestream", "freestreamVelocity"}
_COUPLED = {"cyclic", "processor"}
_NO_FLUX = ("cyclicAMI", "cyclicACMI", "processorCyclic", "cyclicPeriodicAMI", "cyclicSlip")

Messages = dict[tuple[int, int], Any]  # {(from piece, to piece): what}


def refusal(names: Collection[str]) -> str | None:
    """Why an analysis of these fields alone does nothing in OpenFOAM; None where it does something."""
    if not names or not set(names) <= _FORGOTTEN:
        return None
    return (
        f"only {', '.join(sorted(names))} would change: OpenFOAM computes pressure and eddy viscosity anew from the "
        "velocity in each step (of a change of 10 in p, 0.2 is left after one), so this does nothing; analyse U or a "
        "tracer along with it"
    )


def write_changes(
    restart: OpenFoamRestart,
    meshes: Mapping[int, PolyMesh],
    target: Path,
    changes: Mapping[str, Field],
    comm: MPI.Comm,
) -> None:
    """Write changed fields, and what goes along with them, over their copies in `target`. Collective.

    Parameters
    ----------
    restart : where the files as they were are
    meshes : {number: mesh} of this rank's pieces
    target : folder with the copy of the case
    changes : {name: Field} on the mesh of the case
    comm : MPI communicator

    Raises
    ------
    FileError
        if a file is broken
    MeshError
        if a field's mesh is not that of the case, or the velocity of such a case cannot be changed
    """
    edit = _Edit(restart, meshes, target, comm)
    problem: Exception | None = None
    try:
        edit.check(changes)
        old = {name: edit.files(name, AT_CELLS) for name in changes}
        deltas = {name: edit.deltas(old[name], field) for name, field in changes.items()}
        fluxes = edit.files(FLUX, ON_FACES, optional=True)
    except (FileError, MeshError, OSError) as error:
        problem = error
    raise_together(problem, comm)
    for name, delta in deltas.items():
        values = {piece.index: changes[name].values[piece.cells] for piece in changes[name].mesh.pieces}
        shifted = edit.write_cells(old[name], delta, fluxes, values)
        edit.write_old(name, delta, fluxes)
        if name == VELOCITY:
            edit.write_flux(fluxes, delta, shifted)


class _Edit:
    """The pieces of one rank, and what their files are changed to."""

    def __init__(self, restart, meshes, target, comm):
        self.restart, self.meshes, self.target, self.comm = restart, meshes, target, comm
        held = comm.allgather(list(meshes))
        self.rank_of = {piece: rank for rank, pieces in enumerate(held) for piece in pieces}

    def check(self, changes: Mapping[str, Field]) -> None:
        """MeshError if a field was not read on these pieces, or U has boundaries that are not known here."""
        own = {k: part_fingerprint(m.part) for k, m in self.meshes.items()}
        for name, field in changes.items():
            if not isinstance(field.mesh, PolyhedralMesh) or field.location != "cell":
                raise MeshError(f"field {name!r}: expected values in cells of the case's own mesh")
            given = {piece.index: piece.fingerprint for piece in field.mesh.pieces}
            if given != own:
                raise MeshError(f"{self.restart.case}: its mesh is not the one the field {name!r} was read on")
        if VELOCITY in changes:
            for mesh in self.meshes.values():
                unknown = [patch for patch in mesh.patches if patch.type in _NO_FLUX]
                if unknown:
                    raise MeshError(
                        f"{mesh.folder}/boundary: patch {unknown[0].name} is {unknown[0].type}, through which the flux "
                        f"of a changed {VELOCITY} is not computed here; analyse other fields alone"
                    )

    def files(self, name: str, kinds: Mapping[str, str], optional: bool = False) -> dict[int, FieldFile]:
        """{piece: file as it was} of a field; of an optional one, those that are there."""
        found = {}
        for k in self.meshes:
            folder = self.restart.pieces[k] / self.restart.time_name
            path = find_file(folder, name)
            if path is None and not optional:
                raise FileError(f"{folder}: lacks the field {name}")
            if path is not None:
                found[k] = read_field(path, kinds)
        return found

    def deltas(self, files: Mapping[int, FieldFile], field: Field) -> dict[int, np.ndarray]:
        """{piece: (n_cells, …) new values minus those of the file}."""
        found = {}
        for piece in field.mesh.pieces:
            old = files[piece.index].internal(self.meshes[piece.index].n_cells)
            new = field.values[piece.cells]
            if new.shape != old.shape:
                raise MeshError(f"{files[piece.index].path}: values of shape {new.shape}, expected {old.shape}")
            found[piece.index] = new - old
        return found

    def write_cells(self, files, delta, fluxes, values=None) -> dict[int, dict[str, np.ndarray]]:
        """Write a field; returns {piece: {patch: change of its values}} of the patches that followed. Collective.

        values : {piece: new values}, to the bit; those of the file plus `delta` if left out
        """
        problem: Exception | None = None
        patches: dict[int, dict[str, np.ndarray]] = {}
        shifted: dict[int, dict[str, np.ndarray]] = {}
        new: dict[int, np.ndarray] = {}
        try:
            for k, file in files.items():
                mesh = self.meshes[k]
                new[k] = values[k] if values is not None else file.internal(mesh.n_cells) + delta[k]
                flux = self._boundary_flux(fluxes.get(k), mesh)
                changes = {p.name: self._following(file, p, mesh, delta[k], flux) for p in mesh.patches}
                shifted[k] = {name: change for name, change in changes.items() if change is not None}
                patches[k] = {}
                for patch in mesh.patches:
                    values = file.patch_values(patch) if patch.name in shifted[k] else None
                    if values is not None:
                        patches[k][patch.name] = values + shifted[k][patch.name]
        except (FileError, OSError) as error:
            problem = error
        raise_together(problem, self.comm)
        beyond = self._beyond({k: new[k] for k in files})
        try:
            for k, file in files.items():
                for patch in self.meshes[k].patches:
                    if patch.is_seam and file.patch_values(patch) is not None:
                        patches[k][patch.name] = beyond[k][patch.name]
                self._write(k, file, new[k], patches[k])
        except (FileError, OSError) as error:
            problem = error
        raise_together(problem, self.comm)
        return shifted

    def write_old(self, name: str, delta, fluxes) -> None:
        """Write what is kept of the step before, if anything is. Collective."""
        problem, files = None, {}
        try:
            files = self.files(f"{name}_0", AT_CELLS, optional=True)
        except (FileError, OSError) as error:
            problem = error
        raise_together(problem, self.comm)
        if self.comm.allreduce(len(files)):
            if self.comm.allreduce(int(len(files) != len(self.meshes))):
                raise FileError(f"{self.restart.case}: {name}_0 is in some processors' folders only")
            self.write_cells(files, delta, fluxes)

    def write_flux(self, fluxes, delta, shifted) -> None:
        """Write phi, and phi_0 if there is one, with the flux of the velocity's change. Collective."""
        change = self._flux_change(delta, shifted)
        problem = None
        try:
            for files in (fluxes, self.files(f"{FLUX}_0", ON_FACES, optional=True)):
                for k, file in files.items():
                    mesh, text = self.meshes[k], file.dictionary.text("dimensions") or ""
                    if text.strip("[] ").split()[:3] != ["0", "3", "-1"]:
                        raise MeshError(
                            f"{file.path}: is a flux of {text}, expected [0 3 -1 0 0 0 0]: the velocity of "
                            "compressible solvers is not changed here; analyse other fields alone"
                        )
                    patches = {}
                    for patch in mesh.patches:
                        values = file.patch_values(patch)
                        if values is not None and change[k][patch.faces].any():
                            patches[patch.name] = values + change[k][patch.faces]
                    self._write(k, file, file.internal(mesh.n_inner) + change[k][: mesh.n_inner], patches)
        except (FileError, MeshError, OSError) as error:
            problem = error
        raise_together(problem, self.comm)

    def _write(self, k, file, internal, patches):
        path = self.target / file.path.relative_to(self.restart.case)
        path.write_bytes(packed(file.replaced(internal, patches), path))

    @staticmethod
    def _boundary_flux(file: FieldFile | None, mesh: PolyMesh) -> dict[str, np.ndarray]:
        """{patch: flux out of it}, where the file has one."""
        if file is None:
            return {}
        found = {patch.name: file.patch_values(patch) for patch in mesh.patches}
        return {name: values for name, values in found.items() if values is not None}

    @staticmethod
    def _following(file, patch, mesh, delta, flux) -> np.ndarray | None:
        """The change of a patch's values, None where they stay as they are."""
        kind = file.patch_type(patch)
        change = delta[mesh.part.owner[patch.faces]]
        if kind == _COMPUTED:  # at the start: only the flux needs to know
            return change
        if patch.count == 0 or kind not in _FOLLOWING | _WHERE_IT_LEAVES or file.patch_values(patch) is None:
            return None
        if kind in _WHERE_IT_LEAVES:
            if patch.name not in flux:
                return None
            leaves = flux[patch.name] > 0
            change = np.where(leaves if change.ndim == 1 else leaves[:, None], change, 0.0)
        return change

    def _flux_change(self, delta, shifted) -> dict[int, np.ndarray]:
        """{piece: (n_faces,) S · δU on each face}. Collective."""
        distance, beyond = {}, self._beyond(delta)
        single = {k: join_polyhedra([(0, m.part)], 1, MPI.COMM_SELF) for k, m in self.meshes.items()}
        for k, mesh in self.meshes.items():
            of = single[k]
            to_owner = of.face_centres - of.centroids[mesh.part.owner]
            distance[k] = np.abs(np.einsum("ij,ij->i", of.face_area_vectors, to_owner))
        other = self._beyond_faces(distance)
        found = {}
        for k, mesh in self.meshes.items():
            of, n, owner = single[k], mesh.n_inner, mesh.part.owner
            area, change = of.face_area_vectors, np.zeros(len(owner))
            inner = mesh.part.neighbour[:n]
            there = np.abs(np.einsum("ij,ij->i", area[:n], of.centroids[inner] - of.face_centres[:n]))
            change[:n] = _through(area[:n], distance[k][:n], there, delta[k][owner[:n]], delta[k][inner])
            for patch in mesh.patches:
                faces = patch.faces
                if patch.type in _COUPLED:
                    here, across = delta[k][owner[faces]], beyond[k][patch.name]
                    values = _through(area[faces], distance[k][faces], other[k][patch.name], here, across)
                    change[faces] = values
                elif patch.name in shifted[k]:
                    change[faces] = np.einsum("ij,ij->i", area[faces], shifted[k][patch.name])
            found[k] = change
        self._agree_on_seams(found)
        return found

    def _agree_on_seams(self, change) -> None:
        """What leaves one processor enters the other, to the bit: the lower number's flux counts."""
        beyond = self._beyond_faces(change)
        for k, mesh in self.meshes.items():
            for patch in mesh.patches:
                if patch.is_seam and isinstance(patch.neighbour, int) and patch.neighbour < k:
                    change[k][patch.faces] = -beyond[k][patch.name]

    def _beyond(self, values) -> dict[int, dict[str, np.ndarray]]:
        """{piece: {patch: values of the cells on a coupled patch's other side}}. Collective."""
        return self._beyond_faces({k: v[self.meshes[k].part.owner] for k, v in values.items()})

    def _beyond_faces(self, at_faces) -> dict[int, dict[str, np.ndarray]]:
        """{piece: {patch: the other side's values on a coupled patch}}, of (n_faces, …) arrays. Collective."""
        out: list[Messages] = [{} for _ in range(self.comm.size)]
        found: dict[int, dict[str, np.ndarray]] = {k: {} for k in self.meshes}
        for k, mesh in self.meshes.items():
            named = {patch.name: patch for patch in mesh.patches}
            for patch in mesh.patches:
                if patch.is_seam and isinstance(patch.neighbour, int) and k in at_faces:
                    out[self.rank_of[patch.neighbour]][k, patch.neighbour] = at_faces[k][patch.faces]
                elif patch.type == "cyclic" and k in at_faces:
                    found[k][patch.name] = at_faces[k][named[str(patch.neighbour)].faces]
        received: Messages = {}
        for messages in self.comm.alltoall(out):
            received.update(messages)
        for k, mesh in self.meshes.items():
            for patch in mesh.patches:
                if patch.is_seam and (patch.neighbour, k) in received:
                    found[k][patch.name] = received[patch.neighbour, k]
        return found


def _through(area, here, there, owner, other) -> np.ndarray:
    """S · linear interpolation between the values of two cells, at distances along S from the face."""
    both = here + there
    weight = np.where(both > 0, there / np.where(both > 0, both, 1.0), 0.5)[:, None]
    return np.einsum("ij,ij->i", area, weight * owner + (1.0 - weight) * other)
