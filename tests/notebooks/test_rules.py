"""Every rule of hygiene is handed a notebook that breaks it, and objects."""

from copy import deepcopy

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import (
    new_code_cell,
    new_markdown_cell,
    new_notebook,
    new_output,
)

from tools.asserts import can_fail
from tools.hygiene import GLUED, RULES, faults
from tools.notebooks import normalise
from tools.setup_cell import setup_cell

EXERCISE = """\
:::{exercise}
:label: ex-one
Write it.
:::

:::{dropdown} Hint
Think.
:::"""
PICTURE = {
    "mystnb": {
        "image": {"alt": "BLEU falls from 40 to 10 with length"},
        "figure": {"name": "fig-fall", "caption": "BLEU falls with length."},
    }
}


def stream(text: str, name: str = "stdout") -> NotebookNode:
    return new_output("stream", name=name, text=text)


def good() -> NotebookNode:
    """A small notebook that keeps every rule."""
    image = new_output(
        "display_data", {"image/png": "AA==", "text/plain": "<Figure>"}
    )
    nb = new_notebook(
        cells=[
            new_markdown_cell("# Title"),
            new_code_cell(setup_cell(), execution_count=1),
            new_code_cell(
                'loss = 1.5\nassert loss < 2\nprint(f"≈ {loss:.1f}")',
                execution_count=2,
                outputs=[stream("≈ 1.5\n")],
            ),
            new_code_cell(
                "plt.show()",
                execution_count=3,
                metadata=PICTURE,
                outputs=[image],
            ),
            new_markdown_cell(EXERCISE),
            new_markdown_cell(
                ":::{solution-start} ex-one\n:class: dropdown\n:::"
            ),
            new_code_cell("one = 1", execution_count=4),
            new_markdown_cell(":::{solution-end}\n:::"),
        ]
    )
    return normalise(nb)


def test_the_good_notebook_keeps_every_rule():
    assert faults(good()) == []


def source(number, text):
    def spoil(nb):
        nb.cells[number].source = text

    return spoil


def more(number, text):
    def spoil(nb):
        nb.cells[number].source += text

    return spoil


def count(number, value):
    def spoil(nb):
        nb.cells[number].execution_count = value

    return spoil


def outputs(number, *values):
    def spoil(nb):
        nb.cells[number].outputs = list(values)

    return spoil


def tag(number, name):
    def spoil(nb):
        nb.cells[number].metadata["tags"] = [name]

    return spoil


def mystnb(part, key, value):
    def spoil(nb):
        meta = deepcopy(PICTURE)
        meta["mystnb"][part][key] = value
        nb.cells[3].metadata = nbformat.from_dict(meta)

    return spoil


def stripped(nb):
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs = []


def many_ignored(nb):
    for number in (1, 2, 3):
        nb.cells[number].metadata["tags"] = ["nbval-ignore-output"]
        nb.cells[number].source += "\n# timings differ between runs"


