"""A cycle of several models whose members are analysed through a network."""

import numpy as np
import pytest
import torch
from crash_case import case_settings, cycled, make_case, write_case_file
from cycle_case import ledger

from coupling.fluidity.checkpoint import open_restart, read_fields
from models.files import save
from models.zoo.linear import Linear
from plugin.case.configuration import ConfigurationError, read_case
from plugin.check.case.files import ALONE
from plugin.train import train_network
from plugin.window.background.of_case import background

MEMBERS = 4
LATENT = {"method": "latent"}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case with a linear network whose range has the members' differences at the start."""
    folder = make_case(tmp_path_factory.mktemp("ensemble") / "case")
    made = background(read_case(write_case_file(folder / "case.yml", case_settings(folder, folder / "run"))), ALONE)
    grid, scale = made.transfer.grid, made.transform.scale * made.transfer.grid.fluid_points
    basis, _ = np.linalg.qr(made.modes.vectors * grid.fluid_points[:, None])
    network = Linear(1, grid.shape, basis.shape[1], torch.as_tensor(basis), grid.fluid)
    codes = 10.0 * np.random.default_rng(1).normal(size=(basis.shape[1], 20))
    arrays = {"mean": made.modes.mean, "scale": scale, "codes": codes, "round_trips": np.full(4, 1e3)}
    about = {"variables": ["Tracer"], "grid": grid.description}
    save(folder / "network.safetensors", network, about, arrays)
    return folder


def finished(case, folder, analysis, **changes):
    network = {"file": str(case / "network.safetensors"), "name": "Linear"}
    changes = {"ensemble": {"members": MEMBERS}, "network": network, "analysis": analysis, **changes}
    ended = cycled(write_case_file(folder / "case.yml", case_settings(case, folder / "run", **changes)))
    assert ended.code == 0, ended.said
    return folder / "run"


def said(run):
    return [entry["analysis"] for entry in ledger(run)]


def members(run, window):
    found = [run / f"{window:04d}/members/{m + 1:02d}/analysis/restart.flml" for m in range(MEMBERS)]
    return np.column_stack([read_fields(open_restart(path), ALONE)["Tracer"].values for path in found])


@pytest.fixture(scope="module")
def etkf(case, tmp_path_factory):
    return finished(case, tmp_path_factory.mktemp("etkf"), {"method": "etkf"})


def test_members_are_analysed_among_their_codes(case, etkf, tmp_path):
    run = finished(case, tmp_path, LATENT, background__latent={"trust": {"margin": 100.0}})
    first = said(run)[0]
    assert first.get("reason") is None and first["method"] == "latent" and first["decoded"] == MEMBERS
    # nearly the etkf's: what a member differs by between the grid's points has no code, and stays
    expected = members(etkf, 1) - members(etkf, 0)
    change = members(run, 1) - members(run, 0)
    assert np.linalg.norm(change - expected) < 0.2 * np.linalg.norm(expected)
    assert not np.array_equal(members(run, 1), members(etkf, 1))


def test_members_that_the_network_does_not_know_are_the_etkfs(case, etkf, tmp_path):
    run = finished(case, tmp_path, LATENT, background__latent={"trust": {"margin": 1e-9}})
    for one, other in zip(said(run), said(etkf), strict=True):
        assert one["decoded"] == 0 and one["reason"].startswith("member 1: round trip error")
        assert one["degrees_of_freedom"] == other["degrees_of_freedom"]
    np.testing.assert_array_equal(members(run, 3), members(etkf, 3))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"network": None}, "analysis.method: latent needs the section network"),
        ({"grid": {"space": "mesh"}}, "analysis.method: latent needs a grid"),
        (
            {"background__variables": {"Tracer": {"anamorphosis": "sqrt"}}},
            "latent does not go with background.variables",
        ),
        ({"background__localisation": {"horizontal": 50.0}}, "in a latent analysis all readings reach everything"),
    ],
)
def test_what_does_not_go_with_it(case, tmp_path, changes, message):
    given = {"ensemble": {"members": MEMBERS}, "network": {"file": "n.safetensors"}, "analysis": LATENT, **changes}
    with pytest.raises(ConfigurationError, match=message):
        read_case(write_case_file(tmp_path / "case.yml", case_settings(case, tmp_path / "run", **given)))


def test_members_go_through_a_network_that_learned_from_earlier_states(case, etkf, tmp_path):
    training = {"validation": 0.2, "epochs": 60, "batch": 4, "schedule": "constant", "rate": 0.01}
    network = {"file": str(tmp_path / "trained.safetensors"), "name": "small_networks:Small", "training": training}
    changes = {
        "network": network,
        "ensemble": {"members": MEMBERS},
        "analysis": LATENT,
        "background__latent": {"trust": {"margin": 5.0}},  # nine states are few to learn from
    }
    file = write_case_file(tmp_path / "case.yml", case_settings(case, tmp_path / "run", **changes))
    train_network(read_case(file, needed=("network",)), ALONE)
    ended = cycled(file)
    assert ended.code == 0, ended.said
    first = said(tmp_path / "run")[0]
    assert first["decoded"] == MEMBERS and first.get("reason") is None
    change = members(tmp_path / "run", 1) - members(tmp_path / "run", 0)
    assert not np.allclose(change, members(etkf, 1) - members(etkf, 0))
    assert all(one["residual"]["rms"] < one["innovation"]["rms"] for one in said(tmp_path / "run"))
