"""The first code cell of every chapter: the text, and how to read it.

On Colab the cell installs the book's library from the repository's address;
anywhere else it does nothing. The address is empty until the book is
published; ``tools.repository`` writes it.
"""

import re

SETUP_CELL = """\
# On Colab this cell installs the book's library; elsewhere it does nothing.
import sys
from importlib.util import find_spec

REPOSITORY = ""
if "google.colab" in sys.modules and not find_spec("s2s_lib"):
    if not REPOSITORY:
        raise RuntimeError(
            "this copy of the book does not know its repository's address: "
            "write it above, as https://github.com/OWNER/NAME"
        )
    %pip install --quiet "s2s_lib @ git+{REPOSITORY}"
    if not find_spec("s2s_lib"):
        raise RuntimeError("the install failed; its last lines say why")"""

ADDRESS = re.compile(r'^REPOSITORY = "([^"\n]*)"$', re.MULTILINE)


def setup_cell(url: str = "") -> str:
    """Give the source of the setup cell with ``url`` as the address."""
    return ADDRESS.sub(f'REPOSITORY = "{url}"', SETUP_CELL)


def address_in(source: str) -> str | None:
    """Give the address that a setup cell holds, None if it is none."""
    match = ADDRESS.search(source)
    return match.group(1) if match else None


def is_setup_cell(source: str) -> bool:
    """Say whether the cell is the setup cell, whatever its address."""
    address = address_in(source)
    return address is not None and source == setup_cell(address)
