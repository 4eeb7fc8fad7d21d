"""Build the site in a folder of its own."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str, cwd: Path) -> None:
    """Run a command; show what it said if it fails.

    Raises:
        RuntimeError: its status is not 0.
    """
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd)
    if done.returncode:
        said = f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        raise RuntimeError(f"{' '.join(command)} failed:\n{said}")


def build(folder: Path, source: Path = ROOT) -> Path:
    """Build a book into ``folder``; give the folder of its pages.

    What is made before the build is made for this book alone.
    """
    book = str(Path(sys.executable).parent / "jupyter-book")
    if source == ROOT:
        for tool in ("tools.mathjax", "tools.pictures"):
            run(sys.executable, "-m", tool, cwd=ROOT)
    run(
        *(sys.executable, book, "build", str(source)),
        *("--path-output", str(folder)),
        *("--all", "-W", "-n", "--keep-going", "--quiet"),
        cwd=source,
    )
    site = folder / "_build" / "html"
    run(sys.executable, "-m", "tools.site", str(site), cwd=ROOT)
    return site
