"""The rules about the form of a chapter; ``tools.hygiene`` has the others."""

import re
from collections.abc import Iterator

from nbformat import NotebookNode

from tools.setup_cell import is_setup_cell

MAX_LINE = 79
MAX_CELL_LINES = 30
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|TBD|lorem ipsum)\b", re.I)

Faults = Iterator[str]


def cells(nb: NotebookNode, kind: str) -> Iterator[tuple[int, NotebookNode]]:
    """Give the numbered cells of one kind."""
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == kind:
            yield number, cell


def tags(cell: NotebookNode) -> set[str]:
    """Give the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def readable(nb: NotebookNode) -> Faults:
    """Short lines, short cells, no trailing semicolon, no gaps."""
    for number, cell in cells(nb, "code"):
        lines = cell.source.splitlines()
        longest = max(map(len, lines), default=0)
        if longest > MAX_LINE:
            yield f"cell {number} has a line of {longest} characters"
        if len(lines) > MAX_CELL_LINES:
            yield f"cell {number} has {len(lines)} lines"
        if any(line.rstrip().endswith(";") for line in lines):
            yield f"cell {number} has a line that ends in a semicolon"
    for number, cell in enumerate(nb.cells):
        if found := UNFINISHED.search(cell.source):
            yield f"cell {number} is unfinished: {found.group()}"


def opening(nb: NotebookNode) -> Faults:
    """The title comes first; the first code cell is the setup cell."""
    first = nb.cells[0] if nb.cells else None
    if first is None or first.cell_type != "markdown":
        yield "the first cell is not the title"
    elif not first.source.startswith("# "):
        yield "the first cell does not start with '# TITLE'"
    code = [cell.source for _, cell in cells(nb, "code")]
    if not code or not is_setup_cell(code[0]):
        yield "the first code cell is not the setup cell"


def exercises(nb: NotebookNode) -> Faults:
    """Every exercise has a hint, and a solution with code that was run."""
    text = "\n".join(cell.source for _, cell in cells(nb, "markdown"))
    labels = re.findall(
        r"^:{3,}\{exercise(?:-start)?\}.*\n(?::\w+:.*\n)*?:label: (\S+)",
        text,
        re.M,
    )
    found = len(re.findall(r"^:{3,}\{exercise(?:-start)?\}", text, re.M))
    if found != len(labels):
        yield f"{found} exercises, but {len(labels)} labels"
    solutions = re.findall(r"^:{3,}\{solution-start\} (\S+)", text, re.M)
    if sorted(solutions) != sorted(labels):
        yield f"exercises {labels} have solutions {solutions}"
    dropdowns = re.findall(
        r"^:{3,}\{solution-start\} \S+\n:class: dropdown$", text, re.M
    )
    if len(dropdowns) != len(solutions):
        yield "a solution lacks ':class: dropdown'"
    hints = re.findall(
        r"^:{3,}\{(?:dropdown|admonition|hint)\}.*Hint", text, re.M
    )
    hints += re.findall(r"^:{3,}\{hint\}", text, re.M)
    if len(hints) < len(labels):
        yield f"{len(labels)} exercises, but {len(hints)} hints"
    inside = with_code = False
    for number, cell in enumerate(nb.cells):
        if "{solution-start}" in cell.source:
            inside, with_code = True, False
        elif inside and cell.cell_type == "code":
            with_code = True
        if "{solution-end}" in cell.source:
            if not with_code:
                yield f"the solution that ends in cell {number} runs no code"
            inside = False
