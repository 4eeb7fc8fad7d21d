"""Execute the chapters again, in place: ``make notebooks [CHAPTER=03]``.

Each chapter runs in a fresh kernel with `chapters/` as working directory, as
in the tests. It is written only if every cell ran and the hygiene rules hold;
otherwise the file stays as it was. `--check-only` executes nothing.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import (
    CellExecutionError,
    CellTimeoutError,
    DeadKernelError,
)
from nbformat import NotebookNode

from tools.environment import prepare
from tools.hygiene import faults
from tools.repository import current_url
from tools.setup_cell import address_in, setup_cell

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
KEPT_CELL_METADATA = ("mystnb", "tags")


def chapters(prefix: str = "") -> list[Path]:
    """Give the chapters' notebooks, in order; all or those of one prefix."""
    return sorted(CHAPTERS.glob(f"{prefix}*.ipynb"))


def normalise(nb: NotebookNode) -> NotebookNode:
    """Drop what differs between machines and runs; number the cells."""
    nb.metadata = nbformat.from_dict(
        {
            "kernelspec": {
                "display_name": "Python 3",
                "language": "python",
                "name": "python3",
            },
            "language_info": {"name": "python"},
        }
    )
    nb.nbformat, nb.nbformat_minor = 4, 5
    for number, cell in enumerate(nb.cells):
        cell.id = f"cell-{number:03d}"
        cell.source = cell.source.rstrip()
        cell.metadata = nbformat.from_dict(
            {
                key: cell.metadata[key]
                for key in KEPT_CELL_METADATA
                if cell.metadata.get(key)
            }
        )
        cell.pop("attachments", None) if not cell.get("attachments") else None
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                output.traceback = []
            for mime in list(output.get("data", {})):
                if "widget" in mime:
                    del output.data[mime]
    return nb


def set_address(nb: NotebookNode, url: str) -> None:
    """Give the setup cell the published address, where there is one."""
    for cell in nb.cells:
        if cell.cell_type == "code":
            if address_in(cell.source) is not None:
                cell.source = setup_cell(url)
            return


def execute(path: Path) -> NotebookNode:
    """Run a notebook from top to bottom in a fresh kernel."""
    nb = nbformat.read(path, as_version=4)
    set_address(nb, current_url())
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    NotebookClient(
        nb,
        timeout=1800,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,
        record_timing=False,
        store_widget_state=False,
    ).execute()
    return normalise(nb)


def refresh(path: Path) -> list[str]:
    """Execute one chapter and write it, or say why it was not written."""
    try:
        nb = execute(path)
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        return [str(error)]
    found = faults(nb)
    if not found:
        draft = path.with_suffix(".draft")
        nbformat.write(nb, draft)
        os.replace(draft, path)
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command; the status is the number of chapters not written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter", nargs="?", default="")
    parser.add_argument("--check-only", action="store_true")
    options = parser.parse_args(arguments)
    paths = chapters(options.chapter)
    if not paths:
        print(f"no chapter starts with {options.chapter!r} in {CHAPTERS}")
        return 1
    prepare()
    failed = 0
    for path in paths:
        start = time.perf_counter()
        if options.check_only:
            found = faults(nbformat.read(path, as_version=4))
        else:
            found = refresh(path)
        seconds = time.perf_counter() - start
        verb = "checked" if options.check_only else "executed"
        state = "NOT WRITTEN" if found and verb == "executed" else verb
        print(f"{path.name}: {state} ({seconds:.1f} s)", flush=True)
        for fault in found:
            print(f"  {fault}", flush=True)
        failed += bool(found)
    return failed


if __name__ == "__main__":
    sys.exit(main())
