"""A cycle whose members have unknown numbers of their own: where these go, what becomes of them, how it goes on."""

import csv
import json

import numpy as np
import pytest
from crash_case import KILLED, WINDOWS, case_settings, cycled, left_by, make_case, python_ended, write_case_file
from cycle_case import ledger

from coupling.fluidity import options as flml
from coupling.fluidity.option_paths import number_at
from coupling.simulation.parameters import PARAMETERS, read_entries
from da.ensemble.prior import Normal, Uniform
from plugin.run.ledger import read_ledger

MEMBERS = 4
TRACER = "/material_phase::Air/scalar_field::Tracer/prognostic"
DIFFUSIVITY = f"{TRACER}/tensor_field::Diffusivity/prescribed/value::WholeMesh/isotropic"
UNKNOWN = {
    "diffusivity": {"prior": {"uniform": [0.2, 1.2]}, "to": {"option": DIFFUSIVITY}},
    "strength": {
        "prior": {"normal": [1.0, 0.5]},
        "to": {"file": PARAMETERS},
        "wander": {"random_walk": 0.1},
        "readings": ["Tracer"],
    },
    "gust": {
        "prior": {"lognormal": [2.0, 0.2]},
        "to": {"file": PARAMETERS},
        "in_time": {"coefficients": 3, "over": 60.0, "correlation": 30.0},
        "wander": {"ar1": {"time": 60.0}},
        "floor": 0.0,
    },
}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    return make_case(tmp_path_factory.mktemp("parameters") / "case")


class Job:
    """A cycle with members that have parameters, in a folder of its own."""

    def __init__(self, case, folder, ranks=1, **changes):
        self.run, self.ranks = folder / "run", ranks
        ensemble = {"members": MEMBERS, "start": {"from": "restart"}}
        given = {"ensemble": ensemble, "parameters": UNKNOWN, **changes}
        self.file = write_case_file(folder / "case.yml", case_settings(case, self.run, **given))

    def start(self, *words, **how):
        words = ["--resume"] if (self.run / "case.json").exists() and not words else words
        start = (lambda *w, **h: python_ended(self.ranks, "plugin.cycle", *w, **h)) if self.ranks > 1 else cycled
        return start(self.file, *words, **how)

    def finish(self, *words):
        ended = self.start(*words)
        assert ended.code == 0, ended
        self.said = ended.said
        return left_by(self.run)


@pytest.fixture(scope="module")
def whole(case, tmp_path_factory):
    job = Job(case, tmp_path_factory.mktemp("whole"))
    job.left = job.finish()
    return job


def kept(run, window):
    """What a window has kept of the members' values."""
    return {name: np.array(of) for name, of in json.loads((run / f"{window:04d}/parameters.json").read_text()).items()}


def found_by_the_model(run, window, member, part="forecast"):
    """(diffusivity, strength, gust) where a member's model looks for them."""
    options = run / f"{window:04d}/members/{member:02d}/{part}/restart.flml"
    entries = read_entries(options.parent / PARAMETERS)
    return float(number_at(flml.read_options(options), DIFFUSIVITY, options).text), entries["strength"], entries["gust"]


def test_each_model_has_its_own_numbers(whole):
    names = ["diffusivity", "strength", "gust[0]", "gust[1]", "gust[2]"]
    for window in range(1, WINDOWS + 1):
        z = kept(whole.run, window)["forecast"].astype(float)
        assert kept(whole.run, window)["names"].tolist() == names
        for member in range(MEMBERS):
            diffusivity, strength, gust = found_by_the_model(whole.run, window, member + 1)
            assert diffusivity == Uniform(0.2, 1.2).value(z[0, member])
            assert strength == Normal(1.0, 0.5).value(z[1, member])
            assert gust["times"] == [40.0, 70.0, 100.0]
            np.testing.assert_allclose(gust["values"], 2.0 * np.exp(0.2 * z[2:, member]), rtol=1e-14)


def test_the_restart_of_the_next_window_has_its_numbers(whole):
    for window in range(1, WINDOWS):
        now, after = kept(whole.run, window), kept(whole.run, window + 1)
        np.testing.assert_array_equal(now["next"], after["forecast"])
        for member in range(1, MEMBERS + 1):
            assert found_by_the_model(whole.run, window, member, "analysis") == found_by_the_model(
                whole.run, window + 1, member
            )


def test_they_begin_as_their_priors_say(whole):
    z = kept(whole.run, 1)["forecast"].astype(float)
    np.testing.assert_allclose(z.mean(axis=1), 0.0, atol=1e-14)
    np.testing.assert_allclose(z.std(axis=1, ddof=1), 1.0, rtol=1e-12)


