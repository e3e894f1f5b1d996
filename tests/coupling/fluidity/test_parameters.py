"""Parameters on their way into a run: options and parameters.json, which the model's Python functions read."""

import numpy as np
import pytest
from embedded_case import DATA
from mpi4py import MPI

from coupling.common.files import FileError
from coupling.common.manifest import check_manifest
from coupling.fluidity import options as flml
from coupling.fluidity.checkpoint import open_restart, restart_files, write_restart
from coupling.fluidity.driver import embedded_model
from coupling.fluidity.option_paths import number_at
from coupling.simulation.parameters import PARAMETERS, Numbers, Series, read_entries

COMM = MPI.COMM_SELF
DIFFUSIVITY = (
    "/material_phase::Air/scalar_field::Tracer/prognostic/tensor_field::Diffusivity/prescribed/value/isotropic"
)
# as docs/parameters.md has it
FUNCTION = """import json
def val(X, t, p=json.load(open("parameters.json"))):
    from numpy import interp
    return p["strength"] * interp(t, p["gust"]["times"], p["gust"]["values"])
"""


@pytest.fixture
def start(tmp_path):
    """The small case of the embedded model, with a source that reads parameters.json."""
    folder = tmp_path / "case"
    folder.mkdir()
    for path in DATA.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    options = next(folder.glob("*.flml"))
    tree = flml.read_options(options)
    source = tree.getroot().find(".//scalar_field[@name='Source']/prescribed/value/python/string_value")
    source.text = FUNCTION
    flml.write_options(tree, options)
    return open_restart(options)


def numbers(strength, diffusivity=0.5):
    return Numbers(
        {DIFFUSIVITY: diffusivity}, {"strength": strength, "gust": Series((0.0, 10.0, 100.0), (0.5, 1.0, 1.0))}
    )


def test_a_restart_carries_them_and_nothing_else_changes(start, tmp_path):
    (start.folder / PARAMETERS).write_text('{"own": [1, 2], "strength": 7}')
    restart = write_restart(start, tmp_path / "r", COMM, numbers=numbers(1.0 / 3.0), manifest=True)
    entries = read_entries(restart.folder / PARAMETERS)
    assert entries["own"] == [1, 2] and entries["strength"] == 1.0 / 3.0
    assert entries["gust"] == {"times": [0.0, 10.0, 100.0], "values": [0.5, 1.0, 1.0]}
    assert restart.folder / PARAMETERS in restart_files(restart)
    check_manifest(restart.folder, COMM)
    plain = write_restart(start, tmp_path / "plain", COMM)
    tree = flml.read_options(plain.options)
    number_at(tree, DIFFUSIVITY, plain.options).text = "0.5"
    flml.write_options(tree, tmp_path / "expected.flml")
    assert restart.options.read_bytes() == (tmp_path / "expected.flml").read_bytes()
    assert (plain.folder / PARAMETERS).read_bytes() == (start.folder / PARAMETERS).read_bytes()


def test_the_model_reads_them_in_every_run(start, tmp_path):
    totals = {}
    for strength in (1.0, 2.0):
        ready = write_restart(start, tmp_path / f"start{strength}", COMM, numbers=numbers(strength))
        model = embedded_model(timeout=60.0)
        first = model.run(ready, start.time + 4 * start.timestep, tmp_path / f"a{strength}", COMM)
        assert read_entries(first.restart.folder / PARAMETERS)["strength"] == strength
        analysis = write_restart(first.restart, tmp_path / f"b{strength}", COMM, first.state.fields)
        again = model.run(analysis, first.state.time + 4 * start.timestep, tmp_path / f"c{strength}", COMM)
        tree = flml.read_options(again.restart.options)
        assert float(number_at(tree, DIFFUSIVITY, "").text) == 0.5
        totals[strength] = again.state["Tracer"].values
    # the tracer starts from nothing of the source's, so what differs is in proportion to its strength
    assert np.abs(totals[2.0] - totals[1.0]).max() > 0.0


def test_wrong_ones_leave_nothing(start, tmp_path):
    with pytest.raises(FileError, match="parameter 'strength' is not finite"):
        write_restart(start, tmp_path / "r", COMM, numbers=Numbers({}, {"strength": np.nan}))
    with pytest.raises(FileError, match="there is no 'viscosity'"):
        write_restart(start, tmp_path / "r", COMM, numbers=Numbers({"/material_phase::Air/viscosity": 1.0}))
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("text", ["[1]", "{", "\x00", "[" * 100_000])
def test_a_broken_file_is_named(start, tmp_path, text):
    (start.folder / PARAMETERS).write_text(text)
    with pytest.raises(FileError, match="parameters.json: (cannot be read as JSON|expected names and values)"):
        write_restart(start, tmp_path / "r", COMM, numbers=numbers(1.0))


def test_a_file_that_is_not_there_holds_nothing(tmp_path):
    assert read_entries(tmp_path / PARAMETERS) == {}
