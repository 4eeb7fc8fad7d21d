"""Every page in Chromium: wide and phone, light and dark, no network."""

from pathlib import Path

import pytest
import yaml

from tests.site.look import (
    CLOSED,
    FAILED_FONTS,
    SIDEWAYS,
    THEMES,
    UNTYPESET,
    WIDTHS,
    accessibility_faults,
    opened,
    set_theme,
)

ROOT = Path(__file__).resolve().parents[2]


def pages() -> list[str]:
    """Give the pages of the table of contents, the root first."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [
        chapter["file"] for p in toc["parts"] for chapter in p["chapters"]
    ]
    return [f"{name}.html" for name in [toc["root"], *files]]


@pytest.mark.parametrize("path", pages())
def test_a_page_is_whole(browser, address, path):
    with opened(browser, address, path) as seen:
        page = seen.page
        assert page.evaluate(UNTYPESET) == []
        faults = []
        for width, theme in (("wide", "light"), ("phone", "dark")):
            page.set_viewport_size({"width": WIDTHS[width], "height": 900})
            set_theme(page, theme)
            # The theme waits 300 ms before it lets code blocks be scrolled
            # with the keyboard at the new width.
            page.wait_for_timeout(400)
            found = page.evaluate(SIDEWAYS) + accessibility_faults(page)
            faults += [f"{width}, {theme}: {fault}" for fault in found]
        assert faults == []
        assert page.evaluate(FAILED_FONTS) == []
        assert page.evaluate(CLOSED) == [], "dropdowns that stay closed"
        assert seen.requests == []
        assert seen.failures == []
        assert seen.messages == []


def test_mathematics_is_typeset(browser, address):
    with opened(browser, address, "notation.html") as seen:
        assert seen.page.locator("mjx-container").count() > 20


def test_search_finds_a_word(browser, address):
    with opened(browser, address, "search.html?q=perplexity") as seen:
        result = seen.page.locator("ul.search li a", has_text="Glossary")
        result.first.wait_for(timeout=10_000)
        assert seen.requests == []


def test_the_reader_can_choose_the_theme(browser, address):
    with opened(browser, address, "intro.html") as seen:
        colours = set()
        for theme in THEMES:
            set_theme(seen.page, theme)
            colours.add(
                seen.page.evaluate(
                    "() => getComputedStyle(document.body).backgroundColor"
                )
            )
        assert len(colours) == 2
        assert seen.page.locator(".theme-switch-button").count() > 0


LISTING = '<div class="highlight"><pre><span class="k">if</span>{}</pre></div>'
PALE = LISTING.format('<span class="c" style="color:#ccc"># pale</span>')
BROKEN = {
    "sideways": '<article><div style="width:900px">wide</div></article>',
    "untypeset": r"<article><p>\(\alpha\)</p></article>",
    "image": '<article><img src="https://example.org/a.png"></article>',
    "contrast": '<p style="color:#ccc;background:#fff">pale</p>',
    "listing": f"<article>{LISTING.format('') * 2}{PALE}</article>",
    "closed": "<article><details><summary>x</summary></details></article>",
    "script": "<script>throw new Error('broken')</script>",
    "missing": '<article><img src="gone.png" alt="gone"></article>',
}


def test_each_fault_would_be_seen(browser, address, site):
    """The checks above object to pages that deserve it."""
    found = {}
    for name, body in BROKEN.items():
        page = site / f"broken-{name}.html"
        page.write_text(
            "<!doctype html><html lang=en><title>x</title>"
            f"<meta name=viewport content='width=device-width'>{body}"
        )
        with opened(browser, address, page.name, "phone") as seen:
            found[name] = {
                "sideways": lambda page: page.evaluate(SIDEWAYS),
                "untypeset": lambda page: page.evaluate(UNTYPESET),
                "contrast": accessibility_faults,
                "listing": accessibility_faults,
                "closed": lambda page: page.evaluate(CLOSED),
                "image": lambda _: seen.requests,
                "script": lambda _: seen.messages,
                "missing": lambda _: seen.failures,
            }[name](seen.page)
        page.unlink()
    assert all(found.values()), found
