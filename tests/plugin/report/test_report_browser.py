"""The page of a run in a real browser: Chromium without a window."""

import shutil
from itertools import pairwise

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH (Debian: apt-get install chromium)")
# WebGL without a graphics card
_WORDS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
_WIDTHS = (1280, 390)


@pytest.fixture(scope="module")
def address(reported):
    """The page of a run, as a browser is given it."""
    return (reported.folder / "run/report.html").as_uri()


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=_WORDS)
        yield started
        started.close()


@pytest.fixture
def opened(browser, address):
    """(page, errors on its console and what it asked of the network); nothing but the file itself may be asked for."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints = []
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda asked: complaints.append(asked.url) if asked.url.startswith(("http", "ws")) else None)
    page.goto(address)
    yield page, complaints
    page.close()


@pytest.mark.parametrize("width", _WIDTHS)
def test_opens_without_complaint_and_fits(opened, width):
    page, complaints = opened
    page.set_viewport_size({"width": width, "height": 900})
    images = page.locator("main img")
    assert images.count() >= 1
    assert all(images.evaluate_all("all => all.map(i => i.complete && i.naturalWidth > 0)"))
    sizes = page.locator("main svg").evaluate_all("all => all.map(s => s.getBoundingClientRect().width)")
    assert len(sizes) >= 8 and min(sizes) > 100
    overflow = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert overflow <= 0 and complaints == []


def test_tables_are_sorted_by_mouse_and_keyboard(opened):
    page, _ = opened
    table = page.locator("#timeline table")
    heading = table.locator("thead th", has_text="mean of forecast")
    column = heading.evaluate("h => h.cellIndex")

    def values():
        return [
            float(v)
            for v in table.locator(f"tbody tr > :nth-child({column + 1})").evaluate_all(
                "all => all.map(c => c.dataset.value)"
            )
        ]

    heading.locator("button").click()
    assert values() == sorted(values()) and heading.get_attribute("aria-sort") == "ascending"
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert values() == sorted(values(), reverse=True) and heading.get_attribute("aria-sort") == "descending"
    names = table.locator("thead th").first
    names.locator("button").click()
    texts = table.locator("tbody tr > :first-child").all_inner_texts()
    assert texts != [] and heading.get_attribute("aria-sort") is None


def test_the_scene_is_drawn_once_it_is_asked_for(opened):
    page, complaints = opened
    assert page.evaluate("typeof Plotly") == "undefined"
    page.locator("details.scene summary").focus()
    page.keyboard.press("Enter")
    page.locator(".stage canvas").first.wait_for(timeout=20_000)
    assert page.evaluate("document.querySelector('.stage').data.length") >= 3
    assert complaints == []


def test_dark_mode_and_print_change_the_colours(opened):
    page, _ = opened
    colours = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        colours[scheme] = page.evaluate(
            """[document.body, document.querySelector('main svg text')]
               .map(getComputedStyle).map(s => s.backgroundColor + s.fill)"""
        )
    assert colours["light"][0] != colours["dark"][0] and colours["light"][1] != colours["dark"][1]
    page.emulate_media(media="print", color_scheme="dark")
    assert "255, 255, 255" in page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert not page.locator("nav").is_visible() and not page.locator("details.scene").is_visible()


def test_the_keyboard_reaches_the_content_and_headings_are_in_order(opened):
    page, _ = opened
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#content")
    unnamed = page.evaluate(
        """Array.from(document.querySelectorAll('[tabindex], button, summary, a'))
           .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim())).length"""
    )
    assert unnamed == 0
    levels = page.evaluate("Array.from(document.querySelectorAll('h1, h2, h3')).map(h => Number(h.tagName[1]))")
    assert levels[0] == 1 and all(b - a <= 1 for a, b in pairwise(levels))
