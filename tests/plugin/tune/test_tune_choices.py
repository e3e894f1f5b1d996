"""What is chosen of archives whose covariance is known, and what the command prints, writes and refuses."""

from dataclasses import replace

import numpy as np
import pytest
import yaml
from cycle_case import python
from mpi4py import MPI
from tuning_case import COMM, draws, mesh, sensor_places, tuning_case, write_archive, write_sensors

from da.observation.correlation import gaspari_cohn
from plugin.case.configuration import ConfigurationError, read_case
from plugin.case.yaml_file import read_yaml, yaml_text
from plugin.readings import ReadingsError
from plugin.run.progress import Progress
from plugin.tune.__main__ import main
from plugin.tune.folds import folds_of
from plugin.tune.score import Judge
from plugin.tune.setting import keys_of, of_case, tuned
from plugin.tune.states import read_states
from plugin.tune.tables import keys_text, report
from plugin.tune.tuning import Options, tune

LENGTH, ERROR = 40.0, 0.3
RADII = [None, 200.0, 130.0, 90.0, 60.0, 40.0, 26.0]
OPTIONS = Options(background=0.0, folds=3, gap=4.0, states=20, places=150)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty states with a Gaussian covariance of 40 m, and fourteen sensors."""
    folder = tmp_path_factory.mktemp("known")
    write_archive(folder / "states.vtkhdf", draws(60, LENGTH))
    write_sensors(folder / "readings.csv", sensor_places(14), error=ERROR, times=(10.0, 20.0))
    return folder


def chosen(case, **changes):
    return tune(case, COMM, replace(OPTIONS, **changes), Progress(COMM)).chosen.setting


def oracle(radius, n_samples):
    """Mean error of analyses with covariances of so many states, of new states from the known distribution."""
    points, places = mesh().points, sensor_places(14)
    nearest = np.argmin(np.linalg.norm(points[:, None] - places[None], axis=2), axis=0)
    samples, truths, rng = draws(n_samples, LENGTH, seed=7), draws(200, LENGTH, seed=8), np.random.default_rng(9)
    anomalies = (samples - samples.mean(axis=0)) / np.sqrt(n_samples - 1)
    covariance = anomalies.T @ anomalies[:, nearest]
    if radius is not None:
        covariance *= gaspari_cohn(np.linalg.norm(points[:, None, :2] - points[None, nearest, :2], axis=2) / radius)
    gain = covariance @ np.linalg.inv(covariance[nearest] + ERROR**2 * np.eye(14))
    readings = truths[:, nearest] + ERROR * rng.standard_normal((200, 14))
    return np.mean(np.linalg.norm(readings @ gain.T - truths, axis=1) / np.linalg.norm(truths, axis=1))


def test_the_radius_is_that_of_least_error_or_its_neighbour(folder):
    """The best radius of samples as large as a fold's, by states that nobody has tuned with."""
    case = tuning_case(folder, background={"transform": "reduced"})
    given = {"background.localisation.horizontal": RADII, "background.localisation.vertical": [None]}
    found = chosen(case, given=given).background.localisation.horizontal
    best = int(np.argmin([oracle(radius, 40) for radius in RADII]))
    assert 0 < best < len(RADII) - 1 and abs(RADII.index(found) - best) <= 1


def test_more_states_need_less_localisation(folder, tmp_path):
    """With the same covariance, of 400 states instead of 60."""
    write_archive(tmp_path / "states.vtkhdf", draws(400, LENGTH))
    write_sensors(tmp_path / "readings.csv", sensor_places(14), error=ERROR)
    given = {"background.localisation.horizontal": RADII, "background.localisation.vertical": [None]}
    few, many = (
        chosen(tuning_case(of, background={"transform": "reduced"}), given=given).background.localisation
        for of in (folder, tmp_path)
    )
    assert many is None or many.horizontal > few.horizontal


