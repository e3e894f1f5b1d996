"""The case file: what is right is read, what is wrong is answered with line and key."""

import json

import pytest

from plugin.case.configuration import Case, ConfigurationError, read_case

GOOD = """\
model:
  driver: fluidity
  start: case.flml
cycle: {window: 10, windows: 3}
grid: {spacing: 8.0}
variables: [Tracer, Velocity.x]
background:
  snapshots:
    - {path: archive.vtkhdf, from: 5, every: 2}
observations:
  file: readings.csv
"""


CSV = "  file: readings.csv"


def _read(tmp_path, text):
    (tmp_path / "case.yml").write_text(text)
    return read_case(tmp_path / "case.yml")


def test_paths_are_relative_to_the_file(tmp_path):
    case = _read(tmp_path, GOOD)
    assert case.model.start == tmp_path / "case.flml"
    assert case.background.snapshots[0].path == tmp_path / "archive.vtkhdf"
    assert case.run == tmp_path / "run"
    assert (case.background.snapshots[0].start, case.background.snapshots[0].every) == (5, 2)
    assert _read(tmp_path, GOOD.replace("case.flml", "/data/case.flml")).model.start.as_posix() == "/data/case.flml"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("windows: 3", "wndows: 3", r"line 4: cycle.wndows: unknown key; did you mean 'windows'\?"),
        ("from: 5", "form: 5", r"line 9: background.snapshots.0.form: unknown key; did you mean 'from'\?"),
        ("window: 10", "window: -10", r"line 4: cycle.window: found -10; .*greater than 0"),
        ("window: 10", "window: .nan", r"line 4: cycle.window: found nan"),
        (
            "driver: fluidity",
            "driver: open",
            r"line 2: model.driver: found 'open'; .*'fluidity', 'openfoam', 'embedded'",
        ),
        ("  start: case.flml\n", "", r"line 1: model.start: this key is missing"),
        ("{spacing: 8.0}", "{spacing: 8.0, shape: [3, 3, 3]}", r"line 5: grid: .*either shape or spacing"),
        ("{spacing: 8.0}", "{shape: [1, 3, 3]}", r"line 5: grid: .*at least 2 points"),
        ("{spacing: 8.0}", "{space: mesh, reconstruction: linear}", r"line 5: grid: .*leave reconstruction out"),
        ("{spacing: 8.0}", "{spacing: 8.0, reconstruction: cubic}", r"line 5: grid.reconstruction"),
        ("[Tracer, Velocity.x]", "[]", r"line 6: variables: found \[\]"),
        (
            "  snapshots:",
            "  transform: reduced\n  truncation: 4\n  snapshots:",
            r"truncation goes with transform: tsvd",
        ),
        ("cycle: {window: 10, windows: 3}", "cycle: 3", r"line 4: cycle: found 3"),
        ("grid:", "grid: {shape: [3, 3, 3]}\ngrid:", r"line 6: key 'grid' is given twice, first in line 5"),
        ("grid:", "\tgrid:", r"line 5"),
        ("grid:", "gird:", r"line 5: gird: unknown key; did you mean 'grid'\?"),
        (CSV, f"{CSV}\n  quality: {{bakground: 4}}", r"line 12: observations.quality.bakground: .* 'background'\?"),
        (
            CSV,
            f"{CSV}\n  quality:\n    buddy: {{lenght: 4}}",
            r"line 13: observations.quality.buddy.lenght: .*'length'",
        ),
        (CSV, f"{CSV}\n  quality: {{range: {{Tracer: [2, 1]}}}}", r"line 12: .*range of Tracer from 2 to 1"),
        (CSV, f"{CSV}\n  window: last", r"line 12: observations.window: found 'last'; .*'interpolate'"),
        (CSV, f"{CSV}\n  window: nearest\n  tolerance: 1", r"tolerance goes with window: analysis time"),
        (CSV, f"{CSV}\n  error_model: {{matrix: r.npy, correlation: {{length: 9}}}}", r"either correlation or matrix"),
        (CSV, f"{CSV}\n  error_model: {{factor: {{Smoke: 2}}}}", r"error_model.factor: Smoke is not analysed"),
        (
            CSV,
            f"{CSV}\n  error_model: {{matrix: r.npy}}\n  quality: {{thinning: {{}}}}",
            r"matrix is of readings, not of averages",
        ),
        ("model:", "modell:", r"line 1: model: this key is missing"),
        ("  snapshots:", "  transform: decoded\n  snapshots:", r"transform: decoded needs the section network"),
        ("grid:", "minimiser: {method: gauss_newton}\ngrid:", r"gauss_newton goes with background.transform: decoded"),
        ("  snapshots:", "  latent: {truncation: 2.5}\n  snapshots:", r"latent.truncation: found 2.5; .*whole number"),
        ("  snapshots:", "  latent: {trust: {quantile: 2}}\n  snapshots:", r"latent.trust.quantile: found 2"),
    ],
)
def test_a_wrong_key_is_told_with_its_line(tmp_path, old, new, told):
    with pytest.raises(ConfigurationError, match=r"case.yml, " + told if told.startswith("line") else told):
        _read(tmp_path, GOOD.replace(old, new))


NETWORK = GOOD.replace("  snapshots:", "  transform: decoded\n  snapshots:") + "network: {file: net.safetensors}\n"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (CSV, f"{CSV}\n  huber: 2", r"observations.huber goes with background.transform: tsvd, reduced or local"),
        (CSV, f"{CSV}\n  bias: {{std: {{Tracer: 1}}}}", r"observations.bias goes with"),
        ("grid:", "diagnostics: {posterior: true}\ngrid:", r"diagnostics.posterior goes with"),
        ("{spacing: 8.0}", "{space: mesh}", r"a network needs a grid"),
    ],
)
def test_what_does_not_go_with_a_network(tmp_path, old, new, told):
    assert _read(tmp_path, NETWORK).network.file == tmp_path / "net.safetensors"
    with pytest.raises(ConfigurationError, match=told):
        _read(tmp_path, NETWORK.replace(old, new))


def test_a_command_is_told_which_of_its_sections_are_missing(tmp_path):
    (tmp_path / "case.yml").write_text("grid: {spacing: 8}\nvariables: [A]\nbackground: {snapshots: [{path: a}]}\n")
    case = read_case(tmp_path / "case.yml", needed=())
    assert case.model is case.observations is case.network is None
    with pytest.raises(ConfigurationError, match="line 1: network: this key is missing"):
        read_case(tmp_path / "case.yml", needed=("network",))


def test_all_wrong_keys_are_told_at_once(tmp_path):
    with pytest.raises(ConfigurationError) as error:
        _read(tmp_path, GOOD.replace("windows: 3", "windows: 0").replace("spacing", "spacng"))
    assert "cycle.windows" in str(error.value) and "grid.spacng" in str(error.value)


@pytest.mark.parametrize("text", ["", "- a list", "just text", "a: [1,", "a: !!python/object:os.system {}"])
def test_what_is_no_case_file_is_refused(tmp_path, text):
    with pytest.raises(ConfigurationError, match="case.yml"):
        _read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match="nowhere.yml: cannot be read"):
        read_case(tmp_path / "nowhere.yml")


def test_schema_describes_every_section():
    schema = json.loads(json.dumps(Case.model_json_schema()))
    assert set(schema["required"]) == {"grid", "variables", "background"}  # what no command can do without
    assert schema["additionalProperties"] is False
