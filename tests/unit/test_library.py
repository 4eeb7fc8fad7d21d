"""The map of the library in its first docstring is true."""

import ast
import re
from pathlib import Path

import pytest

import s2s_lib

FOLDER = Path(s2s_lib.__file__).parent
MAP = re.findall(r"`(\w+)`", s2s_lib.__doc__)
FILES = {
    path.stem: ast.parse(path.read_text(encoding="utf-8"))
    for path in FOLDER.glob("*.py")
    if not path.stem.startswith("__")
}


def used_by(tree: ast.Module) -> set[str]:
    """The modules of the library that a module imports, at any place."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "relative imports are not looked into"
            names += [node.module]
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    inside = [name.split(".") for name in names if name.startswith("s2s_lib.")]
    return {parts[1] for parts in inside}


def test_every_module_is_on_the_map_once():
    assert sorted(MAP) == sorted(FILES)


@pytest.mark.parametrize("name", MAP)
def test_a_module_imports_from_those_before_it_alone(name):
    assert used_by(FILES[name]) <= set(MAP[: MAP.index(name)])


@pytest.mark.parametrize("name", MAP)
def test_the_first_line_of_a_module_is_a_sentence(name):
    first = (ast.get_docstring(FILES[name]) or "").partition("\n")[0]
    assert len(first) > 20 and first.endswith(".")


def test_imports_are_found_wherever_they_are():
    code = """
import s2s_lib.vocab
from s2s_lib import batches, search
from s2s_lib.metrics import bleu
import json
def function():
    from s2s_lib.cli import main
"""
    found = used_by(ast.parse(code))
    assert found == {"vocab", "batches", "search", "metrics", "cli"}