@pytest.fixture(scope="module")
def certain(tmp_path_factory):
    """Four patterns and 200 states of them: background errors are known as well as they can be."""
    folder, rng = tmp_path_factory.mktemp("certain"), np.random.default_rng(0)
    waves = np.sin(mesh().points @ rng.normal(size=(3, 4)) / 30.0 + rng.random(4) * 6.0)
    write_archive(folder / "states.vtkhdf", rng.standard_normal((200, 4)) @ waves.T)
    write_sensors(folder / "readings.csv", sensor_places(8), error=ERROR)
    return folder


@pytest.mark.parametrize("wrong", [4.0, 0.25])
def test_a_factor_that_is_wrong_by_four_is_put_right(certain, wrong):
    case = tuning_case(certain, background={"transform": "reduced"}, observations={"error_model": {"factor": wrong}})
    of = tune(case, COMM, replace(OPTIONS, given={"background.localisation.horizontal": [None]}), Progress(COMM))
    assert 0.7 <= of.chosen.setting.factor["Tracer"] <= 1.4
    assert of.chosen.scores.mean < of.today.scores.mean < of.nothing.mean
    keys = keys_of(of.chosen.setting)
    assert keys["observations"]["error_model"]["factor"] == of.chosen.setting.factor["Tracer"]


def test_sensors_that_are_noisier_than_the_readings_say(certain):
    case = tuning_case(certain, background={"transform": "reduced"})
    found = chosen(case, noise=4.0, given={"background.localisation.horizontal": [None]})
    assert 2.8 <= found.factor["Tracer"] <= 5.7


def test_a_good_forecast_needs_a_smaller_b(tmp_path):
    """Four patterns whose amplitudes keep 0.92 of themselves: x_t − x_b has 0.4 of the standard deviation of x_t."""
    rng, memory = np.random.default_rng(0), 0.92
    amplitude = rng.standard_normal((400, 4))
    for k in range(1, 400):
        amplitude[k] = memory * amplitude[k - 1] + np.sqrt(1.0 - memory**2) * amplitude[k]
    waves = np.sin(mesh().points @ rng.normal(size=(3, 4)) / 30.0 + rng.random(4) * 6.0)
    write_archive(tmp_path / "states.vtkhdf", amplitude @ waves.T)
    write_sensors(tmp_path / "readings.csv", sensor_places(8), error=ERROR)
    case = tuning_case(tmp_path, background={"transform": "reduced"})
    found = chosen(case, background=2.0, given={"background.localisation.horizontal": [None]})
    assert 0.25 < found.background.inflation < 0.6 and found.factor == {"Tracer": 1.0}


def test_readings_of_each_field_have_a_factor_of_their_own(tmp_path):
    tracer = draws(80, 60.0)
    wind = np.stack([draws(80, 60.0, seed=3), 0.1 * tracer, 0.1 * tracer], axis=2)
    write_archive(tmp_path / "states.vtkhdf", tracer, wind)
    write_sensors(tmp_path / "readings.csv", sensor_places(8), ("Tracer", "Velocity.x"), error=0.2)
    case = tuning_case(tmp_path, ("Tracer", "Velocity"), {"transform": "reduced"})
    given = {
        "background.localisation.horizontal": [None],
        "observations.error_model.factor, Velocity": [0.5, 1.0, 2.0],
    }
    of = tune(case, COMM, replace(OPTIONS, given=given), Progress(COMM))
    assert set(of.chosen.setting.factor) == {"Tracer", "Velocity"}
    table = next(one for one in of.comparisons if one.key.endswith(", Velocity"))
    assert table.values == (0.5, 1.0, 2.0) and min(t.scores.mean for t in table.trials) == of.chosen.scores.mean
    assert tuned(case, of.chosen.setting).observations.error_model.factor


def test_blocks_and_their_size(folder):
    case = tuning_case(folder)
    given = {
        "background.local.size, across": [50.0, 100.0],
        "background.local.size, along": [20.0],
        "background.truncation": [0.9, 0.99],
        "background.local.horizontal": [None, 60.0],
        "background.local.vertical": [None],
    }
    of = tune(case, COMM, replace(OPTIONS, transforms=("local",), given=given), Progress(COMM))
    background = of.chosen.setting.background
    assert background.transform == "local" and background.local.size[0] in (50.0, 100.0)
    assert of.chosen.scores.mean <= min(trial.scores.mean for table in of.comparisons for trial in table.trials)
    assert yaml.safe_load(keys_text(of.chosen.setting))["background"]["local"]["size"] == list(background.local.size)


