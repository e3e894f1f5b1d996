"""The experiment of objectives: its rows from training to trust, and the spectra that it compares."""

import csv

import numpy as np
import pytest
from experiment_case import COMM, experiment_case, write_states

from models import files
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.experiment.spectra import band_energies, lines_in_the_air
from plugin.run.progress import Progress

NETWORKS = "{folder: networks, beside: Backbone, epochs: 2, seeds: 2}"
OBJECTIVES = (
    "{names: [relative, distilled, vae], options: {width: [4, 4, 6, 8], decoder_width: 4, upsampling: shuffle}, "
    "sensors: 20, every: 5, lag: 2, wavelengths: [%s]}"
)


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objectives")
    write_states(folder / "states")
    return folder / "states"


def test_each_objective_has_a_row(tmp_path, states):
    """The grid's spacing along x is 12.5 m."""
    case = experiment_case(tmp_path, states, networks=NETWORKS, objectives=OBJECTIVES % "60, 25")
    run("objectives", case, Progress(COMM), tmp_path / "out")
    with open(tmp_path / "out/objectives.csv", newline="", encoding="utf-8") as file:
        rows = {row["system"]: row for row in csv.DictReader(file)}
    assert [*rows] == ["relative", "distilled", "vae", "vae, B_l = I"]
    for row in rows.values():
        assert 0.0 < float(row["error"]) < 1.1 and float(row["error_std"]) > 0.0 and float(row["sparse"]) > 0.0
        assert float(row["band_0"]) > 0.0 and row["epochs"] == "2"
        parts = [float(row[key]) for key in ("refused_trip", "refused_distance", "refused_cost")]
        assert max(parts) <= float(row["refused"]) <= sum(parts)
    # one network, two backgrounds
    assert rows["vae"]["round_trip"] == rows["vae, B_l = I"]["round_trip"]
    assert rows["vae"]["error"] != rows["vae, B_l = I"]["error"]
    made = {path.name for path in (tmp_path / "networks").iterdir()}
    trained = ["Backbone", *(f"Backbone-{name}" for name in ("relative", "distilled", "vae"))]
    assert made == {f"{name}-2epochs-{seed}.safetensors" for name in trained for seed in (0, 1)}
    model, about = files.load(tmp_path / "networks/Backbone-distilled-2epochs-1.safetensors")
    assert about["options"]["width"] == [4, 4, 6, 8] and about["objective"] == "distilled" and "teacher" in about


def test_what_does_not_fit_is_refused(tmp_path, states):
    settings = "{beside: Backbone, epochs: 1}"
    case = experiment_case(tmp_path, states, networks=settings, objectives="{names: [relative], wavelengths: [20, 40]}")
    with pytest.raises(ConfigurationError, match="objectives.wavelengths: .*expected falling ones"):
        run("objectives", case, Progress(COMM), tmp_path / "out")
    case = experiment_case(tmp_path, states, networks=settings, objectives="{lag: 24}")
    with pytest.raises(ConfigurationError, match="objectives.lag: 24 states, expected fewer than train"):
        run("objectives", case, Progress(COMM), tmp_path / "out")


def test_the_energy_of_a_wave_is_in_its_band():
    """Sines of whole numbers of wavelengths in the window; a line that a building cuts does not count."""
    nx, spacing = 64, 5.0
    part = np.ones((1, nx, 2, 2), bool)
    part[0, 7, 0, 1] = False
    along, lines = lines_in_the_air(part)
    assert along == slice(0, nx)
    ends = np.pad(part, ((0, 0), (2, 1), (0, 0), (0, 0)))
    assert lines_in_the_air(ends)[0] == slice(2, nx + 2) and (lines_in_the_air(ends)[1] == lines).all()
    few = ends.copy()
    few[:, 1, 1, 0] = True
    assert lines_in_the_air(few)[0] == slice(2, nx + 2)
    assert not lines_in_the_air(np.zeros_like(part))[1].any()
    assert lines.sum() == 3 and not lines[0, 0, 1]
    x = np.arange(nx) * spacing
    fields = np.stack(
        [np.broadcast_to(3.0 + np.sin(2 * np.pi * x / wave)[:, None, None], (nx, 2, 2)) for wave in (160.0, 32.0)]
    )
    fields = fields[:, None] + np.where(part, 0.0, 1e3)
    energies = band_energies(fields, lines, spacing, [100.0, 50.0, 20.0])
    assert energies.shape == (2, 3)
    share = energies / energies.sum(axis=1, keepdims=True)
    assert share[0, 0] > 0.95 and share[1, 2] > 0.99
    np.testing.assert_allclose(band_energies(2.0 * fields, lines, spacing, [100.0, 50.0, 20.0]), 4.0 * energies)
    with pytest.raises(ValueError, match="no line of the grid along x"):
        band_energies(fields, np.zeros_like(lines), spacing, [100.0])
    with pytest.raises(ValueError, match="no wave along x, of 64 points 5 m apart, is 4000 m long"):
        band_energies(fields, lines, spacing, [4000.0])
