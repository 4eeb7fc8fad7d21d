"""The stored chapters keep the rules, and agree with one another."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml

from tools.hygiene import IGNORES, faults
from tools.notebooks import chapters, normalise
from tools.repository import current_url
from tools.setup_cell import setup_cell

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = chapters()
NAMED = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
MAX_TAGGED_IN_BOOK, MAX_IGNORED_IN_BOOK = 2, 3  # by a tag; by a comment too
# A number that a chapter repeats from another: the sentence that has it, and
# the printed line that it comes from.
REPEATED = [
    (
        "03",
        "The dictionary of Chapter 1 has 27.2 on",
        "01",
        "Model 1 BLEU = 27.22",
    ),
    ("05", "and has 27.2 over all lengths", "01", "Model 1 BLEU = 27.22"),
    (
        "03",
        "With 4.15 it does a little better than this network",
        "02",
        "right 4.15",
    ),
    (
        "15",
        "Its English side has 167 words",
        "01",
        "tokens of 167 types; the rarest occurs 128 times",
    ),
    ("09", "its AER is 0.035", "01", "nearest copy: AER = 0.035"),
]


@NAMED
def test_a_chapter_keeps_every_rule(path):
    assert faults(nbformat.read(path, as_version=4)) == []


@NAMED
def test_a_chapter_was_written_by_the_tool(path):
    text = path.read_text(encoding="utf-8")
    nb = normalise(nbformat.reads(text, as_version=4))
    assert nbformat.writes(nb).strip() == text.strip()


@NAMED
def test_the_setup_cell_has_the_address_of_the_book(path):
    nb = nbformat.read(path, as_version=4)
    first = next(cell for cell in nb.cells if cell.cell_type == "code")
    assert first.source == setup_cell(current_url())


@NAMED
def test_a_glued_name_is_glued_once_and_used(path):
    nb = nbformat.read(path, as_version=4)
    glued = [
        output.metadata["scrapbook"]["name"]
        for cell in nb.cells
        for output in cell.get("outputs", [])
        if "scrapbook" in output.get("metadata", {})
    ]
    prose = "\n".join(c.source for c in nb.cells if c.cell_type == "markdown")
    assert len(glued) == len(set(glued))
    unused = [name for name in glued if f"`{name}" not in prose]
    assert unused == []


def test_the_contents_list_every_chapter_in_order():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    listed = [
        chapter["file"]
        for part in toc["parts"]
        for chapter in part["chapters"]
        if chapter["file"].startswith("chapters/")
    ]
    assert listed == [f"chapters/{path.stem}" for path in CHAPTERS]


@NAMED
def test_the_first_page_links_every_chapter_by_its_title(path):
    title = nbformat.read(path, as_version=4).cells[0].source
    title = title.splitlines()[0].removeprefix("# ")
    intro = (ROOT / "intro.md").read_text(encoding="utf-8")
    assert f"[{title}](chapters/{path.stem})" in intro


def test_labels_of_figures_and_exercises_are_unique_in_the_book():
    names: list[str] = []
    for path in CHAPTERS:
        for cell in nbformat.read(path, as_version=4).cells:
            figure = cell.metadata.get("mystnb", {}).get("figure", {})
            names += [figure["name"]] if figure else []
            names += re.findall(r"^:label: (\S+)", cell.source, re.M)
    assert sorted(names) == sorted(set(names))


def test_few_cells_of_the_book_are_not_compared():
    cells = [
        cell
        for path in CHAPTERS
        for cell in nbformat.read(path, as_version=4).cells
    ]
    tagged = [
        "nbval-ignore-output" in cell.metadata.get("tags", [])
        for cell in cells
    ]
    assert sum(tagged) <= MAX_TAGGED_IN_BOOK
    said = [bool(IGNORES.search(cell.source)) for cell in cells]
    ignored = sum(map(max, tagged, said))
    assert 0 < ignored <= MAX_IGNORED_IN_BOOK


def _spaced(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize(
    "chapter, sentence, origin, line",
    REPEATED,
    ids=[f"{row[0]} {row[1]}" for row in REPEATED],
)
def test_a_number_repeated_from_another_chapter_is_its_number(
    chapter, sentence, origin, line
):
    cells = {
        path.stem[:2]: nbformat.read(path, as_version=4).cells
        for path in CHAPTERS
    }
    prose = [
        _spaced(cell.source)
        for cell in cells[chapter]
        if cell.cell_type == "markdown"
    ]
    assert sum(sentence in text for text in prose) == 1
    printed = [
        _spaced(output.get("text", ""))
        for cell in cells[origin]
        for output in cell.get("outputs", [])
    ]
    assert any(line in text for text in printed)