def test_they_wander_as_they_are_asked_to(whole):
    of = kept(whole.run, 1)
    np.testing.assert_array_equal(of["analysis"][0], of["next"][0])
    moved = (of["next"] - of["analysis"]).astype(float)
    assert moved[1].std(ddof=1) == pytest.approx(0.1) and abs(moved[1].mean()) < 1e-14


def test_the_table_begins_with_the_prior(whole):
    with open(whole.run / "parameters.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["window"]) for row in rows] == [w for w in range(WINDOWS + 1) for _ in range(5)]
    assert float(rows[0]["mean"]) == pytest.approx(0.7) and float(rows[0]["std"]) == pytest.approx(
        1 / 12**0.5, rel=1e-3
    )
    assert float(rows[1]["q95"]) == pytest.approx(1.0 + 0.5 * 1.6449, rel=1e-3)
    of_window = Normal(1.0, 0.5).value(kept(whole.run, 2)["analysis"][1].astype(float))
    assert float(rows[11]["mean"]) == pytest.approx(of_window.mean()) and rows[11]["name"] == "strength"
    entry = ledger(whole.run)[1]["parameters"]["strength"]
    assert entry == {"mean": float(rows[11]["mean"]), "std": float(rows[11]["std"])}


def test_killed_at_each_of_its_moments_it_ends_with_the_same_bits(case, whole, tmp_path):
    job = Job(case, tmp_path)
    for moment in (
        "folder written:1",
        "program ended:3",
        "member written:2",
        "parameters written:1",
        "entry written:1",
    ):
        ended = job.start(fault=f"kill:{moment}")
        assert ended.code == KILLED, (moment, ended)
    assert job.finish() == whole.left
    assert job.finish("--after", 1) == whole.left


def test_two_ranks_have_the_same_numbers(case, whole, tmp_path):
    job = Job(case, tmp_path, ranks=2)
    job.finish()
    for window in range(1, WINDOWS + 1):
        ours, theirs = kept(whole.run, window), kept(job.run, window)
        for name in ("forecast", "analysis", "next"):
            np.testing.assert_allclose(ours[name].astype(float), theirs[name].astype(float), rtol=1e-10, atol=1e-12)


def test_values_that_were_changed_are_refused(case, whole, tmp_path):
    job = Job(case, tmp_path, cycle__windows=2)
    job.finish()
    (job.run / "0002/parameters.json").write_text("{}")
    settings = case_settings(
        case, job.run, ensemble={"members": MEMBERS, "start": {"from": "restart"}}, parameters=UNKNOWN
    )
    write_case_file(job.file, settings)
    ended = job.start()
    assert ended.code == 2 and "0002/parameters.json: is not what was written" in ended.said, ended


def test_an_option_that_is_not_there_is_named_before_anything_runs(case, tmp_path):
    wrong = {"d": {"prior": {"normal": [1.0, 0.1]}, "to": {"option": DIFFUSIVITY.replace("Diffu", "Difu")}}}
    job = Job(case, tmp_path, parameters=wrong)
    ended = job.start()
    assert ended.code == 2 and "parameters.d.to: " in ended.said, ended
    assert f"did you mean '{DIFFUSIVITY}/constant'?" in ended.said and not job.run.joinpath("case.json").exists()


def test_a_member_that_is_replaced_has_numbers_too(case, tmp_path):
    (case / "broken").write_text("*/0002/members/03/*")
    try:
        job = Job(case, tmp_path, ensemble={"members": MEMBERS, "start": {"from": "restart"}, "failures": 1})
        job.finish()
    finally:
        (case / "broken").unlink()
    assert read_ledger(job.run / "ledger.jsonl")[1]["replaced"] == 1
    before, of = kept(job.run, 1)["next"].astype(float), kept(job.run, 2)
    assert not np.allclose(of["forecast"].astype(float)[:, 2], before[:, 2])
    assert np.isfinite(of["next"].astype(float)).all()


@pytest.mark.parametrize("method", ["letkf", "4denvar"])
def test_parameters_are_never_localised(case, whole, tmp_path, method):
    background = {**case_settings(case, tmp_path)["background"], "localisation": {"horizontal": 20.0}}
    job = Job(case, tmp_path, analysis={"method": method}, background=background, cycle__windows=1)
    job.finish()
    local, everywhere = (kept(run, 1)["analysis"].astype(float) for run in (job.run, whole.run))
    np.testing.assert_allclose(local, everywhere, rtol=1e-8, atol=1e-10)
