"""The attention view in Chromium: pointer, keyboard, finger, both themes."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path

import pytest
from nbformat import read
from playwright.sync_api import Page

from s2s_lib.explorer import View, html
from tests.site.look import (
    SIDEWAYS,
    THEMES,
    WIDTHS,
    accessibility_faults,
    opened,
    set_theme,
)
from tools.serve import server

ROOT = Path(__file__).resolve().parents[2]
CLASS = "s2s-explorer"
PLAIN = (
    "<!doctype html><html lang=en><head><meta charset=utf-8><title>x</title>"
    "<meta name=viewport content='width=device-width'></head>"
    "<body><main><h1>A page</h1>{}</main></body></html>"
)
SOURCE = ("the", "cat", "sees", "the", "dog", "<eos>")
TARGET = ("le", "chat", "voit", "le", "chien", "</script>")


def weights(top: float, rows: int = 6) -> list[list[float]]:
    """`top` on the diagonal, the rest spread evenly."""
    rest = (1 - top) / 5
    return [[top if i == j else rest for i in range(6)] for j in range(rows)]


def views() -> dict[str, list[View]]:
    """Two examples; in the first, two models of different lengths."""
    links = [(i, i) for i in range(6) if i != 3]
    probabilities = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
    additive = View(
        "additive", SOURCE, TARGET, weights(0.75), links, probabilities
    )
    dot = View("dot", SOURCE, TARGET[:4], weights(0.5, 4), links[:3])
    short = View("additive", ("a", "b"), ("x",), [[0.25, 0.75]])
    return {"first": [additive, dot], "second": [short]}


ONE = html(views())
# As sanitisers leave it: neither scripts nor styles.
STRIPPED = re.sub(r"<(script|style)>.*?</\1>", "", ONE, flags=re.S)
PAGES = {
    "one": ONE,
    "two": ONE + html(views(), "Another") + ONE,
    "stripped": STRIPPED,
    "frame": f'<iframe title="output" sandbox="allow-scripts" width="100%" '
    f'height="900" srcdoc="{escape(ONE)}"></iframe>',
    "later": "<div id=output></div>",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[str]:
    """The address of small pages that hold nothing but explorers."""
    folder = tmp_path_factory.mktemp("explorer")
    for name, body in PAGES.items():
        (folder / f"{name}.html").write_text(PLAIN.format(body), "utf-8")
    with server(folder) as http:
        thread = threading.Thread(target=http.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()
        thread.join()


@pytest.fixture
def page(browser, place) -> Iterator[Page]:
    """A page with one explorer, which must stay quiet."""
    with quiet(browser, place, "one.html") as seen:
        yield seen.page


@contextmanager
def quiet(browser, place, path, width="wide"):
    """Open a page; at the end, nothing was asked for and nothing failed."""
    with opened(browser, place, path, width) as seen:
        asked = []
        seen.page.on("request", lambda request: asked.append(request.url))
        yield seen
        # Not even to its own host: all came with the page.
        assert asked == []
        assert seen.requests == []
        assert seen.messages == []


def panel(page: Page, number: int = 0):
    return page.locator(".s2s-panel").nth(number)


def word(page: Page, step: int, number: int = 0):
    return panel(page, number).get_by_role("option").nth(step)


def shown(page: Page, number: int = 0) -> list[str]:
    """Give the weights that stand under the source words."""
    return panel(page, number).locator(".s2s-weight").all_text_contents()


def selected(page: Page) -> list[str]:
    return page.locator("[aria-selected=true] .s2s-word").all_text_contents()


def gold(page: Page, number: int = 0) -> list[str]:
    """Give the source words that are seen in a frame."""
    words = panel(page, number).locator(".s2s-source .s2s-gold")
    assert all(one.is_visible() for one in words.locator(".s2s-mark").all())
    return words.locator(".s2s-word").all_text_contents()


def row(step: int, top: str = "0.75", rest: str = "0.05") -> list[str]:
    return [top if i == step else rest for i in range(6)]


def test_it_shows_the_first_word_of_both_models(page):
    assert page.locator(".s2s-panel b").all_text_contents() == [
        "additive",
        "dot",
    ]
    assert selected(page) == ["le", "le"]
    assert shown(page, 0) == row(0)
    assert shown(page, 1) == row(0, "0.50", "0.10")
    words = panel(page).locator(".s2s-source .s2s-word").all_text_contents()
    assert tuple(words) == SOURCE
    words = panel(page).locator(".s2s-target .s2s-word").all_text_contents()
    assert tuple(words) == TARGET
    small = panel(page).locator("small").all_text_contents()
    assert small == ["0.90", "0.80", "0.70", "0.60", "0.50", "0.40"]
    assert panel(page, 1).locator("small").count() == 0


def test_a_bar_is_as_high_as_its_weight(page):
    page.emulate_media(reduced_motion="reduce")
    heights = panel(page).evaluate(
        """node => [...node.querySelectorAll(".s2s-track")].map(track =>
        track.firstChild.getBoundingClientRect().height / track.clientHeight)
        """
    )
    assert heights == pytest.approx([0.75, *[0.05] * 5], abs=0.02)


def test_pointing_looks_and_clicking_chooses(page):
    word(page, 2).hover()
    assert selected(page) == ["voit", "voit"]
    assert shown(page) == row(2)
    page.locator("h1").hover()
    assert selected(page) == ["le", "le"]
    word(page, 4).click()
    page.locator("h1").hover()
    assert selected(page) == ["chien"]
    assert shown(page) == row(4)
    # The words that are not written yet are told from those that are.
    later = panel(page).locator(".s2s-later .s2s-word").all_text_contents()
    assert later == ["</script>"]


PLACES = """() => JSON.stringify(
  [...document.querySelectorAll("[data-step], .s2s-source li")].map(
    node => node.getBoundingClientRect()))"""


def test_nothing_moves_under_the_pointer(page):
    page.set_viewport_size({"width": 800, "height": 900})
    places = set()
    for step in range(6):
        word(page, step).hover()
        places.add(page.evaluate(PLACES))
    assert len(places) == 1


def test_the_buttons_step_and_stop_at_the_ends(page):
    back = page.get_by_role("button", name="previous")
    on = page.get_by_role("button", name="next")
    count = page.locator(".s2s-count")
    back.click(force=True)
    assert count.text_content() == "1 of 6"
    assert back.get_attribute("aria-disabled") == "true"
    for step in range(1, 6):
        on.click()
        assert count.text_content() == f"{step + 1} of 6"
        assert shown(page) == row(step)
    assert on.get_attribute("aria-disabled") == "true"
    on.click(force=True)
    assert count.text_content() == "6 of 6"
    back.click()
    assert shown(page) == row(4)


def test_a_model_that_has_ended_says_so(page):
    word(page, 5).click()
    assert shown(page, 1) == ["–"] * 6
    status = panel(page, 1).get_by_role("status")
    assert status.text_content() == "dot has ended, after 4 words."


def test_the_keyboard_alone_is_enough(page):
    page.evaluate(
        """() => { window.turned = [];
        document.addEventListener("keydown", event => turned.push(event.key));
        }"""
    )
    focused = "() => document.activeElement.textContent"
    # Tab stops: example, previous, next, model, gold links, first list.
    for _ in range(6):
        page.keyboard.press("Tab")
    assert page.evaluate(focused) == "le0.90"
    ring = "() => getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(ring) == "solid"
    for key, step in (
        ("ArrowRight", 1),
        ("ArrowRight", 2),
        ("ArrowLeft", 1),
        ("End", 5),
        ("ArrowRight", 5),
        ("Home", 0),
        ("ArrowLeft", 0),
        ("ArrowRight", 1),
    ):
        page.keyboard.press(key)
        assert shown(page) == row(step), key
        assert page.evaluate(focused).startswith(TARGET[step])
    # One stop per list, and it is the word that is chosen.
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "chat"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert not page.get_by_role("checkbox").is_checked()
    # The page around would take the arrows for "turn the page".
    assert not {"ArrowLeft", "ArrowRight"} & set(page.evaluate("() => turned"))
    page.get_by_role("button", name="next").focus()
    page.keyboard.press("ArrowRight")
    assert shown(page) == row(2)
    page.keyboard.press("Enter")
    assert shown(page) == row(3)


def test_a_finger_is_enough(browser, place):
    context = browser.new_context(
        viewport={"width": WIDTHS["phone"], "height": 844}, has_touch=True
    )
    phone = context.new_page()
    phone.goto(place + "one.html")
    word(phone, 3).tap()
    assert shown(phone) == row(3)
    phone.get_by_role("button", name="next").tap()
    assert shown(phone) == row(4)
    phone.get_by_label("gold links").tap()
    assert gold(phone) == []
    targets = phone.locator(
        f".{CLASS} :is(button, select, label, [role=option])"
    )
    for target in targets.all():
        box = target.bounding_box()
        assert min(box["width"], box["height"]) >= 24, target
    assert phone.evaluate(SIDEWAYS) == []
    context.close()


def test_gold_links_come_and_go(page):
    assert gold(page) == ["the"]
    status = panel(page).get_by_role("status")
    assert "Gold: “the” (word 1)." in status.text_content()
    word(page, 3).click()
    assert gold(page) == []
    assert "Gold: no link." in status.text_content()
    word(page, 1).click()
    assert gold(page) == ["cat"]
    page.get_by_label("gold links").uncheck()
    assert gold(page) == []
    assert "Gold" not in status.text_content()
    page.get_by_label("gold links").check()
    assert gold(page) == ["cat"]


def test_models_and_examples_are_chosen(page):
    word(page, 2).click()
    page.get_by_label("model").select_option("dot")
    assert page.locator(".s2s-panel b").all_text_contents() == ["dot"]
    assert shown(page) == row(2, "0.50", "0.10")
    page.get_by_label("example").select_option("second")
    assert selected(page) == ["x"]
    assert shown(page) == ["0.25", "0.75"]
    assert page.locator(".s2s-count").text_content() == "1 of 1"
    assert page.get_by_label("model").count() == 0
    page.get_by_label("example").select_option("first")
    assert page.locator(".s2s-panel").count() == 2


def test_a_screen_reader_is_told_what_is_chosen(page):
    status = panel(page).get_by_role("status")
    word(page, 1).click()
    assert status.text_content() == (
        "Step 2, additive: target word “chat” with probability 0.80. Highest "
        "weights: “cat” 0.75, “the” (word 1) 0.05, “sees” 0.05. "
        "Gold: “cat”."
    )
    tree = page.locator(f".{CLASS}").aria_snapshot()
    for expected in (
        'group "Attention, word by word"',
        'listbox "additive: target words"',
        'list "dot: source words and weights"',
        'option "chat 0.80" [selected]',
        'checkbox "gold links ✓" [checked]',
    ):
        assert expected in tree, tree


def test_the_tables_are_behind_it(page):
    table = page.get_by_role("table")
    assert table.count() == 0
    page.get_by_text("All weights as a table").click()
    assert table.count() == 2
    first = table.first.get_by_role("row").nth(1)
    assert first.get_by_role("rowheader").text_content() == "le"
    cells = first.get_by_role("cell").all_text_contents()
    assert [cell.strip() for cell in cells][:3] == [
        "0.900",
        "0.750 ✓",
        "0.050",
    ]
    page.get_by_label("example").select_option("second")
    assert table.count() == 1


@pytest.mark.parametrize(
    ("width", "theme"), [("wide", "light"), ("phone", "dark")]
)
def test_it_can_be_read_in_both_themes(browser, place, width, theme):
    with quiet(browser, place, "one.html", width) as seen:
        page = seen.page
        set_theme(page, theme)
        word(page, 2).click()
        page.get_by_text("All weights as a table").click()
        assert page.evaluate(SIDEWAYS) == []
        assert accessibility_faults(page) == []
        paper = page.locator(f".{CLASS}").evaluate(
            "node => getComputedStyle(node).backgroundColor"
        )
        expected = {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 30)"}
        assert paper == expected[theme]


def test_without_a_theme_it_follows_the_system(browser, place):
    with quiet(browser, place, "one.html") as seen:
        root = seen.page.locator(f".{CLASS}")
        paper = "node => getComputedStyle(node).backgroundColor"
        light = root.evaluate(paper)
        seen.page.emulate_media(color_scheme="dark")
        assert root.evaluate(paper) != light
        # Colab and Jupyter each have their own way to be light.
        for where, name, value in (
            ("documentElement", "theme", "light"),
            ("body", "data-jp-theme-light", "true"),
        ):
            seen.page.evaluate(
                f"() => document.{where}.setAttribute('{name}', '{value}')"
            )
            assert root.evaluate(paper) == light
            seen.page.evaluate(
                f"() => document.{where}.removeAttribute('{name}')"
            )
            assert root.evaluate(paper) != light


def test_bars_move_only_for_those_who_like_it(page):
    # The style that all tests share stills every transition; not here.
    page.evaluate(
        "() => document.head.querySelectorAll('style')"
        ".forEach(style => style.remove())"
    )
    bar = page.locator(".s2s-bar").first
    duration = "node => getComputedStyle(node).transitionDuration"
    page.emulate_media(reduced_motion="no-preference")
    assert bar.evaluate(duration) == "0.18s"
    page.emulate_media(reduced_motion="reduce")
    assert bar.evaluate(duration) == "0s"


def test_explorers_on_one_page_do_not_clash(browser, place):
    with quiet(browser, place, "two.html") as seen:
        roots = seen.page.locator(f".{CLASS}")
        assert roots.count() == 3
        for root in roots.all():
            assert root.locator(".s2s-controls").count() == 1
        roots.nth(1).get_by_role("button", name="next").click()
        roots.nth(2).get_by_label("gold links").uncheck()
        counts = [r.locator(".s2s-count").text_content() for r in roots.all()]
        assert counts == ["1 of 6", "2 of 6", "1 of 6"]
        checked = [r.get_by_role("checkbox").is_checked() for r in roots.all()]
        assert checked == [True, True, False]
        assert seen.page.evaluate(
            "() => document.querySelectorAll('[id]').length"
        ) == 0  # fmt: skip


def test_without_scripts_the_tables_are_read(browser, place):
    with quiet(browser, place, "stripped.html", "wide") as seen:
        assert seen.page.get_by_role("table").count() == 3
        assert seen.page.get_by_text("0.750 ✓").first.is_visible()
        assert seen.page.get_by_role("button").count() == 0
        assert accessibility_faults(seen.page) == []


def test_in_a_frame_as_on_colab(browser, place):
    with opened(browser, place, "frame.html") as seen:
        frame = seen.page.frame_locator("iframe")
        frame.locator("[data-step]").nth(1).click()
        weights = frame.locator(".s2s-panel").first.locator(".s2s-weight")
        assert weights.all_text_contents() == row(1)
        assert (seen.requests, seen.messages) == ([], [])


def test_put_in_later_as_in_jupyter(browser, place):
    """Jupyter writes the output, then puts each script in once more."""
    with quiet(browser, place, "later.html") as seen:
        seen.page.evaluate(
            """text => {
              const place = document.querySelector("#output");
              for (let i = 0; i < 2; i++) {
                place.insertAdjacentHTML("beforeend", text);
                const old = [...place.querySelectorAll("script")].at(-1);
                const script = document.createElement("script");
                script.textContent = old.textContent;
                old.replaceWith(script);
              }
            }""",
            ONE,
        )
        assert seen.page.locator(".s2s-controls").count() == 2
        word(seen.page, 1).click()
        assert shown(seen.page) == row(1)


def chapters() -> list[str]:
    """Give the chapters whose stored outputs hold an explorer."""
    return [
        path.stem
        for path in sorted((ROOT / "chapters").glob("*.ipynb"))
        for cell in read(path, as_version=4).cells
        if any(
            CLASS in str(output.get("data", {}).get("text/html", ""))
            for output in cell.get("outputs", [])
        )
    ]


@pytest.mark.parametrize("chapter", dict.fromkeys(chapters()))
def test_it_works_in_the_page_of_a_chapter(browser, address, site, chapter):
    path = f"chapters/{chapter}.html"
    with opened(browser, address, path) as seen:
        page = seen.page
        sizes = page.locator(f".{CLASS}").evaluate_all(
            "nodes => nodes.map(node => node.outerHTML.length)"
        )
        assert 0 < sum(sizes) < 300_000
        for number in range(len(sizes)):
            root = page.locator(f".{CLASS}").nth(number)
            step = root.locator(".s2s-count")
            before = step.text_content()
            root.locator("[data-step]").first.focus()
            page.keyboard.press("ArrowRight")
            assert step.text_content() != before
            assert page.url.endswith(path)
            root.locator("[data-step]").nth(2).hover()
            assert step.text_content().startswith("3 of")
        papers = set()
        for theme in THEMES:
            set_theme(page, theme)
            papers.add(
                root.evaluate("node => getComputedStyle(node).backgroundColor")
            )
        assert len(papers) == 2
        assert (seen.requests, seen.failures, seen.messages) == ([], [], [])
