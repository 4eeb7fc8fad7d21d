"""The rules that every chapter keeps, as functions from a notebook to faults.

``faults(notebook)`` gives one sentence for each broken rule, with the number
of the cell (counted from 0, all cells). ``make notebooks`` refuses to write a
notebook that has faults, and the tests refuse one that is stored. The rules
that read Python are in ``tools.asserts``.
"""

import re
from collections.abc import Callable, Iterator

from nbformat import NotebookNode

from tools.asserts import can_fail, code_of, reason_line
from tools.setup_cell import is_setup_cell

MAX_LINE = 79
MAX_CELL_LINES = 30
MAX_IGNORED = 2
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])(?:/(?:home|root|work|tmp|usr|opt|private|Users|content)/\w"
    r"|[A-Z]:\\\\?Users)|ipykernel_\d+|site-packages|\.venv\b"
)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|TBD|lorem ipsum)\b", re.I)
RAISES = {"raises-exception", "nbval-raises-exception"}
SKIPS = re.compile(r"nbval[-_](?:skip|test_name)", re.I)
IGNORES = re.compile(r"^\s*#\s*nbval_ignore_output\s*$", re.I | re.M)

Faults = Iterator[str]


def cells(nb: NotebookNode, kind: str) -> Iterator[tuple[int, NotebookNode]]:
    """Give the numbered cells of one kind."""
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == kind:
            yield number, cell


def tags(cell: NotebookNode) -> set[str]:
    """Give the tags of a cell."""
    return set(cell.metadata.get("tags", []))


def printed(cell: NotebookNode) -> str:
    """Give all text that the stored outputs of a cell show."""
    texts = []
    for output in cell.outputs:
        texts.append(output.get("text", ""))
        texts.append(output.get("evalue", ""))
        for mime, data in output.get("data", {}).items():
            if not mime.startswith("image/"):
                texts.append(data if isinstance(data, str) else str(data))
    return "\n".join(texts)


def executed(nb: NotebookNode) -> Faults:
    """Every code cell ran, once, from top to bottom, and kept its outputs."""
    counts = [cell.execution_count for _, cell in cells(nb, "code")]
    if not counts:
        yield "the notebook has no code cell"
    elif counts != list(range(1, len(counts) + 1)):
        yield f"not executed once from top to bottom: counts are {counts}"
    elif not any(cell.outputs for _, cell in cells(nb, "code")):
        yield "the outputs were stripped: no cell has any"
    for number, cell in cells(nb, "code"):
        if not cell.source.strip():
            yield f"cell {number} is empty"
        if "print(" in code_of(cell) and not cell.outputs:
            if re.search(r"^print\(", cell.source, re.M):
                yield f"cell {number} prints, but its output was stripped"


def quiet(nb: NotebookNode) -> Faults:
    """No stderr, no error that was not announced, no machine's paths."""
    for number, cell in cells(nb, "code"):
        for output in cell.outputs:
            if output.get("name") == "stderr":
                yield f"cell {number} wrote to stderr: {output.text[:70]!r}"
            if output.output_type == "error" and not RAISES & tags(cell):
                yield f"cell {number} raised {output.ename} without the tag"
        errors = [o for o in cell.outputs if o.output_type == "error"]
        if RAISES & tags(cell) and not errors:
            yield f"cell {number} is tagged raises-exception, raises nothing"
        if found := MACHINE_PATH.search(printed(cell)):
            yield f"cell {number} shows a machine's path: {found.group()!r}"
    for number, cell in enumerate(nb.cells):
        if found := MACHINE_PATH.search(cell.source):
            yield f"cell {number} names a machine's path: {found.group()!r}"


def figures(nb: NotebookNode) -> Faults:
    """A cell that draws says what it shows: alt text, name, caption."""
    for number, cell in cells(nb, "code"):
        if not any(
            mime.startswith("image/")
            for output in cell.outputs
            for mime in output.get("data", {})
        ):
            continue
        mystnb = cell.metadata.get("mystnb", {})
        alt = mystnb.get("image", {}).get("alt", "")
        figure = mystnb.get("figure", {})
        if len(alt.split()) < 5 or re.search(r"\.(png|svg)$", alt):
            yield f"cell {number}: the figure's alt text says nothing: {alt!r}"
        if not str(figure.get("name", "")).startswith("fig-"):
            yield f"cell {number}: the figure's name must start with 'fig-'"
        if len(figure.get("caption", "").split()) < 4:
            yield f"cell {number}: the figure has no caption"


def measured(nb: NotebookNode) -> Faults:
    """A cell that prints ≈ asserts, itself, the range that the text claims."""
    for number, cell in cells(nb, "code"):
        claims = "≈" in cell.source or "≈" in printed(cell)
        verdicts = can_fail(cell)
        if claims and not any(verdicts.values()):
            yield f"cell {number} prints ≈ without an assert that can fail"
        for text, good in verdicts.items():
            if not good:
                yield f"cell {number}: this assert cannot fail: {text}"


def compared(nb: NotebookNode) -> Faults:
    """nbval runs every cell, and compares all but a few with a reason."""
    ignored = 0
    for number, cell in cells(nb, "code"):
        if SKIPS.search(" ".join([*tags(cell), cell.source])):
            yield f"cell {number} is skipped by nbval"
        if "nbval-ignore-output" in tags(cell) or IGNORES.search(cell.source):
            ignored += 1
            if not reason_line(cell):
                yield f"cell {number} ignores its output without a comment"
    if ignored > MAX_IGNORED:
        yield f"{ignored} cells ignore their output; at most {MAX_IGNORED} may"


def readable(nb: NotebookNode) -> Faults:
    """Short lines, short cells, no semicolon at the end, nothing unfinished."""
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


RULES: tuple[Callable[[NotebookNode], Faults], ...] = (
    executed, quiet, figures, measured, compared, readable, opening, exercises,
)  # fmt: skip


def faults(nb: NotebookNode) -> list[str]:
    """Give every broken rule of a notebook, one sentence each."""
    return [fault for rule in RULES for fault in rule(nb)]
