"""The page in a real browser: nothing complained of, nothing fetched, all of it to be seen, on a phone as on a desk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lebm_text.page.page import write_page
from lebm_text.run import Run

from .chromium import VARIABLE, Browser, browser_path, open_browser
from .test_page import full, hostile_run

__all__ = ["full"]

PROGRAM = browser_path()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PROGRAM is None, reason=f"no chromium or chromium-browser on PATH, none named by {VARIABLE}"),
]

# Elements that reach beyond the window, unless something around them scrolls.
OVERFLOWING = """[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg *')
    && e.checkVisibility() && (e.getBoundingClientRect().right > document.documentElement.clientWidth + 1
        || e.getBoundingClientRect().left < -1)).map(e => e.outerHTML.slice(0, 80))"""
INVISIBLE = """[...document.querySelectorAll('h1, h2, h3, figure > svg, table')]
    .filter(e => !e.closest('details:not([open])') && !(e.checkVisibility() && e.getBoundingClientRect().height > 8
    && e.getBoundingClientRect().width > 8)).map(e => e.outerHTML.slice(0, 80))"""
SMALLEST_TEXT = """Math.min(...[...document.querySelectorAll('svg text')]
    .map(e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b))
    .filter(Number.isFinite))"""
# Contrast (WCAG 2) of the colour of texts and lines with the page behind them.
CONTRASTS = """(() => {
    const parse = c => c.match(/[\\d.]+/g).slice(0, 3).map(v => { v /= 255;
        return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    const light = c => { const [r, g, b] = parse(c); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
    const back = light(getComputedStyle(document.body).backgroundColor);
    const ratio = c => { const l = light(c); return (Math.max(l, back) + 0.05) / (Math.min(l, back) + 0.05); };
    const of = (selector, property) => [...document.querySelectorAll(selector)].map(
        e => ratio(getComputedStyle(e)[property]));
    return {text: Math.min(...of('p, li, th, td, caption, a, summary, h2', 'color')),
            picture: Math.min(...of('svg path[stroke^="var(--series"]', 'stroke'), ...of('svg text', 'fill'))};
})()"""

BACKGROUND = "'[' + getComputedStyle(document.body).backgroundColor.match(/\\d+/g) + ']'"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    assert PROGRAM is not None
    with open_browser(PROGRAM, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def quiet(browser: Browser) -> Iterator[Browser]:
    """The browser; afterwards it must have complained of nothing, and asked for the pages alone."""
    browser.complaints.clear()
    browser.requests.clear()
    yield browser
    assert browser.complaints == []
    assert [address for address in browser.requests if not address.endswith("report.html")] == []


def check_view(browser: Browser, width: int) -> None:
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert browser.evaluate(OVERFLOWING) == []
    assert browser.evaluate(INVISIBLE) == []


@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_is_whole_in_both_schemes(quiet: Browser, full: Path, width: int) -> None:
    page = full / "report.html"
    write_page(Run(full), page)
    brightness = {}
    for scheme in ("light", "dark"):
        quiet.show(page, width=width, scheme=scheme)
        check_view(quiet, width)
        quiet.evaluate("document.querySelectorAll('details').forEach(e => e.open = true)")
        check_view(quiet, width)
        assert quiet.evaluate("document.querySelectorAll('main > section').length") == 13
        assert quiet.evaluate(SMALLEST_TEXT) >= 10
        contrasts = quiet.evaluate(CONTRASTS)
        assert contrasts["text"] >= 4.5
        assert contrasts["picture"] >= 3
        brightness[scheme] = sum(json.loads(quiet.evaluate(BACKGROUND)))
    assert brightness["light"] > 600 > 150 > brightness["dark"]


def test_hostile_text_does_nothing(quiet: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = hostile_run(tmp_path / "run <script>'\"&", monkeypatch)
    write_page(Run(run), run / "report.html")
    for width in (360, 1280):
        quiet.show(run / "report.html", width=width, scheme="light")
        check_view(quiet, width)
    assert quiet.evaluate("document.querySelectorAll('script, img').length") == 0
    assert quiet.evaluate("document.querySelectorAll('style').length") == 1


def test_the_browser_would_tell(browser: Browser, tmp_path: Path) -> None:
    """What the tests above look for is seen where it is."""
    page = tmp_path / "report.html"
    wide = "<p style='width: 500px'>x</p><script>console.error('no')</script><img src='missing.png'>"
    page.write_text(f"<!doctype html><meta name=viewport content=width=device-width>{wide}", encoding="utf-8")
    browser.complaints.clear()
    browser.requests.clear()
    browser.show(page, width=360, scheme="light")
    assert browser.evaluate(OVERFLOWING) != []
    assert any("no" in complaint for complaint in browser.complaints)
    assert any("missing.png" in address for address in browser.requests)
