"""The report of a run: what its sections say of runs made by hand, and the page of a real one."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from cycle_case import COMM, cycle
from report_case import STATIONS, WITHHELD, make_run

from coupling.geometry.mesh import Mesh, Piece
from coupling.simulation.launch import Ended
from plugin.case.configuration import Case, ConfigurationError
from plugin.readings.of_case import readings_of
from plugin.report.beside_cycle import _warning, report_beside_cycle
from plugin.report.fields import VariableFields
from plugin.report.page.page import Section, SortableTable, Text, fragment, number, page
from plugin.report.run import read_run
from plugin.report.scene.rendered import rendered
from plugin.report.scene.surfaces import surfaces
from plugin.report.sections.consistency import ENOUGH, consistency
from plugin.report.sections.headline import headline
from plugin.report.sections.quality import quality
from plugin.report.sections.running import leaves, running
from plugin.report.sections.slices import Cutter, plane
from plugin.report.sections.solid import scene
from plugin.report.sections.timeline import timeline
from plugin.report.write import sections, write_report
from plugin.run.ledger import read_ledger


def texts(section):
    return [block for block in section.blocks if block.kind == "text"]


def tables(section):
    return [block for block in section.blocks if block.kind == "table"]


# What sections say


def test_headline_covers_used_and_withheld_readings(tmp_path):
    seen, unseen = texts(headline(read_run(make_run(tmp_path / "run"))))
    assert seen.mood == "good" and "3 readings it used" in seen.text and "80% nearer" in seen.text
    assert unseen.mood == "good" and "1 reading withheld" in unseen.text and "40% nearer" in unseen.text
    assert "better there in 3 of 3 windows" in unseen.text


def test_headline_does_not_praise_an_analysis_that_harms_elsewhere(tmp_path):
    seen, unseen = texts(headline(read_run(make_run(tmp_path / "run", elsewhere=1.5))))
    assert seen.mood == "good" and unseen.mood == "bad" and "50% further" in unseen.text


def test_headline_asks_for_withheld_stations_where_there_are_none(tmp_path):
    _, unseen = texts(headline(read_run(make_run(tmp_path / "run", stations=STATIONS[:3]))))
    assert unseen.mood == "fair" and "observations.withheld" in unseen.text


def test_headline_tells_windows_whose_analysis_is_worse_than_the_forecast(tmp_path):
    good, bad = ({"guard": {"action": "warn", "worse": worse, "fields": {"all": {}}}} for worse in ([], ["Tracer"]))
    *_, text = texts(headline(read_run(make_run(tmp_path / "one", more={1: good, 2: bad, 3: good}))))
    assert text.mood == "bad" and "worse than the forecast in 1 of 3 windows: windows 2 (Tracer)" in text.text
    *_, text = texts(headline(read_run(make_run(tmp_path / "two", more={1: good, 2: good}))))
    assert text.mood == "good" and "no worse than the forecast in any window" in text.text


def test_headline_numbers_are_those_of_the_tables(tmp_path):
    run = read_run(make_run(tmp_path / "run"))
    (table,) = tables(headline(run))
    of = run.readings
    for name, which in (("used", of.used), ("withheld", of.withheld)):
        (row,) = [row for row in table.rows if row[0] == name]
        assert row[2] == which.sum()
        assert row[3] == pytest.approx(np.sqrt(np.mean(of.innovation[which] ** 2)))
        assert row[6] == pytest.approx(np.sqrt(np.mean(of.innovation[which & (of.window == 3)] ** 2)))


def test_readings_left_out_are_counted_by_reason(tmp_path):
    section = quality(read_run(make_run(tmp_path / "run")))
    reasons = {row[0]: row[1:] for row in tables(section)[0].rows}
    assert reasons == {"withheld": (3, 1), "outside the model's air": (3, 1)}
    bad, kept_away = tables(section)[1:3]
    assert "needs a visit" in bad.caption and "withheld by the case" in kept_away.caption
    assert [row[:3] for row in kept_away.rows] == [(WITHHELD, "Tracer", "withheld")]
    by_sensor = {row[:3]: row[3:] for table in (bad, kept_away) for row in table.rows}
    assert by_sensor[WITHHELD, "Tracer", "withheld"] == (3, 3, 1.0)
    assert by_sensor["at 40, 5, 2", "Tracer", "outside the model's air"] == (3, 3, 1.0)
    assert WITHHELD not in {row[0] for row in bad.rows}


def test_counts_of_one_and_whole_numbers_are_as_people_write_them(tmp_path):
    folder = make_run(tmp_path / "run", windows=1)
    case = json.loads((folder / "case.json").read_text())
    case["background"]["truncation"] = 80.0  # as JSON has it
    (folder / "case.json").write_text(json.dumps(case))
    html = page("", "", sections(read_run(folder)))
    assert "on 1 process," in html and "truncation 80<" in html and "truncation: 80\n" in html and "80.0" not in html
    assert "of 1 window." in html and not re.search(r"\b1 (windows|sensors|readings|iterations|processes)\b", html)


def test_a_name_that_is_too_long_for_a_picture_is_shortened_and_two_of_them_stay_apart(tmp_path):
    long = ["S" + "x" * 3000 + end for end in "ab"]
    run = read_run(make_run(tmp_path / "run", stations=(*STATIONS, *long)))
    blocks = [*timeline(run).blocks, *quality(run).blocks]
    pictures = [block for block in blocks if block.kind == "picture"]
    for block in pictures:
        assert "x" * 41 not in block.markup and "x" * 41 not in block.caption
    assert "Innovations and residuals of 6 sensors" in pictures[1].caption
    assert "xa  Tracer" in pictures[1].markup and "xb  Tracer" in pictures[1].markup
    for table in (block for block in blocks if block.kind == "table"):
        assert all(len(cell) <= 60 for row in table.rows for cell in row if isinstance(cell, str))


@pytest.mark.parametrize(
    ("factor", "mood", "word"), [(1.0, "", "about the 0.5 assumed"), (3.0, "fair", "larger than assumed")]
)
def test_errors_that_readings_show_are_compared_with_those_assumed(tmp_path, factor, mood, word):
    run = read_run(make_run(tmp_path / "run", windows=3 * ENOUGH))
    # errors of readings and background are equally large, and `factor` times the 0.5 that readings are given
    d = np.random.default_rng(4).normal(size=len(run.readings)) * np.hypot(0.5 * factor, 0.5 * factor)
    run.readings.innovation[:], run.readings.residual[:] = d, 0.5 * d
    verdicts = [text for text in texts(consistency(run)) if text.text.startswith("Tracer")]
    assert [text.mood for text in verdicts] == [mood] and word in verdicts[0].text


def test_errors_of_few_windows_are_not_judged(tmp_path):
    said = [t.text for t in texts(consistency(read_run(make_run(tmp_path / "run"))))]
    assert any("too few windows (3)" in text for text in said)


def test_warnings_name_windows_fallbacks_gates_and_slow_models(tmp_path):
    more = {
        1: {"network": {"transform": "tsvd", "reason": "the round trip is 3 off", "checks": {}}},
        2: {
            "network": {"transform": "decoded", "checks": {}},
            "gates": {"largest": {"factor": 0.5}, "mass": [1.0, 2.0]},
        },
        3: {"model_seconds": 95.0, "recovery": {"from": "half", "problem": "the model ended with exit code 7"}},
    }
    section = running(read_run(make_run(tmp_path / "run", more=more)))
    said = " ".join(text.text for text in texts(section))
    assert "1 of 2 analyses are TSVD's" in said and "window 3 the model took 95 s of the 100 s" in said
    rows = [row for table in tables(section) for row in table.rows]
    assert (1, 10.0, "the round trip is 3 off") in rows
    assert (2, "largest.factor", 0.5) in rows and (2, "mass", "1.0, 2.0") in rows
    assert (3, "from", "half") in rows


def test_windows_without_analysis_are_listed(tmp_path):
    folder = make_run(tmp_path / "run", stations=())
    run = read_run(folder)
    assert any("No analysis in 3 of 3 windows" in text.text for text in texts(running(run)))
    assert texts(headline(run))[0].mood == "bad"
    assert page("t", "s", sections(run))


def test_leaves_of_nested_values():
    assert list(leaves({"a": {"b": 1}, "c": [{"d": None}, {"d": "x"}]})) == [
        ("a.b", 1),
        ("c.1.d", None),
        ("c.2.d", "x"),
    ]


# The page


def test_what_a_run_says_is_no_html(tmp_path):
    folder = make_run(tmp_path / "run", more={1: {"network": {"reason": "<script>alert(1)</script>", "checks": {}}}})
    written = write_report(folder).read_text()
    assert "<script>alert(1)" not in written and "&lt;script&gt;alert(1)" in written
    assert "<S3>" not in written and "&lt;S3&gt; &amp; $co$" in written


def test_fragment_of_numbers_and_gaps():
    section = Section(
        "c", "C", [SortableTable("t", ("a", "b"), [("x", 1.23456), ("y", float("nan")), ("z", None)]), Text("p", "bad")]
    )
    html = fragment(section)
    assert 'data-value="1.23456">1.235<' in html and html.count("–") == 2 and '<p class="bad">p</p>' in html
    assert number(-0.5) == "−0.5" and number(True) == "yes" and number(12) == "12"


def test_lost_files_of_the_last_window_cost_its_pictures_only(tmp_path):
    written = write_report(make_run(tmp_path / "run")).read_text()
    assert "There are no pictures" in written and "Sensors in time" in written


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    folder = make_run(tmp_path / "run", windows=0)
    assert "No window is finished yet" in write_report(folder).read_text()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="case.json: no settings of a run"):
        write_report(tmp_path)


def test_a_report_that_fails_is_a_line_and_no_error(tmp_path):
    told = report_beside_cycle(tmp_path, COMM)
    assert told.startswith("warning: the report ended with exit code 2; error: ")
    assert (tmp_path / "report.log").is_file()


@pytest.mark.parametrize(
    "log, told",
    [
        ("page\nerror: no settings\n[host:12] Failing at address: 0x7f\n", "error: no settings"),
        ("page\nKilled\n", "Killed"),
        ("", "no output"),
    ],
)
def test_the_reports_own_error_is_told_and_not_what_mpi_writes_after_it(tmp_path, log, told):
    path = tmp_path / "report.log"
    path.write_text(log)
    expected = f"warning: the report ended with exit code 2; {told} (in full: {path})"
    assert _warning(Ended(2, 1.0, None), path) == expected


# Slices and surfaces


def box_with_a_hole():
    """Eight cubes of six tetrahedra in a 3 × 3 × 1 square of cubes, the middle one being a building. [m]"""
    axis = np.arange(4.0)
    points = np.array([(x, y, z) for x in axis for y in axis for z in (0.0, 1.0)])
    number_of = {tuple(p): k for k, p in enumerate(points.tolist())}
    corners = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (1, 1, 1), (0, 1, 1)]
    parts = [(0, 1, 2, 6), (0, 2, 3, 6), (0, 3, 7, 6), (0, 7, 4, 6), (0, 4, 5, 6), (0, 5, 1, 6)]
    cells = [
        [number_of[x + corners[k][0], y + corners[k][1], float(corners[k][2])] for k in part]
        for x in range(3)
        for y in range(3)
        if (x, y) != (1, 1)
        for part in parts
    ]
    cells = np.array(cells)
    piece = Piece(0, slice(0, len(points)), slice(0, len(cells)), "box")
    return Mesh(points, cells, np.zeros(len(cells), bool), (piece,), 1, "box")


def test_slices_show_the_field_and_leave_buildings_out():
    mesh = box_with_a_hole()
    where = plane([[0, 0, 0], [3, 3, 1]], 2, 0.5)
    cut = Cutter().cut(mesh, "point", mesh.points @ [1.0, 10.0, 0.0], where)
    places = where.places.reshape(*where.shape, 3)
    hole = ((places[..., :2] > 1.0) & (places[..., :2] < 2.0)).all(axis=-1)
    np.testing.assert_array_equal(np.isnan(cut), hole)
    np.testing.assert_allclose(cut[~hole], (places @ [1.0, 10.0, 0.0])[~hole], rtol=1e-12)
    assert where.extent == (0.0, 3.0, 0.0, 3.0) and cut.shape == where.shape


def test_side_of_a_plane_keeps_the_box_apart():
    where = plane([[0, 0, 0], [300, 100, 50]], 1, 20.0)
    assert where.axes == (0, 2) and where.extent == (0.0, 300.0, 0.0, 50.0) and where.shape == (40, 240)
    assert (where.places[:, 1] == 20.0).all() and where.places[:, 2].max() < 50.0


@pytest.mark.parametrize("location", ["point", "cell"])
def test_surfaces_are_ground_walls_and_levels(location):
    mesh = box_with_a_hole()
    places = mesh.points if location == "point" else mesh.centroids
    analysis = places[:, 0] - 1.5
    ground, raised, lowered = surfaces(VariableFields("T", mesh, location, 0.0 * analysis, analysis, None))
    corners = ground.points[ground.triangles]
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    assert areas.sum() == pytest.approx(8 + 4)  # the ground without the building, and its four walls
    if location == "point":
        np.testing.assert_allclose(raised.points[:, 0], 1.5 + 0.3 * 1.5, atol=1e-6)
        np.testing.assert_allclose(lowered.points[:, 0], 1.5 - 0.3 * 1.5, atol=1e-6)
    drawn = scene([ground, raised, lowered], np.ones((2, 3)))
    assert json.dumps(drawn, allow_nan=False) and [d["type"] for d in drawn["data"]] == 3 * ["mesh3d"] + ["scatter3d"]


def test_a_picture_that_cannot_be_made_is_explained():
    picture, why = rendered([], np.empty((0, 3)))
    assert picture == b"" and "IndexError" in why


def test_no_increment_has_no_surface_but_the_ground():
    mesh = box_with_a_hole()
    still = np.zeros(mesh.n_nodes)
    assert [s.name for s in surfaces(VariableFields("T", mesh, "point", still, still, None))] == [
        "ground and buildings"
    ]


# A whole run


class Page(HTMLParser):
    """Counts of tags, and all ids."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.tags, self.images = [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        of = dict(attributes)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        if tag in ("img", "svg"):
            self.images.append(of.get("alt") or of.get("aria-label"))
        self.ids += [of["id"]] if "id" in of and tag not in ("path", "clippath") else []


