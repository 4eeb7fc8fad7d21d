"""The attention view: what it takes, and the piece of HTML it gives."""

import dataclasses
import json
import math
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from bs4 import BeautifulSoup

from s2s_lib import explorer
from s2s_lib.explorer import View, html, show
from s2s_lib.plots import ROLES

ROOT = Path(__file__).resolve().parents[2]
CSS = (ROOT / "s2s_lib" / "explorer.css").read_text("utf-8")
BOOK = (ROOT / "_static" / "book.css").read_text("utf-8")
SOURCE, TARGET = ("the", "cat", "<eos>"), ("le", "chat")
WEIGHTS = ((0.75, 0.25, 0.0), (0.12345, 0.87655, 0.0))


def view(**changes):
    """A good view, with some of its fields changed."""
    fields = dict(
        name="additive",
        source=SOURCE,
        target=TARGET,
        weights=WEIGHTS,
        links=frozenset({(0, 0), (1, 1)}),
        probabilities=[0.9, 0.5],
    )
    return View(**fields | changes)


def tables(text):
    """The tables as a browser finds them: end tags may be left out."""
    return BeautifulSoup(text, "lxml").find_all("table")


def rows(table):
    return [
        [cell.get_text().rstrip("\n") for cell in row.find_all(["th", "td"])]
        for row in table.find_all("tr")
    ]


def test_the_table_has_every_weight_every_link_and_every_probability():
    (table,) = tables(html([view()]))
    assert rows(table) == [
        ["target", "probability", "the", "cat", "<eos>"],
        ["le", "0.900", "0.750 ✓", "0.250", "0"],
        ["chat", "0.500", "0.123", "0.877 ✓", "0"],
    ]
    assert table.caption.get_text().startswith("additive. Rows: target")
    assert "✓ marks the gold links" in table.caption.get_text()
    assert {th["scope"] for th in table.thead.find_all("th")} == {"col"}
    assert [th["scope"] for th in table.tbody.find_all("th")] == ["row"] * 2


def test_without_links_and_probabilities_the_table_speaks_of_neither():
    (table,) = tables(html([view(links=(), probabilities=None)]))
    assert rows(table)[0] == ["target", *SOURCE]
    assert "✓" not in table.get_text()


def test_every_example_has_a_table_for_every_model():
    both = [view(), view(name="dot", target=("le",), weights=[[0.0, 0, 1]],
                         links=(), probabilities=None)]  # fmt: skip
    found = tables(html({"short": both, "long": both[:1]}))
    assert [(t["data-example"], t["data-view"]) for t in found] == [
        ("short", "additive"),
        ("short", "dot"),
        ("long", "additive"),
    ]
    assert "short: dot." in found[1].get_text()


NASTY = ("</script><script>alert(1)</script>", '"><img src=x>', "&lt;", "<b>")


def test_text_stays_text():
    text = html(
        {
            NASTY[1]: [
                view(
                    name=NASTY[0],
                    source=NASTY,
                    target=NASTY[:2],
                    weights=np.eye(2, 4),
                )
            ]
        },
        title=NASTY[0],
    )
    page = BeautifulSoup(text, "lxml")
    assert len(page.find_all("script")) == 1
    assert page.find_all(["img", "b"]) == []
    (table,) = page.find_all("table")
    assert rows(table)[0][2:] == list(NASTY)
    assert [row[0] for row in rows(table)[1:]] == list(NASTY[:2])
    assert table["data-view"] == NASTY[0]
    assert table["data-example"] == NASTY[1]
    assert page.find(class_="s2s-explorer")["aria-label"] == NASTY[0]
    assert page.find(class_="s2s-title").get_text() == NASTY[0]


def test_the_same_data_gives_the_same_text():
    links = [(1, 1), (0, 0)]
    same = [
        view(),
        view(links=links, weights=np.array(WEIGHTS)),
        view(links=links[::-1], weights=[list(row) for row in WEIGHTS]),
    ]
    assert len({html([one]) for one in same}) == 1
    assert same[0] == same[1] == same[2]
    assert html([view(weights=[[1, 0, 0], [0, 1, 0]])]) != html([view()])


def test_nothing_in_it_can_clash_or_load():
    text = html([view()])
    assert BeautifulSoup(text, "lxml").find_all(id=True) == []
    assert re.search(r"https?:|//[a-z]|url\(|@import|\bsrc=", text) is None
    # The tests replace a number after this sign; nothing may look like it.
    assert "≈" not in text


def test_a_view_survives_a_file_of_results():
    stored = json.loads(json.dumps(dataclasses.asdict(view())))
    assert View(**stored) == view()


def test_links_of_numpy_and_of_an_iterator_are_kept():
    kept = {(0, 0), (1, 0)}
    for links in (np.argwhere([[1], [1]]), zip([0, 1], [0, 0], strict=True)):
        view = explorer.View("a", ["x", "y"], ["z"], [[0.5, 0.5]], links)
        assert set(view.links) == kept
        assert json.loads(json.dumps(dataclasses.asdict(view)))["links"]
    with pytest.raises(TypeError, match="integer"):
        explorer.View("a", ["x"], ["z"], [[1.0]], np.array([[0.5, 0]]))


