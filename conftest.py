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

# The grammar calls its small functions some thirty times per word and passes
# no tensors: checked, it would be many times slower, for nothing.
UNCHECKED = {"grammar", "lexicon"}
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


def together(path: str) -> str:
    """The tests that share a process with those of `path`."""
    return next((t for t in TOGETHER if path.startswith(f"{t}/")), path)


# Before the processes look at the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Share out the tests; skip what needs corpora where there are none."""
    groups = {
        item: together(item.path.relative_to(config.rootpath).as_posix())
        for item in items
    }
    for item, group in groups.items():
        item.add_marker(pytest.mark.xdist_group(group))
    if hasattr(config, "workerinput"):
        # What takes longest first, or one process waits for it at the end.
        items.sort(key=lambda item: groups[item] not in TOGETHER)
    if data_folder() is not None:
        return
    reason = f"needs corpora: set {DATA_VARIABLE} to a folder that has them"
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(pytest.mark.skip(reason=reason))
