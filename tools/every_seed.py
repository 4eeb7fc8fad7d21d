"""Cells of a chapter, for every seed: ``results/chapter-09.json``.

A chapter trains one seed, and what it finds in that model may be luck. So
`python -m tools.every_seed 09` runs the cells of Chapter 9 that are tagged
`every-seed` for three seeds, asserts and all, and keeps what they put into
`kept`. The chapter shows it, and asserts on it. Weights that are not in the
cache are trained first.
"""

import argparse
import contextlib
import io
from pathlib import Path
from typing import Any

import matplotlib
import nbformat

from s2s_lib import recipes
from tools.form import tags
from tools.notebooks import chapters

SEEDS = 3
TAG, LINE = "every-seed", "SEED = 0\n"


def measure(path: Path, seeds: int) -> dict[str, Any]:
    """The content of the file.

    Raises:
        ValueError: if the cells do not set `SEED = 0` once.
        Exception: what a cell raises, as its asserts do.
    """
    nb = nbformat.read(path, as_version=4)
    code = "\n".join(c.source for c in nb.cells if TAG in tags(c)) + "\n"
    if code.count(LINE) != 1:
        raise ValueError(
            f"the cells of {path.name} that are tagged {TAG} must have the "
            f"line {LINE!r} once, not {code.count(LINE)} times"
        )
    found = []
    for seed in range(seeds):
        names: dict[str, Any] = {}
        with contextlib.redirect_stdout(io.StringIO()):
            exec(code.replace(LINE, f"SEED = {seed}\n"), names)
        found.append(names["kept"])
    return {
        "command": f"python -m tools.every_seed {path.name[:2]}",
        "seeds": found,
    }


def main() -> None:
    """Write the file."""
    matplotlib.use("Agg")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("chapter", help="its two digits")
    (path,) = chapters(parser.parse_args().chapter)
    name = f"chapter-{path.name[:2]}"
    print(recipes.write_results(name, measure(path, SEEDS)))


if __name__ == "__main__":
    main()