ERROR = new_output("error", ename="ValueError", evalue="bad", traceback=[])
GLUE = new_output("display_data", {GLUED: "1.5000000000000002"})
MARGIN = 'print(f"≈ {loss:.1f}")'
BAD = {
    "no code": (lambda nb: nb.cells.__delitem__(slice(1, None)), "no code"),
    "not executed": (count(2, None), "not executed once"),
    "out of order": (count(2, 7), "not executed once"),
    "stripped": (stripped, "outputs were stripped"),
    "one stripped": (
        lambda nb: (source(2, "print(1)")(nb), outputs(2)(nb)),
        "its output was stripped",
    ),
    "empty cell": (source(6, ""), "cell 6 is empty"),
    "stderr": (outputs(6, stream("warn", "stderr")), "stderr"),
    "error": (outputs(6, ERROR), "raised ValueError"),
    "no error": (tag(6, "raises-exception"), "raises nothing"),
    "path shown": (outputs(6, stream("/home/me/x.py")), "machine's path"),
    "kernel's path": (outputs(6, stream("ipykernel_12/3.py")), "path"),
    "path in prose": (source(0, "# T\n\nin /root/book"), "machine's path"),
    "alt missing": (mystnb("image", "alt", ""), "alt text"),
    "alt is a file": (mystnb("image", "alt", "a b c d e.png"), "alt text"),
    "figure name": (mystnb("figure", "name", "fall"), "name"),
    "caption": (mystnb("figure", "caption", "BLEU"), "caption"),
    "no assert": (source(2, MARGIN), "without an assert"),
    "no assert, text only": (source(2, "show()"), "without an assert"),
    "bare float": (outputs(6, GLUE), "glues a bare"),
    "assert True": (more(6, "\nassert True"), "cannot fail"),
    "skip tag": (tag(6, "nbval-skip"), "skipped"),
    "skip comment": (more(6, "\n# NBVAL_SKIP"), "skipped"),
    "ignored": (tag(6, "nbval-ignore-output"), "without a comment"),
    "ignored in a comment": (more(6, "\n# NBVAL_IGNORE_OUTPUT"), "without a"),
    "too many ignored": (many_ignored, "at most"),
    "long line": (source(6, f"x = '{'a' * 80}'"), "a line of"),
    "long cell": (source(6, "x = 1\n" * 31), "has 31 lines"),
    "semicolon": (source(6, "x = 1;"), "semicolon"),
    "unfinished": (source(0, "# T\n\nTODO: write"), "unfinished"),
    "no title": (source(0, "Title"), "# TITLE"),
    "other setup cell": (more(1, "\nimport os"), "not the setup cell"),
    "no hint": (
        lambda nb: source(4, EXERCISE.split("\n\n")[0])(nb),
        "0 hints",
    ),
    "no label": (
        lambda nb: source(4, EXERCISE.replace(":label: ex-one\n", ""))(nb),
        "0 labels",
    ),
    "no solution": (lambda nb: nb.cells.pop(5), "have solutions []"),
    "open solution": (
        source(5, ":::{solution-start} ex-one\n:::"),
        "':class: dropdown'",
    ),
    "solution without code": (
        lambda nb: nb.cells.pop(6),
        "runs no code",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_broken_rule_is_named(name):
    spoil, expected = BAD[name]
    nb = good()
    spoil(nb)
    assert any(expected in fault for fault in faults(nb)), faults(nb)


def test_every_rule_is_broken_once():
    broken = set()
    for spoil, _ in BAD.values():
        nb = good()
        spoil(nb)
        broken |= {rule.__name__ for rule in RULES if list(rule(nb))}
    assert broken == {rule.__name__ for rule in RULES}


VACUOUS = [
    "assert True",
    "assert 1",
    "assert 1 < 2",
    "assert 'text'",
    "assert (x > 1, 'message')",
    "assert [x]",
    "assert x == x",
    "assert x.mean() <= x.mean()",
    "assert x > 1 or True",
    "assert not False",
    "assert f'{x}'",
    "assert (y for y in x)",
    "assert bool(1)",
]
REAL = [
    "assert x > 1",
    "assert x > 1, 'message'",
    "assert 1 < x < 2",
    "assert torch.equal(a, b)",
    "assert x == y",
    "assert x > 1 and True",
    "assert all(y > 1 for y in x)",
    "for y in x:\n    assert y > 1",
    "def f(y):\n    assert y\nf(x)",
    "%matplotlib inline\nassert x > 1",
    "assert x > 1\ndef f():\n    assert x > 1",
    "class A:\n    def f(self):\n        assert self.x\nA().f()",
    "x = (\n    a\n    % b\n)\nassert x > 1",
]
UNREACHED = [
    "def f(y):\n    assert y > 1",
    "def f(y):\n    assert y > 1\nbox.f",
    "def f(y):\n    assert y > 1\nbox.f(2)",
    "class A:\n    def f(self):\n        assert self.x\nf(A())",
    "if False:\n    assert x > 1",
]


@pytest.mark.parametrize("text", VACUOUS)
def test_an_assert_that_cannot_fail_is_found(text):
    assert list(can_fail(new_code_cell(text)).values()) == [False]


@pytest.mark.parametrize("text", REAL)
def test_an_assert_that_can_fail_is_left_alone(text):
    assert list(can_fail(new_code_cell(text)).values()) == [True]


@pytest.mark.parametrize("text", UNREACHED)
def test_an_assert_that_does_not_run_does_not_count(text):
    assert not any(can_fail(new_code_cell(text)).values())
