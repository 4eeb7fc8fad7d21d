"""What all tests share: the environment, shape checks, markers.

Chapters are compared by nbval (``--nbval``); this file prepares the
environment that their kernels inherit. In unit tests every call into the
library has its shapes checked against the signatures.
"""

import os
from pathlib import Path

import pytest

from tools.environment import prepare

prepare()

from jaxtyping import install_import_hook  # noqa: E402
from xdist.scheduler import LoadScopeScheduling  # noqa: E402

# These are called for each word or sentence of a corpus, the grammar some
# thirty times per word, and pass no tensors: checked, they would be many
# times slower, for nothing.
UNCHECKED = {"corpora", "grammar", "lexicon", "subwords", "vocab"}
install_import_hook(
    [
        f"s2s_lib.{path.stem}"
        for path in (Path(__file__).parent / "s2s_lib").glob("*.py")
        if path.stem not in UNCHECKED | {"__init__", "__main__"}
    ],
    "beartype.beartype",
)

DATA_VARIABLE = "S2S_DATA_DIR"


def data_folder() -> Path | None:
    """Give the folder with local corpora, if the environment names one."""
    value = os.environ.get(DATA_VARIABLE)
    return Path(value) if value and Path(value).is_dir() else None


# The cells of a notebook run in order and in one kernel, and chapters use
# each other's trainings; the website is built once. So each of these folders
# stays in one process, and everything else goes file by file.
TOGETHER = ("chapters", "tests/site")


class Together(LoadScopeScheduling):
    """Shares the tests out to processes: a folder, or else a file, to one."""

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        return next((t for t in TOGETHER if path.startswith(f"{t}/")), path)


def pytest_xdist_make_scheduler(
    config: pytest.Config, log: object
) -> Together:
    """Called where several processes run the tests (`make test`)."""
    return Together(config, log)


# What takes long comes first, so that no process is left alone with it; and
# the trainings run beside the first chapters, for the last ones.
FIRST = ("chapters/", "tests/unit/test_shared_trainings.py", "tests/site/")


def _turn(item: pytest.Item) -> int:
    for turn, path in enumerate(FIRST):
        if item.nodeid.startswith(path):
            return turn
    return len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put long tests first, and skip what needs corpora that are not here."""
    items.sort(key=_turn)
    if data_folder() is not None:
        return
    reason = f"needs corpora: set {DATA_VARIABLE} to a folder that has them"
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason=reason))
