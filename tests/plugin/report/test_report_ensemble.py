"""The report of a cycle of several models: what its sections say, from a small run and from tables made by hand."""

import csv

import numpy as np
import pytest
from box_mesh import flat_box_mesh
from crash_case import COMM, case_settings, cycled, make_case, write_case_file

from coupling.fluidity.checkpoint import open_restart, read_fields
from plugin.report.fields import last_fields
from plugin.report.members import Exceedance, exceedances
from plugin.report.run import read_run
from plugin.report.sections.consistency import consistency
from plugin.report.sections.convergence import convergence
from plugin.report.sections.ensemble import ensemble
from plugin.report.sections.exceedance import exceedance
from plugin.report.sections.headline import headline
from plugin.report.sections.parameters import parameters
from plugin.report.sections.running import running
from plugin.report.sections.settings import settings
from plugin.report.sections.timeline import timeline
from plugin.run.ledger import read_ledger

MEMBERS, WINDOWS, LIMIT = 4, 2, 0.5


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of two windows; member 2 fails in the second and is replaced."""
    folder = tmp_path_factory.mktemp("report")
    case = make_case(folder / "case")
    (case / "broken").write_text("*/0002/members/02/*")
    file = write_case_file(
        folder / "case.yml",
        case_settings(
            case,
            folder / "run",
            ensemble={"members": MEMBERS, "failures": 1},
            cycle__windows=WINDOWS,
            report={"exceed": {"Tracer": LIMIT, "Nothing": 1.0}},
        ),
    )
    ended = cycled(file)
    assert ended.code == 0, ended
    return read_run(folder / "run")


def members(run, key):
    """(nodes, MEMBERS) of the last window."""
    restarts = [open_restart(run.folder / of[key]) for of in run.last["members"]]
    return np.column_stack([read_fields(restart, COMM)["Tracer"].values for restart in restarts])


def texts(section):
    return [block.text for block in section.blocks if block.kind == "text"]


def tables(section):
    return [block for block in section.blocks if block.kind == "table"]


def test_error_and_spread_are_compared(run):
    section = ensemble(run)
    assert "4 members" in section.title
    (text,) = texts(section)
    assert text.startswith("Tracer: forecasts are") and "The spread is too small" in text
    (row,) = tables(section)[0].rows
    with open(run.folder / "0002/readings.csv", newline="") as file:
        last = list(csv.DictReader(file))
    assert row[:3] == ("Tracer", "used", len(run.readings))
    assert row[-1] == pytest.approx(np.mean([float(one["crps"]) for one in last]))
    assert sum(block.kind == "picture" for block in section.blocks) == 3


def test_the_tables_have_ranks_and_quantiles(run):
    for window in range(1, WINDOWS + 1):
        with open(run.folder / f"{window:04d}/readings.csv", newline="") as file:
            for row in csv.DictReader(file):
                quantiles = [float(row[name]) for name in ("q05", "q25", "q50", "q75", "q95")]
                assert quantiles == sorted(quantiles) and 0 <= float(row["rank"]) <= MEMBERS
                mean = float(row["value"]) - float(row["innovation"])
                assert quantiles[0] <= mean <= quantiles[-1]
    (entry,) = [of for of in read_ledger(run.folder / "ledger.jsonl") if of["window"] == 1]
    of = entry["analysis"]["by_variable"]["Tracer"]
    assert of["spread"] == entry["analysis"]["spread"] and of["crps"] > 0.0


def test_the_map_counts_members_beyond_the_limit(run):
    (of,) = exceedances(run)  # of what is analysed
    np.testing.assert_allclose(of.probability, (members(run, "restart") > LIMIT).mean(axis=1))
    section = exceedance(run, [of])
    assert "Probability that Tracer exceeds 0.5 at 56 s" in section.blocks[0].caption
    assert exceedance(run, []) is None


def test_a_flat_mesh_has_one_map(run):
    mesh, _ = flat_box_mesh((4, 3))
    section = exceedance(run, [Exceedance("Tracer", LIMIT, mesh, "point", (mesh.points[:, 0] > 0.6) * 1.0)])
    assert "At any height" not in section.blocks[0].caption and "Probability that Tracer" in section.blocks[0].caption


def test_fields_are_means_with_their_spread(run):
    (of,) = last_fields(run)
    good = members(run, "forecast")[:, [0, 2, 3]]  # of the replaced one the draw, which is no forecast of a model
    draw = MEMBERS * of.background - good.sum(axis=1)
    assert (np.abs(draw[:, None] - good).max(axis=0) > 0.01 * np.abs(good).max()).all()
    np.testing.assert_allclose(of.analysis, members(run, "restart").mean(axis=1), atol=1e-12)
    np.testing.assert_allclose(of.std.values, members(run, "restart").std(axis=1, ddof=1), atol=1e-12)


def test_replaced_members_are_named(run):
    section = running(run)
    assert "Members that failed twice and were replaced by a draw in window 2." in texts(section)
    (table,) = [of for of in tables(section) if "replaced" in of.caption]
    assert table.rows[0][1] == "member 2.problem" and "exit code 7" in table.rows[0][2]


def test_the_other_sections_know_runs_without_a_minimiser(run):
    assert convergence(run) is None and consistency(run) is not None
    assert headline(run).blocks and timeline(run).blocks
    assert ("ensemble", "4 members") in settings(run).blocks[0].rows


def test_parameters_are_shown_with_what_was_known_before(run):
    assert parameters(run) is None
    names = ("window", "time", "name", "mean", "std", "q05", "q25", "q50", "q75", "q95")
    path = run.folder / "parameters.csv"
    with open(path, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(names)
        table.writerow((0, "", "wind_speed", 4.0, 1.0, 2.4, 3.3, 4.0, 4.7, 5.6))
        for number in range(25):  # more than are drawn, and known worse the later
            table.writerow((0, "", f"gust{number}", -1.1e-17, 1.0, -1.0, -0.5, 0.0, 0.5, 1.0))
            table.writerow((1, 8.0, f"gust{number}", 0.1, 0.5 + 0.01 * number, -0.5, 0.0, 0.1, 0.2, 0.7))
        for window in (1, 2, 3):  # the third is not in the ledger
            table.writerow((window, 8.0 * window, "wind_speed", 3.0, 0.5 / window, 2.0, 2.8, 3.0, 3.2, 4.0))
    try:
        section = parameters(run)
    finally:
        path.unlink()
    row, *others = tables(section)[0].rows
    assert row[0] == "wind_speed" and row[-1] == pytest.approx(0.25)
    assert [of[1] for of in others] == [0.0] * 25  # what rounding left of a mean of zero
    caption = section.blocks[1].caption
    assert "wind_speed" in caption and "gust22" in caption and "gust23" not in caption
    assert "The 24 of 26 that became known best." in caption
