"""Cycles side by side: run folders whose errors are known."""

import numpy as np
import pytest
from experiment_case import COMM, N_TRAINING, RESTART, experiment_case, write_states

from coupling.archive.series import open_series
from coupling.fluidity.checkpoint import open_restart, write_restart
from coupling.geometry.mesh import State
from coupling.vtk.dumps import write_dump
from plugin.case.configuration import ConfigurationError
from plugin.experiment.__main__ import run
from plugin.run.ledger import append_entry
from plugin.run.progress import Progress

TIMES = (40.0, 48.0)
ERRORS = {
    "free": (0.9, 1.1),
    "tsvd": {"forecast": (0.5, 0.6), "restart": (0.2, 0.3)},
    "cae": {"forecast": (0.4, 0.4), "restart": (0.1, 0.2)},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """States, a truth, a free run and two cycles; these lie beyond the truth by ERRORS of its own way from the mean."""
    folder = tmp_path_factory.mktemp("cycled")
    write_states(folder / "states")
    with open_series(folder / "states", COMM) as series:
        tracers = [series.read(k, ["Tracer"])["Tracer"] for k in range(len(series))]
    mean = np.mean([tracer.values for tracer in tracers[:N_TRAINING]], axis=0)
    truths = tracers[27:29]
    for name in ("truth", "free"):
        (folder / name).mkdir()
    for k, (time, truth) in enumerate(zip(TIMES, truths, strict=True)):
        write_dump(State(time, {"Tracer": truth}), folder / f"truth/t_{k}", COMM)
        away = truth.replaced(truth.values + ERRORS["free"][k] * (truth.values - mean))
        write_dump(State(time + 0.2, {"Tracer": away}), folder / f"free/f_{k}", COMM)
    restart = open_restart(RESTART)
    for name in ("tsvd", "cae"):
        text = "model: {driver: embedded, start: none.flml}\ncycle: {window: 8, windows: 2}\ngrid: {spacing: 9}\n"
        text += "variables: [Tracer]\nbackground: {snapshots: [{path: none}]}\nobservations: {file: none.csv}\n"
        (folder / f"{name}.yml").write_text(f"{text}run: {name}\n")
        for k, (time, truth) in enumerate(zip(TIMES, truths, strict=True)):
            entry = {"time": time, "seconds": {"analysis": 0.5 + k}}
            for kind, errors in ERRORS[name].items():
                away = truth.replaced(truth.values + errors[k] * (truth.values - mean))
                options = write_restart(restart, folder / name / f"{k}/{kind}", COMM, {"Tracer": away}).options
                entry[kind] = str(options.relative_to(folder / name))
            append_entry(folder / name / "ledger.jsonl", entry)
    return folder


def case_of(folder, **changed):
    settings = {"truth": "[{path: truth}]", "free": "{path: free}", "runs": "{tsvd: tsvd.yml, cae: cae.yml}", **changed}
    cycled = "{" + ", ".join(f"{key}: {value}" for key, value in settings.items()) + "}"
    return experiment_case(folder, folder / "states", cycled=cycled)


def test_errors_are_those_of_forecasts_and_analyses(folder):
    result = run("cycled", case_of(folder), Progress(COMM), folder / "out")
    summary, windows = (table.rows for table in result.tables)
    assert [row["time"] for row in windows] == [*TIMES]
    for name in ("tsvd", "cae"):
        for told, key in (("forecast", "forecast"), ("analysis", "restart")):
            found = [row[f"{name} {told}"] for row in windows]
            np.testing.assert_allclose(found, ERRORS[name][key], rtol=1e-5)
    np.testing.assert_allclose([row["free run"] for row in windows], ERRORS["free"], rtol=1e-5)
    found = {row["system"]: row for row in summary}
    assert found["tsvd analysis"]["seconds"] == 1.0 and "seconds" not in found["free run"]
    analysis = found["cae analysis"]
    assert (analysis["error"], analysis["later"]) == (pytest.approx(0.15), pytest.approx(0.2))
    assert (folder / "out/cycled.png").is_file() and "| cae analysis |" in (folder / "out/cycled.md").read_text()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"runs": "{tsvd: none.yml}"}, "none.yml: cannot be read"),
        ({"runs": "{tsvd: tsvd.yml, other: other.yml}"}, "other holds no finished window"),
        ({"runs": "{tsvd: tsvd.yml, short: short.yml}"}, "short has 1 window to 40 s, others 2 to 48 s"),
        ({"truth": "[{path: states}]"}, "experiment.cycled.truth: no state at 40 s, the nearest is at 29 s"),
    ],
)
def test_runs_that_cannot_be_compared_are_told(folder, changed, told):
    text = (folder / "tsvd.yml").read_text()
    for name in ("other", "short"):
        (folder / f"{name}.yml").write_text(text.replace("run: tsvd", f"run: {name}"))
    if not (folder / "short").exists():
        (folder / "short").mkdir()
        append_entry(folder / "short/ledger.jsonl", {"time": 40.0})
    with pytest.raises(ConfigurationError, match=told):
        run("cycled", case_of(folder, **changed), Progress(COMM), folder / "out")
