"""The library's own code, shown on a page.

A chapter builds a piece by hand and then shows the library's version. It is
read from the file at run time, and the test of the chapter compares it, so
the page and the library cannot drift apart.
"""

import ast
import inspect
import textwrap
from collections.abc import Callable

from IPython.display import Markdown


def show_source(thing: type | Callable, docstring: bool = False) -> Markdown:
    """The source of a class or function, as a highlighted listing.

    Args:
        thing: what to show.
        docstring: with its docstrings; without them the listing is shorter.

    Raises:
        TypeError: if Python cannot find its source.
    """
    try:
        source = textwrap.dedent(inspect.getsource(thing))
    except (OSError, TypeError) as error:
        raise TypeError(f"there is no source to show of {thing!r}") from error
    lines = source.splitlines()
    if not docstring:
        for node in ast.walk(ast.parse(source)):
            if _has_docstring(node):
                text = node.body[0]
                for i in range(text.lineno - 1, text.end_lineno):
                    lines[i] = None
                # The blank line that follows a docstring goes with it.
                after = text.end_lineno
                if after < len(lines) and lines[after] == "":
                    lines[after] = None
    kept = "\n".join(line for line in lines if line is not None)
    return Markdown(f"```python\n{kept}\n```")


def _has_docstring(node: ast.AST) -> bool:
    owners = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    if not isinstance(node, owners) or ast.get_docstring(node) is None:
        return False
    return len(node.body) > 1
