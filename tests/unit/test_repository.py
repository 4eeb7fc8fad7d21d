"""The address of the repository: one command writes it everywhere."""

import shutil
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.notebooks import normalise
from tools.repository import check, current_url, write
from tools.setup_cell import address_in, is_setup_cell, setup_cell

ROOT = Path(__file__).resolve().parents[2]
URL = "https://github.com/reader/book"


@pytest.fixture
def book(tmp_path):
    """A book of two chapters, with no address."""
    shutil.copy(ROOT / "_config.yml", tmp_path)
    (tmp_path / "chapters").mkdir()
    for name in ("01_a", "02_b"):
        nb = new_notebook(
            cells=[
                new_markdown_cell("# Title"),
                new_code_cell(setup_cell(), execution_count=1),
                new_code_cell("x = 1", execution_count=2),
            ]
        )
        path = tmp_path / "chapters" / f"{name}.ipynb"
        nbformat.write(normalise(nb), path)
    write("", tmp_path)
    return tmp_path


def addresses(book):
    return [
        address_in(nbformat.read(path, as_version=4).cells[1].source)
        for path in sorted((book / "chapters").glob("*.ipynb"))
    ]


def test_the_address_is_written_to_the_buttons_and_to_every_cell(book):
    assert len(write(URL, book)) == 3
    assert current_url(book) == URL
    assert addresses(book) == [URL, URL]
    config = yaml.safe_load((book / "_config.yml").read_text("utf-8"))
    assert config["repository"] == {
        "url": URL,
        "path_to_book": "",
        "branch": "main",
    }
    colab = config["launch_buttons"]["colab_url"]
    assert colab == "https://colab.research.google.com"


def test_a_second_run_changes_nothing(book):
    write(URL, book)
    assert write(URL, book) == []


def test_an_empty_address_restores_every_byte(book):
    files = [book / "_config.yml", *sorted((book / "chapters").iterdir())]
    before = [file.read_bytes() for file in files]
    write(URL, book)
    assert [file.read_bytes() for file in files] != before
    write("", book)
    assert [file.read_bytes() for file in files] == before
    assert current_url(book) == ""


def test_unset_there_is_no_button():
    config = yaml.safe_load((ROOT / "_config.yml").read_text("utf-8"))
    url = current_url()
    assert ("repository" in config) == bool(url)
    assert ("colab_url" in config["launch_buttons"]) == bool(url)


@pytest.mark.parametrize(
    "url", [URL, URL + "/", URL + ".git", f" {URL}\n", ""]
)
def test_good_addresses(url):
    assert check(url) in (URL, "")


@pytest.mark.parametrize(
    "url",
    [
        "github.com/reader/book",
        "http://github.com/reader/book",
        "https://github.com/reader",
        "https://github.com/reader/book/tree/main",
        'https://github.com/reader/"; rm',
        "https://example.org/reader/book",
    ],
)
def test_other_addresses_are_refused(url):
    with pytest.raises(ValueError, match="is not the address"):
        check(url)


def run_setup(monkeypatch, url, modules, installs=True, there=False):
    """Run the setup cell as Python, recording what would be installed.

    Args:
        modules: what is imported, which tells Colab from elsewhere.
        installs: whether an install brings the library.
        there: whether the library is there before.
    """
    installed = []
    lines = setup_cell(url).replace(
        '%pip install --quiet "s2s_lib @ git+{REPOSITORY}"',
        "install(REPOSITORY)",
    )
    assert "%" not in lines
    for module in modules:
        monkeypatch.setitem(sys.modules, module, object())
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: there or (installed and installs) or None,
    )
    exec(lines, {"install": installed.append})
    return installed


def test_the_setup_cell_does_nothing_elsewhere(monkeypatch, capsys):
    assert run_setup(monkeypatch, URL, []) == []
    assert capsys.readouterr() == ("", "")


def test_the_setup_cell_installs_on_colab(monkeypatch):
    assert run_setup(monkeypatch, URL, ["google.colab"]) == [URL]


def test_the_setup_cell_installs_once(monkeypatch):
    assert run_setup(monkeypatch, "", ["google.colab"], there=True) == []


def test_the_setup_cell_says_that_there_is_no_address(monkeypatch):
    with pytest.raises(RuntimeError, match="write it above"):
        run_setup(monkeypatch, "", ["google.colab"])


def test_the_setup_cell_says_that_the_install_failed(monkeypatch):
    with pytest.raises(RuntimeError, match="the install failed"):
        run_setup(monkeypatch, URL, ["google.colab"], installs=False)


def test_a_changed_setup_cell_is_recognised():
    assert is_setup_cell(setup_cell(URL))
    assert not is_setup_cell(setup_cell(URL) + "\nimport os")
    assert not is_setup_cell("x = 1")