def command(folder, path, *words):
    return python(1, "-m", "plugin.tune", folder / "case.yml", "--folds", 3, "--places", 100, *words, "--output", path)


def test_the_command_s_keys_are_a_case_s_and_change_its_analyses(folder, tmp_path):
    case = tuning_case(folder, background={"truncation": 4}, observations={"error_model": {"factor": 4.0}})
    before = (folder / "case.yml").read_bytes()
    lengths = "background.localisation.horizontal=none,90,60", "background.localisation.modes=0,2"
    ended = command(folder, tmp_path / "tune.yml", "--try", lengths[0], "--try", lengths[1], "--gap", 4)
    assert ended.returncode == 0, ended.stderr
    assert (folder / "case.yml").read_bytes() == before
    assert ended.stdout.count("chosen") >= 5 and "14 readings, as in 2 of 2 analyses" in ended.stdout
    keys = read_yaml(tmp_path / "tune.yml").values
    assert keys["background"]["localisation"] and yaml_text(keys) in ended.stdout
    values = yaml.safe_load((folder / "case.yml").read_text())
    values["background"] |= keys["background"]
    values["observations"] |= keys["observations"]
    (tmp_path / "tuned.yml").write_text(yaml.safe_dump(values))
    after = read_case(tmp_path / "tuned.yml", needed=("observations",))
    assert after.background.localisation.horizontal in (60.0, 90.0)
    assert after.background.truncation != case.background.truncation
    error = {name: of.mean for name, of in scored(case, after).items()}
    assert error["after"] < 0.9 * error["before"]


def test_a_search_is_repeated_to_the_last_digit(folder):
    case = tuning_case(folder, background={"transform": "reduced"})
    one, other = (tune(case, COMM, OPTIONS, Progress(COMM)) for _ in range(2))
    assert [(table.values, table.chosen) for table in one.comparisons] == [
        (table.values, table.chosen) for table in other.comparisons
    ]
    assert one.chosen.setting == other.chosen.setting
    np.testing.assert_array_equal(one.chosen.scores.everywhere, other.chosen.scores.everywhere)


@pytest.mark.parametrize("lag", [0.0, 2.0])
def test_the_transformation_in_which_states_are_gaussian_is_chosen(tmp_path, lag):
    """Logarithms of the states are Gaussian."""
    write_archive(tmp_path / "states.vtkhdf", np.exp(1.5 * draws(80, LENGTH, memory=0.6)) - 3.0)
    write_sensors(tmp_path / "readings.csv", sensor_places(12), error=ERROR)
    case, key = tuning_case(tmp_path, background={"transform": "reduced"}), "background.variables.Tracer.anamorphosis"
    given = {"background.localisation.horizontal": [None, 90.0], key: [None, "sqrt", "log"]}
    found = tune(case, COMM, replace(OPTIONS, background=lag, given=given), Progress(COMM))
    assert found.chosen.setting.background.variables["Tracer"].anamorphosis == "log"
    (table,) = (one for one in found.comparisons if one.key == key)
    errors = dict(zip(table.values, (trial.scores.mean for trial in table.trials), strict=True))
    assert errors["log"] < errors["sqrt"] < errors[None]
    assert keys_of(found.chosen.setting)["background"]["variables"]["Tracer"]["anamorphosis"] == "log"
    assert any("log" in text and "chosen" in text for text in report(found))


def test_what_is_below_zero_or_far_above_is_analysed_as_it_is(folder):
    given = {"background.localisation.horizontal": [None]}
    case = tuning_case(folder, background={"transform": "reduced"})
    found = tune(case, COMM, replace(OPTIONS, given=given), Progress(COMM))
    assert not any("anamorphosis" in one.key for one in found.comparisons)


