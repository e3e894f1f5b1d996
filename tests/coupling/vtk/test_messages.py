"""What VTK complains of, as it reaches users."""

import threading

import numpy as np
import pytest
from vtkmodules.vtkCommonCore import vtkLogger, vtkObject
from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader

from coupling.common.files import FileError
from coupling.vtk.messages import cleaned, errors_as_exceptions
from coupling.vtk.vtu import as_grid, read_grid, write_grid

GRID = as_grid(np.random.default_rng(1).random((4, 3)), np.array([[0, 1, 2, 3]]))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("vtkXMLUnstructuredGridReader (0x2d4f0320): Array has 0 elements", "Array has 0 elements"),
        ("ERROR: In vtkXMLReader.cxx, line 360\nvtkA (0x55d): Cannot read it.\n\n", "Cannot read it."),
        ("\x1b[0m\x1b[31m2026-11-29 ERR| no disk\x1b[0m", "2026-11-29 ERR| no disk"),
        ("", "VTK does not say why"),
        ("\x1b[0m\n", "VTK does not say why"),
    ],
)
def test_colours_and_addresses_are_taken_away(text, shown):
    assert cleaned(text) == shown


def test_an_unreadable_file_is_told_in_one_plain_line(tmp_path, capfd, monkeypatch):
    path = tmp_path / "a.vtu"
    write_grid(GRID, path)
    path.write_bytes(path.read_bytes().replace(b'Name="offsets"', b'Name="offset_"'))
    monkeypatch.setattr("coupling.vtk.vtu.check_sizes", lambda path: None)
    with pytest.raises(FileError) as error:
        read_grid(path)
    text = str(error.value)
    assert text.startswith(f"{path}: reading failed: ") and "(0x" not in text and text.isprintable()
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there_is_told_without_lines_of_vtk(tmp_path, capfd):
    with pytest.raises((FileError, OSError), match="nowhere"):
        write_grid(GRID, tmp_path / "nowhere/a.vtu")
    assert capfd.readouterr() == ("", "")


def test_several_threads_leave_stderr_as_it_was(tmp_path):
    before = vtkLogger.GetCurrentVerbosityCutoff()
    inside, go_on, verbosities = threading.Barrier(2), threading.Event(), []

    def first():
        with errors_as_exceptions(vtkObject(), "a", "reading"):
            inside.wait(10)
            go_on.wait(10)
            verbosities.append(vtkLogger.GetCurrentVerbosityCutoff())

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(10)
    with errors_as_exceptions(vtkXMLUnstructuredGridReader(), "b", "reading"):
        pass
    go_on.set()
    thread.join()
    assert verbosities == [vtkLogger.VERBOSITY_OFF] and vtkLogger.GetCurrentVerbosityCutoff() == before
