"""Write the address of the published repository where it is needed.

``make repository URL=https://github.com/OWNER/NAME`` writes `_config.yml`
(the buttons of the site) and the setup cell of every chapter (what Colab
installs). An empty URL takes the address out again. Nothing else changes, and
a second run changes nothing.
"""

import re
import sys
from pathlib import Path

import nbformat

from tools.setup_cell import address_in, setup_cell

ROOT = Path(__file__).resolve().parent.parent
GITHUB = re.compile(r"https://github\.com/[A-Za-z0-9][\w-]*/[\w-][\w.-]*")
BLOCK = re.compile(
    r"\n# <repository>\n.*?# </repository>\n", re.MULTILINE | re.DOTALL
)
TEMPLATE = """
# <repository>
{lines}
# </repository>
"""
SET = """\
repository:
  url: {url}
  path_to_book: ""
  branch: main
launch_buttons:
  colab_url: https://colab.research.google.com
html:
  use_repository_button: true
  use_issues_button: true"""
UNSET = """\
launch_buttons:
  notebook_interface: classic
html:
  use_repository_button: false
  use_issues_button: false"""
URL_LINE = re.compile(r"^  url: (\S+)$", re.MULTILINE)


def check(url: str) -> str:
    """Give the address without a slash or `.git` at its end.

    Raises:
        ValueError: it is neither empty nor a repository on GitHub, the one
            host from which Colab opens notebooks.
    """
    url = url.strip().removesuffix("/").removesuffix(".git")
    if url and not GITHUB.fullmatch(url):
        raise ValueError(
            f"{url!r} is not the address of a repository; expected "
            "https://github.com/OWNER/NAME, or nothing to take it out"
        )
    return url


def current_url(root: Path = ROOT) -> str:
    """Give the address in `_config.yml`, empty if there is none."""
    text = (root / "_config.yml").read_text(encoding="utf-8")
    block = BLOCK.search(text)
    if block is None:
        raise ValueError("_config.yml has lost its <repository> block")
    found = URL_LINE.search(block.group())
    return found.group(1) if found else ""


def write(url: str, root: Path = ROOT) -> list[Path]:
    """Write the address everywhere; give the files that changed."""
    changed = []
    config = root / "_config.yml"
    text = config.read_text(encoding="utf-8")
    lines = SET.format(url=url) if url else UNSET
    fresh = BLOCK.sub(lambda _: TEMPLATE.format(lines=lines), text)
    if fresh != text:
        config.write_text(fresh, encoding="utf-8")
        changed.append(config)
    for path in sorted((root / "chapters").glob("*.ipynb")):
        nb = nbformat.read(path, as_version=4)
        for cell in nb.cells:
            old = address_in(cell.source) if cell.cell_type == "code" else None
            if old is not None and old != url:
                cell.source = setup_cell(url)
                nbformat.write(nb, path)
                changed.append(path)
    return changed


def main() -> int:
    """Run the command on this checkout."""
    try:
        url = check(sys.argv[1] if len(sys.argv) > 1 else "")
    except ValueError as error:
        print(error)
        return 1
    for path in write(url):
        print(f"wrote {path.relative_to(ROOT)}")
    print(f"the repository's address is {url or 'not set'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
