"""The page shows the code that runs."""

import ast
import inspect

import pytest

from s2s_lib import batches, listing, metrics, recurrent, search, vocab
from s2s_lib.listing import show_source


def code_of(markdown):
    lines = markdown.data.splitlines()
    assert lines[0] == "```python"
    assert lines[-1] == "```"
    return "\n".join(lines[1:-1])


class Example:
    """A class.

    With two paragraphs.
    """

    def method(self):
        """One line."""
        self.text = """not a docstring"""

        return self.text

    def only_a_docstring(self):
        """Stays, or nothing would be left."""


def test_docstrings_go_and_the_code_stays():
    assert code_of(show_source(Example)) == (
        "class Example:\n"
        "    def method(self):\n"
        '        self.text = """not a docstring"""\n'
        "\n"
        "        return self.text\n"
        "\n"
        "    def only_a_docstring(self):\n"
        '        """Stays, or nothing would be left."""'
    )


def test_on_request_they_stay():
    shown = code_of(show_source(Example, docstring=True))
    assert shown == inspect.getsource(Example).rstrip("\n")


def test_a_method_is_shown_at_the_margin():
    shown = code_of(show_source(Example.method))
    assert shown.startswith("def method(self):\n    self.text")


def public(module):
    return [
        thing
        for name, thing in vars(module).items()
        if inspect.isclass(thing) or inspect.isfunction(thing)
        if not name.startswith("_") and thing.__module__ == module.__name__
    ]


def bare(tree):
    """The tree without its docstrings."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and len(body) > 1:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(
                first.value, ast.Constant
            ):
                del body[0]
    return ast.dump(tree)


@pytest.mark.parametrize(
    "thing",
    [
        thing
        for module in (vocab, batches, recurrent, search, metrics, listing)
        for thing in public(module)
    ],
    ids=lambda thing: thing.__qualname__,
)
def test_what_is_shown_of_the_library_is_the_library(thing):
    source = inspect.getsource(thing)
    shown = code_of(show_source(thing))
    assert bare(ast.parse(shown)) == bare(ast.parse(source))
    assert len(shown) <= len(source)


def test_what_has_no_source_is_named():
    for thing in (len, int):
        with pytest.raises(TypeError, match="no source"):
            show_source(thing)