def test_a_cycle_writes_its_report_and_withholds_stations(reported):
    folder, said = reported.folder, reported.said
    assert "warning" not in said and not (folder / "run/report.log").exists()
    run = read_run(folder / "run")
    of = run.readings
    away = np.isin(of.sensor, ["P01", "P05"])
    assert away.any() and (of.withheld == away).all() and (of.used == ~away).all()
    assert np.isfinite(of.residual[away]).all()
    trace = read_ledger(folder / "run/ledger.jsonl")[-1]["analysis"]
    assert trace["trace"]["cost"][-1] == trace["cost"] and len(trace["trace"]["cost"]) == trace["iterations"] + 1


def test_withheld_stations_change_nothing(reported):
    """Their readings may be anything: analyses are those without them."""
    folder = reported.folder
    text = (folder / "readings.csv").read_text()
    rows = [line.split(",") for line in text.splitlines()]
    for row in rows[1:]:
        if row[-1] in ("P01", "P05"):
            row[5] = "1e3"
    (folder / "wild.csv").write_text("\n".join(map(",".join, rows)) + "\n")
    case = json.loads((folder / "run/case.json").read_text())
    file = folder / "wild.yml"
    case["observations"]["file"], case["run"] = str(folder / "wild.csv"), str(folder / "wild")
    case["cycle"].update(windows=1, report=False)
    file.write_text(json.dumps(case))
    cycle(file)
    wild, same = (read_ledger(folder / name / "ledger.jsonl")[0]["analysis"] for name in ("wild", "run"))
    assert wild["cost"] == same["cost"] and wild["innovation"] == same["innovation"]


def test_an_unknown_withheld_station_is_refused(reported):
    case = json.loads((reported.folder / "run/case.json").read_text())
    case["observations"]["withheld"] = ["P99"]
    with pytest.raises(ConfigurationError, match="withheld: .*readings.csv has no station 'P99'"):
        readings_of(Case.model_validate(case))


def test_page_of_a_run_is_whole_and_speaks_to_those_who_do_not_see(reported):
    folder = reported.folder
    text = (folder / "run/report.html").read_text()
    assert len(text) < 8e6
    outside = text.partition("<script")[0]
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", outside)
    found = Page(text)
    assert found.tags["h1"] == 1 and found.tags["h2"] == 9 and found.tags["main"] == 1
    assert len(found.images) >= 9 and all(found.images)
    assert len(set(found.ids)) == len(found.ids)
    assert "standard deviation" in text and "currentColor" in text
    assert found.tags["caption"] == found.tags["table"]
