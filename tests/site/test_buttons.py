"""The Colab button: absent until there is an address, then the right one."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.site.build import build
from tests.site.links import parse
from tools.notebooks import normalise
from tools.repository import current_url, write
from tools.setup_cell import setup_cell

ROOT = Path(__file__).resolve().parents[2]
URL = "https://github.com/reader/book"
COLAB = "https://colab.research.google.com/github/"


def colab_links(page: Path) -> list[str]:
    links = parse(page).xpath("//a/@href")
    return [link for link in links if "colab.research" in link]


@pytest.mark.parametrize("url", ["", URL])
def test_the_button_opens_this_chapter(tmp_path, url):
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "references.bib").touch()
    (tmp_path / "_vendor").mkdir()
    (tmp_path / "_toc.yml").write_text(
        "format: jb-book\nroot: chapters/01_a\n"
    )
    (tmp_path / "chapters").mkdir()
    cells = [new_markdown_cell("# Title"), new_code_cell(setup_cell())]
    nb = normalise(new_notebook(cells=cells))
    nbformat.write(nb, tmp_path / "chapters" / "01_a.ipynb")
    write(url, tmp_path)
    site = build(tmp_path / "out", tmp_path)
    expected = [f"{COLAB}reader/book/blob/main/chapters/01_a.ipynb"]
    assert colab_links(site / "chapters" / "01_a.html") == expected * bool(url)


def test_the_pages_have_the_button_that_the_address_says(site):
    for page in (site / "chapters").glob("*.html"):
        links = colab_links(page)
        assert len(links) == bool(current_url())