def test_rounding_over_one_is_forgiven():
    weights = np.array([[1 + 1e-6, -1e-7, 0], [0, 1, 0]])
    assert view(weights=weights).weights[0] == (1, 0, 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "the cat"}, "source is 'the cat'; expected a sequence"),
        ({"target": ()}, r"target is \(\); expected a sequence of one"),
        (
            {"weights": np.zeros((3, 2))},
            r"weights have shape \(3, 2\); expected \(2, 3\), \(target, sou",
        ),
        ({"weights": [[0.1, 0.2, 0.7], [1.0]]}, "weights are not numbers in"),
        (
            {"weights": [[0, 0, 1], [0, math.nan, 1]]},
            r"'additive': weights\[1, 1\] is nan; expected numbers from 0",
        ),
        ({"weights": [[0, 0, 1], [0, 1.01, 0]]}, r"\[1, 1\] is 1.01;"),
        ({"weights": [[0, 0, 1], [-0.01, 1, 0]]}, r"\[1, 0\] is -0.01;"),
        ({"links": [(3, 0)]}, r"link \(3, 0\) leads out of 3 source and 2"),
        ({"links": [(0, 2)]}, r"link \(0, 2\) leads out"),
        ({"links": [(-1, 0)]}, r"link \(-1, 0\) leads out"),
        ({"links": [(0, -1)]}, r"link \(0, -1\) leads out"),
        (
            {"probabilities": [0.5]},
            r"probabilities have shape \(1,\); expected \(2,\), \(target,\)",
        ),
        ({"probabilities": [0.5, 1.5]}, r"probabilities\[1\] is 1.5"),
    ],
)
def test_what_cannot_be_shown_is_named(changes, message):
    with pytest.raises(ValueError, match=message):
        view(**changes)


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ([], "^there are no views"),
        ({}, "^there are no views"),
        ({"short": []}, "example 'short': there are no views"),
        ([view(), view()], "each needs its own name"),
        (
            {"short": [view(), view(name="dot", source=("a", "b", "c"))]},
            "example 'short': views 'additive' and 'dot' have different",
        ),
    ],
)
def test_views_that_cannot_stand_together_are_named(views, message):
    with pytest.raises(ValueError, match=message):
        html(views)


def test_three_examples_of_two_models_are_small():
    words = tuple(f"word{i}" for i in range(10))
    weights = np.random.default_rng(0).dirichlet(np.ones(10), 10)
    pair = [
        View(name, words, words, weights, [(i, i) for i in range(10)])
        for name in ("additive", "dot")
    ]
    text = html(dict.fromkeys(("one", "two", "three"), pair))
    assert len(text.encode()) < 25_000
    # What one sentence adds to the fixed part.
    assert len(html([pair[0]]).encode()) < 18_000


def test_show_displays_html_and_a_plain_text(monkeypatch):
    calls = []
    fake = SimpleNamespace(
        display=lambda data, raw: calls.append((data, raw)),
    )
    monkeypatch.setitem(sys.modules, "IPython.display", fake)
    assert show([view()], title="Look") is None
    ((data, raw),) = calls
    assert raw is True
    assert data == {
        "text/html": html([view()], "Look"),
        "text/plain": "<Look>",
    }


def test_the_files_beside_the_module_are_installed():
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["s2s_lib"]
    folder = Path(explorer.__file__).parent
    shipped = {path.name for glob in patterns for path in folder.glob(glob)}
    assert {"explorer.css", "explorer.js"} <= shipped


def test_the_script_and_the_style_sheet_are_whole():
    """Lines that look like comments are left out; none may be code."""
    text = html([view()])
    for name in ("explorer.js", "explorer.css"):
        for line in (ROOT / "s2s_lib" / name).read_text("utf-8").splitlines():
            line = line.strip()
            if line.startswith("/* "):
                assert line.endswith("*/")
            elif not line.startswith("//"):
                assert line in text
        assert "</" not in (ROOT / "s2s_lib" / name).read_text("utf-8")


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


COLOURS = {
    name: pair
    for name, *pair in re.findall(
        r"--(\w+): light-dark\((#\w{6}), (#\w{6})\);", CSS
    )
}


@pytest.mark.parametrize(
    ("name", "role"),
    [("source", "encoder"), ("target", "decoder"), ("focus", "query")],
)
def test_the_colours_are_the_roles_of_the_book(name, role):
    light, dark = COLOURS[name]
    assert light == ROLES[role]
    assert re.findall(rf"--s2s-{role}: (#\w+);", BOOK) == [light, dark]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_can_be_read_in_both_themes(theme):
    shades = {name: pair[theme] for name, pair in COLOURS.items()}
    for name in ("ink", "muted", "source", "target"):
        assert contrast(shades[name], shades["paper"]) >= 4.5, name
    assert contrast(shades["ink"], shades["shade"]) >= 4.5
    # Bars on their ground and the focus ring are seen, not read: 3 to 1.
    assert contrast(shades["source"], shades["shade"]) >= 3
    assert contrast(shades["focus"], shades["paper"]) >= 3