def scored(before, after):
    """Scores of two cases by the same folds."""
    states = read_states(before, COMM, 100)
    judge = Judge(states, folds_of(states.times, 3, 4.0, None, 40), before.background, 1.0, COMM)
    return {name: judge.scores(of_case(of, ("Tracer",))) for name, of in (("before", before), ("after", after))}


@pytest.mark.parametrize(
    ("changes", "options", "told"),
    [
        ({}, {"folds": 1}, "--folds 1"),
        ({}, {"noise": 0.0}, "--noise 0.0, expected a positive factor"),
        ({}, {"places": 1}, "--places 1"),
        ({}, {"gap": 1e4}, "states are left to make background errors of"),
        ({}, {"background": 0.1}, "cannot be taken from states 2 s apart"),
        ({}, {"given": {"background.radius": [1.0]}}, "--try background.radius: no key that is varied with tsvd"),
        ({"variables": {"Salt": {"anamorphosis": "sqrt"}}}, {}, "background.variables: Salt is not analysed"),
        (
            {"variables": {"Tracer": {"anamorphosis": "sqrt", "lower": 1e6}}},
            {},
            "background.variables.Tracer: does not vary in the snapshots above lower: 1e",
        ),
        ({"observations": {"window": "lagged", "lagged": {"lags": [2.0]}}}, {}, "observations.window: found lagged"),
        ({"truncation": 3}, {"given": {"background.truncation": [-1]}}, "background.truncation"),
        (
            {"observations": {"error_model": {"factor": {"Tracer.x": 2.0}}}},
            {},
            "Tracer.x is a component; plugin.tune chooses factors of whole fields",
        ),
    ],
)
def test_what_cannot_be_tuned(folder, changes, options, told):
    sections = {name: changes[name] for name in changes if name == "observations"}
    background = {name: changes[name] for name in changes if name != "observations"}
    case = tuning_case(folder, background=background, **sections)
    with pytest.raises(ConfigurationError, match=told):
        tune(case, COMM, replace(OPTIONS, **options), Progress(COMM))


def test_sensors_that_cannot_be_used(folder, tmp_path):
    write_archive(tmp_path / "states.vtkhdf", draws(12, LENGTH))
    case = tuning_case(tmp_path)
    for places, told in (
        ([(-50.0, 0.0, 0.0)], "no reading lies inside the model's air"),
        ([(50.0, 50.0, 5.0)], "no reading of an analysed variable is left"),
    ):
        write_sensors(tmp_path / "readings.csv", places)
        withheld = case
        if "variable" in told:
            text = (tmp_path / "readings.csv").read_text().replace("error", "error,station").replace("0.1", "0.1,S")
            (tmp_path / "readings.csv").write_text(text)
            withheld = tuning_case(tmp_path, observations={"withheld": ["S"]})
        with pytest.raises(ReadingsError, match=told):
            tune(withheld, COMM, OPTIONS, Progress(COMM))


def test_the_command_says_what_is_wrong(folder, capsys):
    tuning_case(folder)
    case = str(folder / "case.yml")
    for words, told in (
        (["--background", "forecast"], "invalid background (mean, or lag:SECONDS) value"),
        (["--background", "lag:-3"], "invalid background"),
        (["--try", "background.truncation"], "invalid KEY=VALUE,VALUE value"),
        (["--transform", "decoded"], "invalid choice: 'decoded'"),
    ):
        with pytest.raises(SystemExit) as ended:
            main([case, *words], MPI.COMM_SELF)
        assert ended.value.code == 2 and told in capsys.readouterr().err


def test_number_of_ranks_does_not_matter(mpirun, folder, tmp_path):
    tuning_case(folder)
    for n in (1, 3):
        mpirun(n, "tests/plugin/tune/parallel_tune.py", folder / "case.yml", tmp_path / f"{n}.npz")
    with np.load(tmp_path / "1.npz") as one, np.load(tmp_path / "3.npz") as three:
        assert set(one) == set(three)
        for name in one:
            np.testing.assert_allclose(three[name], one[name], rtol=1e-10, err_msg=name)
