"""Copy MathJax out of its package, so that the site needs no network.

Only what the pages load is copied: the program, its fonts, and the TeX
extensions that it loads on demand. ``make book`` runs this before the build.
"""

import shutil
import sys
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "_vendor" / "mathjax"
PARTS = (
    "tex-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
)


def source_folder() -> Path:
    """Find the folder with MathJax in the installed package."""
    package = distribution("sphinx-mathjax-offline")
    for file in package.files or []:
        if file.name == "tex-chtml.js":
            return Path(str(package.locate_file(file))).parent
    raise FileNotFoundError("sphinx-mathjax-offline carries no tex-chtml.js")


def main() -> int:
    """Copy the parts, from scratch."""
    shutil.rmtree(TARGET, ignore_errors=True)
    source = source_folder()
    for part in PARTS:
        (TARGET / part).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (source / part).is_dir() else shutil.copy2
        copy(source / part, TARGET / part)
    return 0


if __name__ == "__main__":
    sys.exit(main())
