"""The rules that every chapter keeps, as functions from a notebook to faults.

``faults(notebook)`` gives one sentence for each broken rule, with the number
of the cell (counted from 0, all cells). ``make notebooks`` refuses to write a
notebook that has faults, and the tests refuse one that is stored. The rules
that read Python are in ``tools.asserts``, those about the form of a chapter
in ``tools.form``.
"""

import re
from collections.abc import Callable

from nbformat import NotebookNode

from tools.asserts import can_fail, reason_line
from tools.form import Faults, cells, exercises, opening, readable, tags

MAX_IGNORED = 2
MACHINE_PATH = re.compile(
    r"(?<![\w.:/])(?:/(?:home|root|work|tmp|usr|opt|private|Users|content)/\w"
    r"|[A-Z]:\\\\?Users)|ipykernel_\d+|site-packages|\.venv\b"
)
GLUED = "application/papermill.record/text/plain"
PRINTS = re.compile(r"^print\(", re.M)
RAISES = {"raises-exception", "nbval-raises-exception"}
SKIPS = re.compile(r"nbval[-_](?:skip|test_name)", re.I)
IGNORES = re.compile(r"^\s*#\s*nbval_ignore_output\s*$", re.I | re.M)


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
        if PRINTS.search(cell.source) and not cell.outputs:
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
        for output in cell.outputs:
            record = output.get("data", {}).get(GLUED)
            if record is not None and not str(record).startswith(("'", '"')):
                yield f"cell {number} glues a bare {record}: glue a text"
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


RULES: tuple[Callable[[NotebookNode], Faults], ...] = (
    executed, quiet, figures, measured, compared, readable, opening, exercises,
)  # fmt: skip


def faults(nb: NotebookNode) -> list[str]:
    """Give every broken rule of a notebook, one sentence each."""
    return [fault for rule in RULES for fault in rule(nb)]
