"""The page of a twin experiment on a laptop's screen: nothing covers anything else, and nothing is cut."""

import re

import numpy as np
import pytest
from matplotlib import pyplot as plt

from examples.score import Score, _table, draw_errors, draw_slices

CYCLES = ("TSVD", "autoencoder trained here", "included autoencoder")
VARIABLES = ("Tracer", "Velocity.x", "Velocity.y")


def errors_of(cycles):
    kinds = ["free run", *(f"{cycle} {kind}" for cycle in cycles for kind in ("forecast", "analysis"))]
    rng = np.random.default_rng(1)
    return Score(np.arange(1, 15) * 30.0, cycles, {v: {kind: rng.random(14) for kind in kinds} for v in VARIABLES}, 9)


def drawn(figure):
    """The renderer that has laid a figure out."""
    figure.canvas.draw()
    return figure.canvas.get_renderer()


@pytest.mark.parametrize("n", [0, 1, 3])
def test_the_legend_covers_no_curve(n):
    figure = draw_errors(errors_of(CYCLES[:n]))
    renderer = drawn(figure)
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 1 + 2 * n
    box = legend.get_window_extent(renderer)
    assert not [ax for ax in figure.axes if ax.get_tightbbox(renderer).overlaps(box)]
    assert figure.bbox.fully_containsx(box.x0) and figure.bbox.fully_containsx(box.x1)
    plt.close(figure)


@pytest.mark.parametrize("width", [250, 400])
@pytest.mark.parametrize("n", [2, 3, 4, 5])
def test_titles_and_legend_of_slices_do_not_overlap_where_the_page_shrinks_them(n, width):
    names = ("truth", "free run", *(f"{cycle} analysis" for cycle in CYCLES))[:n]
    x, y = np.linspace(0, width, 24), np.linspace(0, 180, 18)
    values = dict.fromkeys(names, np.linspace(0.0, 1.0, x.size * y.size))
    figure = draw_slices(x, y, values, np.array([[10.0, 10.0, 2.0], [20.0, 20.0, 30.0]]), "Tracer [kg/m³]")
    renderer = drawn(figure)
    titles = [ax.title.get_window_extent(renderer) for ax in figure.axes if ax.get_title()]
    assert len(titles) == n
    assert not [(a, b) for a in titles for b in titles if a is not b and a.padded(4).overlaps(b)]
    (legend,) = figure.legends
    box = legend.get_window_extent(renderer).padded(10)
    assert not [ax for ax in figure.axes if ax.axison and ax.get_tightbbox(renderer).overlaps(box)]
    # the page shows it 1,100 pixels wide: letters of 12 points stay larger than 6
    assert 12 * 1100 / figure.bbox.width * figure.dpi / 72 > 6 * 96 / 72
    plt.close(figure)


def test_a_table_has_one_variable_and_a_column_for_each_run():
    rows = re.findall(r"<tr>.*?</tr>", _table(errors_of(CYCLES), "Tracer"))
    assert len(rows) == 2 + 14
    assert {row.count("<td>") for row in rows[2:]} == {2 + 2 * len(CYCLES)}
